"""Root file systems of images before they are packed: the lowest, cached by what went into it, and layers over it."""

import hashlib
import json
import os
import shlex
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import rootfs, tools
from common.aptfetch import Fetching, with_retries
from common.archives import Version, archives
from common.errors import CommandError, DeadlineError, NetworkError
from common.files import keep_newest, remove_stale, sha256_of, workspace, write_atomically
from common.layers import Root, Stack
from common.mirror import KEYRING, Mirror
from common.progress import step
from common.rootfs import Recipe, install, make_tar
from lxd import guest
from lxd import pack as packing
from lxd.image_types import Layer
from lxd.keystore import date_certificates
from lxd.pack import pack

# dpkg need not wait for the disk after each package: 128 s instead of 160 s on a loaded machine. The hook takes itself
# out again at the end. A layer does without: its file system does not wait for the disk.
EATMYDATA = "/usr/share/mmdebstrap/hooks/eatmydata"
# How many root file systems of one release and architecture are kept.
KEPT = 3
# What decides what is in a root file system, apart from its inputs.
_OWN_FILES = (Path(__file__), Path(guest.__file__), guest.FINISH, Path(packing.__file__), Path(rootfs.__file__))


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What images are made from.

    Attributes:
        release, arch: Debian's words.
        milestone: of Chrome OS; says whose repository the guest updates from.
        epoch: seconds since 1970; no file is newer.
        repository: the signed apt repository, a directory with dists, pool and cros-archive-keyring.asc.
        mirror: Debian's mirror.
        cache: a directory that may be deleted at any time, and shared between runs.
        layers: the image types, the lowest first; this project's when there are none.
    """

    release: str
    arch: str
    milestone: int
    epoch: int
    repository: Path
    mirror: Mirror
    cache: Path
    layers: Sequence[Layer] = ()


def cached_base(inputs: Inputs, layer: Layer, ours: Collection[Version]) -> Path:
    """The lowest root file system as a squashfs, made unless the cache has it for these inputs and this mirror.

    Args:
        inputs: what it is made from.
        layer: the lowest.
        ours: the packages of the repository.

    Raises:
        NetworkError: the mirror lacks a file, which is named, or does not answer.
        DiskFullError, CommandError: from mmdebstrap or mksquashfs.
    """
    cache = inputs.cache / "images"
    cache.mkdir(parents=True, exist_ok=True)
    family = f"{inputs.release}-{inputs.arch}"
    base = cache / f"{family}-{_key(inputs, layer)}.squashfs"
    if not base.exists():
        remove_stale(cache, ".base-*")
        with workspace(".base", parent=cache) as place:
            tar = place / "rootfs.tar"
            with step(f"Make the root file system of {inputs.release} {inputs.arch}"):
                _make_base(inputs, layer, tar, place, ours)
                _add_mount_point(tar, place, "dev", epoch=inputs.epoch)
            with step(f"Pack the root file system of {inputs.release} {inputs.arch}"):
                pack(tar, place / base.name, epoch=inputs.epoch)
            (place / base.name).replace(base)
        keep_newest(cache, f"{family}-*.squashfs", KEPT)
    os.utime(base)  # used just now
    return base


def add_layer(inputs: Inputs, stack: Stack, layer: Layer, ours: Collection[Version]) -> Root:
    """Put a layer upon a stack and install its packages there.

    Raises:
        NetworkError: the mirror lacks a file, which is named, or does not answer.
        DiskFullError, CommandError: from mmdebstrap.
        ArtifactError: Java's certificates are in a form that we do not know.
    """
    non_free = [inputs.mirror.source(inputs.release, "non-free")] if layer.non_free else []
    if non_free and not inputs.mirror.has(inputs.release, "non-free", inputs.arch):
        non_free = []
    packages = (*layer.packages, *(layer.non_free if non_free else ()))

    def add(fetching: Fetching) -> Root:
        root = stack.add(layer.type)
        # mmdebstrap would follow the link to where nothing is; finish.sh makes it again.
        (root.path / "etc/resolv.conf").unlink()
        try:
            with workspace("layer") as place, archives(inputs.cache / "archives", inputs.mirror, ours=ours) as debs:
                preseed = place / "preseed"
                preseed.write_text(layer.preseed)
                # The guest's own sources would be asked, too.
                own = " ".join(
                    f'"$1"/{shlex.quote(path)}' for path in _guest_files(inputs) if "/sources.list.d/" in path
                )
                install(
                    _recipe(inputs, "custom", packages),
                    root,
                    fetching,
                    mirror=inputs.mirror,
                    sources=[str(_source(inputs, place)), *non_free],
                    options=[
                        *_hooks(inputs, layer, place, debs),
                        f"--setup-hook=rm -f {own}",
                        f'--essential-hook=chroot "$1" debconf-set-selections <{shlex.quote(str(preseed))}',
                    ],
                )
        except (CommandError, NetworkError, DeadlineError):
            stack.drop()
            raise
        # mmdebstrap leaves what it needed of /dev.
        for path in (root.path / "dev").iterdir():
            tools.run(["rm", "-rf", path])
        date_certificates(root.path, epoch=inputs.epoch)
        return root

    return with_retries(add, f"Make {inputs.release} {inputs.arch}")


def _key(inputs: Inputs, layer: Layer) -> str:
    """The digest of everything that could change what is in the lowest root file system."""
    known = [
        inputs.release, inputs.arch, inputs.milestone, inputs.epoch, layer.packages,
        rootfs.state(inputs.mirror, inputs.release),
        sha256_of(guest.packages_index(inputs.repository, inputs.release, inputs.arch)),
        _guest_files(inputs),
        [sha256_of(path) for path in _OWN_FILES],
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]


def _guest_files(inputs: Inputs) -> dict[str, str]:
    return guest.guest_files(inputs.mirror, release=inputs.release, milestone=inputs.milestone)


def _recipe(inputs: Inputs, variant: str, packages: Sequence[str]) -> Recipe:
    return Recipe(
        release=inputs.release, arch=inputs.arch, variant=variant, include=tuple(packages),
        source_date_epoch=inputs.epoch,
    )  # fmt: skip


def _make_base(inputs: Inputs, layer: Layer, tar: Path, place: Path, ours: Collection[Version]) -> None:
    with archives(inputs.cache / "archives", inputs.mirror, ours=ours) as debs:
        make_tar(
            _recipe(inputs, "minbase", layer.packages),
            tar,
            mirror=inputs.mirror,
            sources=[str(_source(inputs, place))],
            options=[f"--hook-directory={EATMYDATA}", *_hooks(inputs, layer, place, debs)],
            timeout=3600,
        )


def _source(inputs: Inputs, place: Path) -> Path:
    """A file with the source of our own repository."""
    source = place / "cros.sources"
    source.write_text(guest.build_sources(inputs.repository, inputs.release))
    return source


def _hooks(inputs: Inputs, layer: Layer, place: Path, debs: Path) -> list[str]:
    """mmdebstrap's options: packages of the repository and the mirror, then our own files, then finish.sh."""
    pins, files = place / "cros-build", place / "files"
    pins.write_text(guest.build_preferences(layer.non_free))
    for path, text in _guest_files(inputs).items():
        write_atomically(files / path, text)
    shelf = '"$1/var/cache/apt/archives"'
    return [
        f"--keyring={KEYRING}",
        # finish.sh cleans up after apt; the downloaded packages are for the next run.
        "--skip=output/dev,cleanup/apt,essential/unlink,download/empty",
        '--aptopt=APT::Install-Recommends "true"',
        # The repository may lie in a directory that only root can read.
        '--aptopt=APT::Sandbox::User "root"',
        f"--setup-hook=mkdir -p {shelf} && mount --bind {shlex.quote(str(debs))} {shelf}",
        '--setup-hook=mkdir -p "$1/etc/apt/preferences.d"',
        f"--setup-hook=upload {shlex.quote(str(pins))} /etc/apt/preferences.d/cros-build",
        f"--customize-hook=umount {shelf}",
        '--customize-hook=rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
        f"--customize-hook=sync-in {shlex.quote(str(files))} /",
        f"--customize-hook={guest.FINISH}",
    ]


def _add_mount_point(tar: Path, place: Path, folder: str, *, epoch: int) -> None:
    """Add an empty folder to a tar: mmdebstrap packs a /dev full of device nodes, or none."""
    (place / folder).mkdir()
    tools.run(
        [
            "tar", "--append", f"--file={tar}", f"--directory={place}", "--format=pax", "--no-recursion",
            "--owner=0", "--group=0", "--numeric-owner", "--mode=0755", f"--mtime=@{epoch}",
            "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
            f"./{folder}",
        ]
    )  # fmt: skip
