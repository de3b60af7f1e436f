"""Debian root file systems made by mmdebstrap, as tar files: reproducible, and cached by what went into them."""

import hashlib
import json
import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from common import tools
from common.aptfetch import OPTIONS, Fetching, with_retries
from common.errors import NetworkError
from common.files import forget_old, workspace
from common.layers import Root
from common.mirror import Mirror
from common.namespaces import contained
from common.progress import step

# What apt leaves in a root that would differ from one build to the next, or that a fresh root does not need.
_CLEAN = ("/var/cache/apt/*.bin", "/var/log/*.log", "/var/log/apt/*", "/var/cache/ldconfig/aux-cache")

# How mmdebstrap itself runs apt: outside, with dpkg inside, whose temporary files are not where ours are.
_IN_CHROOT = (
    '-oDir::Bin::dpkg=env -oDPkg::Options::=--unset=TMPDIR -oDPkg::Options::=dpkg -oDPkg::Chroot-Directory="$1"'
)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What goes into a root file system.

    Attributes:
        release, arch: Debian's words.
        variant: mmdebstrap's: apt, buildd, minbase, important, standard.
        include: packages on top of the variant.
        source_date_epoch: seconds; no file is newer.
    """

    release: str
    arch: str
    variant: str
    include: tuple[str, ...] = ()
    source_date_epoch: int = 0


def make_tar(
    recipe: Recipe,
    out: Path,
    *,
    mirror: Mirror,
    sources: Sequence[str] = (),
    options: Sequence[str] = (),
    timeout: float = 1800,
) -> None:
    """Make the root file system `out` (a tar file).

    Args:
        recipe: what goes in.
        out: where; written beside it first and renamed.
        mirror: Debian's mirror.
        sources: apt source lines on top of the release's own.
        options: more of mmdebstrap's options (hooks, apt options).
        timeout: seconds.

    Raises:
        NetworkError, DiskFullError, CommandError: from mmdebstrap.
    """
    beside = out.with_name(f".{out.name}.new")
    included = [f"--include={','.join(recipe.include)}"] if recipe.include else []

    def make(fetching: Fetching) -> None:
        _mmdebstrap(
            recipe,
            ["--format=tar", *included, *options],
            [str(beside), *mirror.sources(recipe.release), *sources],
            fetching, timeout=timeout,
        )  # fmt: skip

    try:
        with_retries(make, f"Make {recipe.release} {recipe.arch}")
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)


def install(
    recipe: Recipe,
    root: Root,
    fetching: Fetching,
    *,
    mirror: Mirror,
    sources: Sequence[str] = (),
    options: Sequence[str] = (),
    timeout: float = 3600,
) -> None:
    """Install packages into a root file system that is there: apt and dpkg, in mmdebstrap's surroundings.

    Args:
        recipe: the packages, and what the root is already.
        root: where.
        fetching: gets what apt says.
        mirror, sources, options, timeout: as for `make_tar`; hooks run in the same order.

    Raises:
        NetworkError, DiskFullError, CommandError: from mmdebstrap; the root is good for nothing then.
    """
    # Not --include: a root that has its essential packages needs apt's order, not mmdebstrap's.
    environment = 'APT_CONFIG="$MMDEBSTRAP_APT_CONFIG" TMPDIR="$1/tmp"'
    apt = f"--essential-hook={environment} apt-get --yes {_IN_CHROOT} install {shlex.join(recipe.include)}"
    _mmdebstrap(
        recipe,
        ["--mode=root", "--format=directory", "--skip=check/empty", *options, apt],
        [str(root.inside), *mirror.sources(recipe.release), *sources],
        fetching, timeout=timeout, inside=root.pid,
    )  # fmt: skip


def _mmdebstrap(
    recipe: Recipe, options: Sequence[str], target: Sequence[str], fetching: Fetching, *, timeout: float,
    inside: int | None = None,
) -> None:  # fmt: skip
    tools.run(
        contained(
            [
                tools.find("mmdebstrap"), "--verbose",
                f"--architectures={recipe.arch}", f"--variant={recipe.variant}",
                *[f"--aptopt={option}" for option in OPTIONS],
                *[f"--customize-hook=rm -rf \"$1\"{pattern}" for pattern in _CLEAN],
                *options, recipe.release, *target,
            ],
            inside=inside,
        ),
        # Maintainer scripts write HOME into caches (GTK's); it is root's inside, wherever we run.
        env={"SOURCE_DATE_EPOCH": str(recipe.source_date_epoch), "HOME": "/root"},
        timeout=timeout, quiet=True, on_line=fetching,
    )  # fmt: skip


def cached_tar(recipe: Recipe, cache: Path, *, mirror: Mirror) -> Path:
    """The tar file of `recipe`, made unless the cache has it for this state of the mirror.

    Args:
        recipe: what goes in.
        cache: a directory that may be deleted at any time, and shared between runs.
        mirror: Debian's mirror; its three Release files are part of the key.

    Raises:
        NetworkError: the mirror does not answer.
    """
    key = hashlib.sha256(json.dumps([asdict(recipe), *state(mirror, recipe.release)]).encode()).hexdigest()[:16]
    tar = cache / f"{recipe.release}-{recipe.arch}-{recipe.variant}-{key}.tar"
    if not tar.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with workspace(".rootfs", parent=cache) as place:
            made = place / tar.name
            with step(f"Make a root file system of {recipe.release} {recipe.arch} ({recipe.variant})"):
                make_tar(recipe, made, mirror=mirror)
            made.replace(tar)
        forget_old(cache, "*.tar")
    os.utime(tar)  # used just now
    return tar


def state(mirror: Mirror, release: str) -> list[str]:
    """The digests of the InRelease files: what the mirror holds now. NetworkError: it does not answer."""
    digests = []
    for uri, suite in mirror.suites(release):
        url = f"{uri}/dists/{suite}/InRelease"
        try:
            answer = requests.get(url, timeout=60)
            answer.raise_for_status()
        except requests.RequestException as err:
            raise NetworkError(f"the Debian mirror does not answer: {err}", hint="./run invoke doctor") from err
        digests.append(hashlib.sha256(answer.content).hexdigest())
    return digests
