"""Builds an LXD image: a root file system by mmdebstrap, packed as squashfs, with its metadata and its packages listed.

The same inputs give the same bytes. The root is written once by mmdebstrap and streamed as a tar into mksquashfs.
"""

import logging
import shlex
from dataclasses import dataclass
from pathlib import Path

from debian.deb822 import Deb822

from common import tools
from common.errors import ArtifactError, ToolMissingError
from common.files import workspace, write_atomically
from common.mirror import KEYRING, Mirror, native_arch
from common.progress import step
from common.rootfs import Recipe, make_tar
from lxd import guest
from lxd.contents import installed
from lxd.metadata import ImageName, write_metadata
from lxd.sbom import write_lists

log = logging.getLogger(__name__)

SQUASHFS = "rootfs.squashfs"
BINFMT = Path("/proc/sys/fs/binfmt_misc")
_QEMU = {"arm64": "qemu-aarch64", "armhf": "qemu-arm"}
# dpkg need not wait for the disk after each package: 128 s instead of 160 s on a loaded machine. The hook takes itself
# out again at the end.
EATMYDATA = "/usr/share/mmdebstrap/hooks/eatmydata"
# The default image of bookworm (1.01 GB as a tar) on 2 shared cores, block and level: CPU seconds, MB.
#   128K 15 (mksquashfs' own): 132 s, 318 MB    1M 9: 21 s, 319 MB    1M 6: 13 s, 323 MB    1M 3: 6 s, 341 MB
# LXD unpacks the whole image once, so that big blocks cost nothing.
_LEVEL = 6
_BLOCK = "1M"


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What an image is made from.

    Attributes:
        name: which image.
        milestone: of Chrome OS; says whose repository the guest updates from.
        epoch: seconds since 1970; no file is newer.
        repository: the signed apt repository, a directory with dists, pool and cros-archive-keyring.asc.
        mirror: Debian's mirror.
        packages: what to install; what they depend on and recommend comes along.
    """

    name: ImageName
    milestone: int
    epoch: int
    repository: Path
    mirror: Mirror
    packages: tuple[str, ...]


def build_image(inputs: Inputs, out: Path) -> None:
    """Build lxd.tar.xz, incus.tar.xz, rootfs.squashfs, packages.tsv and packages.cdx.json in the folder `out`.

    Raises:
        ArtifactError: the repository lacks something.
        ToolMissingError: a foreign architecture that this machine cannot run.
        NetworkError, DiskFullError, CommandError: from mmdebstrap or mksquashfs.
    """
    google = repository_packages(inputs.repository, inputs.name)
    prepare_for(inputs.name.arch)
    with workspace("image") as place:
        tar, status = place / "rootfs.tar", place / "status"
        with step(f"Make the root file system of {inputs.name}"):
            _make_root(inputs, place, tar, status)
            _add_mount_point(tar, place, "dev", epoch=inputs.epoch)
        with step(f"Pack {SQUASHFS}"):
            pack(tar, out / SQUASHFS, epoch=inputs.epoch)
        listed = installed(status.read_text(), google)
    write_lists(out, inputs.name, listed, milestone=inputs.milestone, epoch=inputs.epoch)
    write_metadata(inputs.name, out, milestone=inputs.milestone, created=inputs.epoch)


def repository_packages(repository: Path, name: ImageName) -> frozenset[tuple[str, str]]:
    """The packages of the repository for one image, as (name, version).

    Raises:
        ArtifactError: the repository, its keyring, or cros-guest-tools in it, is missing.
    """
    hint = "run the job that makes it: ./run invoke apt-signer"
    dist = repository / "dists" / name.release
    index = dist / "main" / f"binary-{name.arch}" / "Packages"
    for path in (repository, repository / "cros-archive-keyring.asc", dist / "InRelease", index):
        if not path.exists():
            raise ArtifactError(f"artifact {path.relative_to(repository.parent).as_posix()!r} is missing", hint=hint)
    with index.open() as file:
        found = frozenset(
            (paragraph["Package"], paragraph["Version"])
            for paragraph in Deb822.iter_paragraphs(file, use_apt_pkg=False)
        )
    if all(package != guest.GUEST_TOOLS for package, _ in found):
        raise ArtifactError(
            f"artifact {index.relative_to(repository.parent).as_posix()!r} has no package {guest.GUEST_TOOLS!r}",
            hint="./run invoke guest-tools, then ./run invoke apt-repo and apt-signer",
        )
    return found


def prepare_for(arch: str) -> None:
    """Make sure that programs of `arch` run here, through qemu-user where they are foreign.

    Raises:
        ToolMissingError: they do not.
    """
    if arch == native_arch() or _runs(arch):
        return
    handler = _QEMU.get(arch)
    if handler and not (BINFMT / "register").exists():
        tools.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])
    if handler:
        tools.run(["update-binfmts", "--enable", handler])
    if not _runs(arch):
        raise ToolMissingError(
            f"this machine cannot run programs of {arch!r}",
            hint="apt-get install qemu-user-static binfmt-support, or build on a machine of that architecture",
        )


def _runs(arch: str) -> bool:
    return tools.capture(["arch-test", arch], ok=(0, 1)).strip() == f"{arch}: ok"


def _make_root(inputs: Inputs, place: Path, tar: Path, status: Path) -> None:
    """Run mmdebstrap: the packages from the mirror and the repository, then our own files, then finish.sh."""
    release = inputs.name.release
    source, pin, overlay = place / "cros.sources", place / "cros-build", place / "overlay"
    source.write_text(guest.build_sources(inputs.repository, release))
    pin.write_text(guest.build_preferences())
    for path, text in guest.guest_files(inputs.mirror, release=release, milestone=inputs.milestone).items():
        write_atomically(overlay / path, text)
    make_tar(
        Recipe(
            release=release,
            arch=inputs.name.arch,
            variant="minbase",
            include=inputs.packages,
            source_date_epoch=inputs.epoch,
        ),
        tar,
        mirror=inputs.mirror,
        sources=[str(source)],
        options=[
            f"--keyring={KEYRING}",
            f"--hook-directory={EATMYDATA}",
            "--skip=output/dev,cleanup/apt",  # finish.sh cleans up after apt
            '--aptopt=APT::Install-Recommends "true"',
            # The repository may lie in a directory that only root can read.
            '--aptopt=APT::Sandbox::User "root"',
            '--setup-hook=mkdir -p "$1/etc/apt/preferences.d"',
            f"--setup-hook=upload {shlex.quote(str(pin))} /etc/apt/preferences.d/cros-build",
            '--customize-hook=rm -rf "$1"/etc/apt/sources.list "$1"/etc/apt/sources.list.d/*',
            f"--customize-hook=sync-in {shlex.quote(str(overlay))} /",
            f"--customize-hook={guest.FINISH}",
            f"--customize-hook=download /var/lib/dpkg/status {shlex.quote(str(status))}",
        ],
        timeout=3600,
    )


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


def pack(tar: Path, out: Path, *, epoch: int) -> None:
    """Pack a root file system as squashfs, with its extended attributes (capabilities are one of them).

    squashfs has no POSIX ACLs; Debian's packages set none, systemd-tmpfiles sets those of /var/log/journal at boot.
    """
    beside = out.with_name(f".{out.name}.new")
    out.parent.mkdir(parents=True, exist_ok=True)
    beside.unlink(missing_ok=True)
    try:
        tools.run(
            [
                "mksquashfs", "-", beside, "-tar",
                "-comp", "zstd", "-Xcompression-level", str(_LEVEL), "-b", _BLOCK,
                "-root-mode", "0755", "-root-time", str(epoch),
                "-no-progress", "-quiet",
            ],
            stdin=tar, env={"SOURCE_DATE_EPOCH": str(epoch)}, quiet=True, timeout=1800,
        )  # fmt: skip
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
