"""Debian root file systems made by mmdebstrap, as tar files: reproducible, and cached by what went into them."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import requests

from common import tools
from common.aptprogress import AptProgress
from common.errors import NetworkError
from common.files import forget_old, workspace
from common.mirror import Mirror
from common.progress import step

# What apt leaves in a root that would differ from one build to the next, or that a fresh root does not need.
_CLEAN = ("/var/cache/apt/*.bin", "/var/log/*.log", "/var/log/apt/*", "/var/cache/ldconfig/aux-cache")


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
    try:
        tools.run(
            [
                "mmdebstrap", "--verbose",
                f"--architectures={recipe.arch}", f"--variant={recipe.variant}", "--format=tar",
                *([f"--include={','.join(recipe.include)}"] if recipe.include else []),
                *[f"--customize-hook=rm -rf \"$1\"{pattern}" for pattern in _CLEAN],
                *options,
                recipe.release, beside,
                *mirror.sources(recipe.release), *sources,
            ],
            # Maintainer scripts write HOME into caches (GTK's); it is root's inside, wherever we run.
            env={"SOURCE_DATE_EPOCH": str(recipe.source_date_epoch), "HOME": "/root"},
            timeout=timeout, quiet=True, on_line=AptProgress(f"Make {recipe.release} {recipe.arch}"),
        )  # fmt: skip
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)


def cached_tar(recipe: Recipe, cache: Path, *, mirror: Mirror) -> Path:
    """The tar file of `recipe`, made unless the cache has it for this state of the mirror.

    Args:
        recipe: what goes in.
        cache: a directory that may be deleted at any time, and shared between runs.
        mirror: Debian's mirror; its three Release files are part of the key.

    Raises:
        NetworkError: the mirror does not answer.
    """
    key = hashlib.sha256(json.dumps([asdict(recipe), *_state(mirror, recipe.release)]).encode()).hexdigest()[:16]
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


def _state(mirror: Mirror, release: str) -> list[str]:
    """The digests of the InRelease files: what the mirror holds now."""
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
