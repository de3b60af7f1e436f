"""A root file system as the files of an image: rootfs.squashfs, and rootfs.tar.xz on request; the same bytes twice."""

import os
from pathlib import Path

from common import tools
from common.layers import Root

SQUASHFS = "rootfs.squashfs"
TARBALL = "rootfs.tar.xz"
# The default image of bookworm (1.01 GB as a tar) on 2 shared cores, block and level: CPU seconds, MB.
#   128K 15 (mksquashfs' own): 132 s, 318 MB    1M 9: 21 s, 319 MB    1M 6: 13 s, 323 MB    1M 3: 6 s, 341 MB
# LXD unpacks the whole image once, so that big blocks cost nothing.
_LEVEL = 6
_BLOCK = "1M"
# Each block is compressed by itself, on as many processors as there are; it alone decides what bytes come out.
_XZ_BLOCK = "24MiB"
_TIMEOUT = 3600.0


def pack(root: Path, out: Path, *, epoch: int) -> None:
    """Pack a root file system as squashfs, with its extended attributes (capabilities are one of them).

    squashfs has no POSIX ACLs; Debian's packages set none, systemd-tmpfiles sets those of /var/log/journal at boot.

    Args:
        root: a tar file, or a directory.
        out: written beside it first and renamed.
        epoch: seconds since 1970; no file is newer.

    Raises:
        DiskFullError, CommandError: from mksquashfs.
    """
    beside = out.with_name(f".{out.name}.new")
    out.parent.mkdir(parents=True, exist_ok=True)
    beside.unlink(missing_ok=True)
    source: list[tools.Arg] = [root, beside] if root.is_dir() else ["-", beside, "-tar"]
    try:
        tools.run(
            [
                "mksquashfs", *source,
                "-comp", "zstd", "-Xcompression-level", str(_LEVEL), "-b", _BLOCK,
                "-root-mode", "0755", "-root-time", str(epoch),
                "-no-progress", "-quiet",
            ],
            stdin=None if root.is_dir() else root, env={"SOURCE_DATE_EPOCH": str(epoch)}, quiet=True, timeout=_TIMEOUT,
        )  # fmt: skip
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)


def pack_tarball(root: Root, out: Path) -> None:
    """Pack a root file system as tar.xz, with its extended attributes.

    Args:
        root: what `pack` made, mounted: its files have their final times.
        out: written beside it first and renamed.

    Raises:
        DiskFullError, CommandError: from tar or xz.
    """
    beside = out.with_name(f".{out.name}.new")
    script = 'tar "$@" | xz --threads=+"$threads" --block-size="$block" >"$out"'
    try:
        tools.run(
            [
                "bash", "-c", f"set -o pipefail; {script}", "bash",
                "--create", f"--directory={root.path}", "--sort=name", "--format=pax", "--numeric-owner",
                "--xattrs", "--xattrs-include=*", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
                ".",
            ],
            env={"threads": str(os.cpu_count() or 1), "block": _XZ_BLOCK, "out": str(beside)},
            quiet=True, timeout=_TIMEOUT,
        )  # fmt: skip
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
