"""Builds the guest packages of one Debian release, in a clean root file system of that very release."""

import functools
import os
import shutil
import threading
from pathlib import Path

from common import tools
from common.errors import CommandError
from common.files import forget_old, workspace
from common.mirror import Mirror
from common.progress import step
from common.rootfs import Recipe, cached_tar
from debs.keyring import dearmoured
from debs.releases import Release, find_release
from debs.source import NAME, digest_of, lay_out

# A date of its own: the root file system does not change with every commit.
_ROOT_EPOCH = 1700000000
_BUILDER = 1000
_TIMEOUT = 600.0
# apt takes most of a second to say where it gets things from: several builds at once ask it once.
_ASKING = threading.Lock()
_mirror = functools.cache(Mirror.of_this_machine)


def build_root(release: str, cache: Path) -> Path:
    """The tar file of a root file system that can build our packages: cached, made when the mirror has moved on."""
    arch = tools.capture(["dpkg", "--print-architecture"]).strip()
    recipe = Recipe(
        release=release, arch=arch, variant="buildd", include=("debhelper",), source_date_epoch=_ROOT_EPOCH
    )  # fmt: skip
    with _ASKING:
        mirror = _mirror()
    return cached_tar(recipe, cache / "rootfs", mirror=mirror)


def build_debs(release: str, *, version: str, epoch: int, keyring: Path, out: Path, cache: Path) -> list[Path]:
    """Build all packages of a release; the same inputs give the same bytes.

    Args:
        release: Debian's codename.
        version: of every package.
        epoch: SOURCE_DATE_EPOCH, in seconds; nothing in the packages is newer.
        keyring: the armoured public keys that cros-apt-config ships.
        out: the directory that receives the .deb files and nothing else; made if need be.
        cache: kept between runs; may be deleted at any time, and used by several builds at once.

    Returns:
        the .deb files, sorted.

    Raises:
        UsageError: no such release.
        ArtifactError: no usable keyring.
        ConfigError, NetworkError, DiskFullError, DeadlineError, CommandError: from the build.
    """
    row = find_release(release)
    keys = dearmoured(keyring)
    shelf = cache / "debs"
    shelf.mkdir(parents=True, exist_ok=True)
    with workspace(f".{release}", parent=shelf) as place:
        source = place / "source"
        lay_out(row, source, version=version, epoch=epoch, keys=keys)
        root = build_root(release, cache)
        done = shelf / f"{release}-{root.stem.rsplit('-', 1)[-1]}-{digest_of(source)[:32]}"
        if not done.is_dir():
            with step(f"Build the guest packages for {release}"):
                made = _build(row, source, root, place)
            _keep(made, done)
            forget_old(shelf, "[!.]*")
        os.utime(done)
        return _hand_out(done, out)


def _build(release: Release, source: Path, tar: Path, place: Path) -> Path:
    """Run dpkg-buildpackage, without network, as an ordinary user, always at the same path."""
    root = place / "root"
    root.mkdir()
    tools.run(["tar", "--extract", "--numeric-owner", "--file", tar, "--directory", root], timeout=_TIMEOUT, quiet=True)
    build = root / "build"
    build.mkdir()
    source.rename(build / NAME)
    for path in [build, *build.rglob("*")]:
        os.chown(path, _BUILDER, _BUILDER, follow_symlinks=False)
    tools.run(
        [
            "unshare", "--mount", "--pid", "--net", "--ipc", "--uts", "--fork", "--kill-child",
            "--root", root, "--wd", f"/build/{NAME}", "--mount-proc",
            "--setgid", str(_BUILDER), "--setuid", str(_BUILDER),
            "/usr/bin/env", "--ignore-environment",
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", "LC_ALL=C.UTF-8", "TZ=UTC",
            "/bin/sh", "-c", "umask 022 && exec dpkg-buildpackage --build=all --no-sign --no-pre-clean",
        ],
        timeout=_TIMEOUT,
        quiet=True,
    )  # fmt: skip
    made = place / "made"
    made.mkdir()
    for deb in sorted(build.glob("*.deb")):
        shutil.copyfile(deb, made / deb.name)
    if not any(made.iterdir()):
        raise CommandError(f"dpkg-buildpackage made no package for {release.codename!r}")
    return made


def _keep(made: Path, done: Path) -> None:
    try:
        made.rename(done)
    except OSError:
        # Another build of the same inputs was faster, and made the same bytes.
        if not done.is_dir():
            raise


def _hand_out(done: Path, out: Path) -> list[Path]:
    out.mkdir(parents=True, exist_ok=True)
    debs = []
    for deb in sorted(done.iterdir()):
        beside = out / f".{deb.name}.new"
        shutil.copyfile(deb, beside)
        debs.append(beside.replace(out / deb.name))
    return debs
