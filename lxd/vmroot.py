"""What a virtual machine of another architecture starts from: Debian's kernel, a small initramfs, a disk with LXD."""

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import tools
from common.errors import NotRootError
from common.files import forget_old, workspace
from common.mirror import Mirror
from common.progress import step
from common.rootfs import Recipe, cached_tar
from lxd.image import prepare_for

RELEASE = "bookworm"
PACKAGES = (
    "acl", "attr", "btrfs-progs", "dbus", "dnsmasq-base", "init", "iproute2", "kmod", "lxcfs", "lxd", "nftables",
    "openssh-server", "squashfs-tools", "udev", "uidmap", "zstd",
)  # fmt: skip
DISK_SIZE = "24G"  # sparse
READY = "cros-vm is ready"
# The parameter of the kernel command line with the key that may log in: the middle word of a line of authorized_keys.
KEY_PARAMETER = "cros.key"
_VERSION = "2"  # of what this module adds
_MODULES = ("virtio_mmio.ko", "virtio_blk.ko")
_INIT = """\
#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /sysroot
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t devtmpfs none /dev
for module in {modules}; do /bin/busybox insmod "/$module"; done
tries=0
while [ ! -b /dev/vda ]; do
    # Where init ends, the kernel panics, and the emulator ends with it.
    [ "$tries" -lt 1000 ] || exit 1
    tries=$((tries + 1))
    /bin/busybox usleep 10000
done
/bin/busybox mount -t ext4 /dev/vda /sysroot
/bin/busybox umount /proc
/bin/busybox mount --move /dev /sysroot/dev
exec /bin/busybox switch_root /sysroot /sbin/init
"""
_START = f"""\
#!/bin/sh
set -e
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
mkdir -p -m 700 ~root/.ssh
sed 's/.*{KEY_PARAMETER}=\\([^ ]*\\).*/ssh-ed25519 \\1/' /proc/cmdline >~root/.ssh/authorized_keys
"""
_FILES = {
    "etc/hostname": "cros-vm\n",
    "etc/machine-id": "c705c705c705c705c705c705c705c705\n",  # a first boot would set every unit to its default
    "etc/systemd/system/cros-vm.service": f"""\
[Unit]
Requires=lxd.service ssh.service
After=lxd.service ssh.service
[Service]
Type=oneshot
ExecStart=/usr/local/sbin/cros-vm
ExecStart=echo "{READY}"
StandardOutput=tty
TTYPath=/dev/console
""",
    "usr/local/sbin/cros-vm": _START,
}
_LINKS = {
    "etc/systemd/system/multi-user.target.wants/cros-vm.service": "/etc/systemd/system/cros-vm.service",
    "etc/systemd/system/multi-user.target.wants/lxd.service": "/lib/systemd/system/lxd.service",
    **{
        f"etc/systemd/system/{unit}": "/dev/null"
        for unit in (
            "apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer",
            "e2scrub_reap.service", "fstrim.timer", "getty@tty1.service", "serial-getty@ttyAMA0.service",
            "systemd-binfmt.service", "systemd-update-utmp.service",
        )
    },
}  # fmt: skip


@dataclass(frozen=True)
class VmRoot:
    """The files of a virtual machine; the disk is not to be written to."""

    kernel: Path
    initramfs: Path
    disk: Path


def vm_root(arch: str, cache: Path) -> VmRoot:
    """The machine's files, made unless the cache has them for this state of the mirror.

    Args:
        arch: Debian's word; programs of it run here through qemu-user.
        cache: a directory that may be deleted at any time.

    Raises:
        NotRootError: a disk with files of all owners is made by root only.
        ToolMissingError, NetworkError, DiskFullError, CommandError: from mmdebstrap and the rest.
    """
    if os.geteuid() != 0:
        raise NotRootError("the disk of a virtual machine is made by root only", hint="run as root")
    prepare_for(arch)
    mirror = Mirror.of_this_machine()
    system = cached_tar(
        Recipe(release=RELEASE, arch=arch, variant="minbase", include=PACKAGES), cache / "rootfs", mirror=mirror
    )
    # Only unpacked: the kernel's maintainer scripts would make an initramfs for every kind of hardware.
    boot = cached_tar(
        Recipe(release=RELEASE, arch=arch, variant="extract", include=(f"linux-image-cloud-{arch}", "busybox-static")),
        cache / "rootfs",
        mirror=mirror,
    )
    place = cache / "vm" / f"{system.stem}-{boot.stem.rsplit('-', 1)[1]}-{_ours()}"
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        with workspace(".vm", parent=place.parent) as room, step(f"Make a virtual machine's disk ({arch})"):
            made = room / "vm"
            made.mkdir()
            with _unpacked(system, boot, room) as (root, rest):
                _kernel(rest, root, made)
                _disk(root, made)
            put(made, place)
        forget_old(place.parent, "*")
    os.utime(place)
    return VmRoot(place / "vmlinuz", place / "initramfs", place / "disk.ext4")


def _ours() -> str:
    """A digest of what this module adds to Debian's files."""
    ours = repr((_VERSION, _MODULES, _INIT, sorted(_FILES.items()), sorted(_LINKS.items()), DISK_SIZE))
    return hashlib.sha256(ours.encode()).hexdigest()[:8]


def put(made: Path, place: Path) -> None:
    """Rename a finished directory to where it is looked for, unless somebody else was faster."""
    try:
        made.rename(place)
    except OSError:
        if not place.exists():
            raise


@contextlib.contextmanager
def _unpacked(system: Path, boot: Path, place: Path) -> Iterator[tuple[Path, Path]]:
    with workspace("root", parent=place) as root, workspace("boot", parent=place) as rest:
        for tar, target in ((system, root), (boot, rest)):
            argv: list[tools.Arg] = ["tar", "--extract", "--numeric-owner", "--xattrs", "--xattrs-include=*"]
            tools.run([*argv, "--file", tar, "--directory", target], quiet=True, timeout=600)
        root.chmod(0o755)
        yield root, rest


def _kernel(boot: Path, root: Path, out: Path) -> None:
    """The kernel, its modules (in `root`), and an initramfs that finds the disk."""
    [kernel] = boot.glob("boot/vmlinuz-*")
    version = kernel.name.removeprefix("vmlinuz-")
    kernel.rename(out / "vmlinuz")
    modules = root / "usr/lib/modules" / version
    modules.parent.mkdir(exist_ok=True)
    (boot / "lib/modules" / version).rename(modules)
    tools.run(["chroot", root, "depmod", version], quiet=True, timeout=300)
    with workspace("initramfs", parent=out) as tree:
        (tree / "bin").mkdir()
        (boot / "bin/busybox").rename(tree / "bin/busybox")
        needed = load_order((modules / "modules.dep").read_text(), _MODULES)
        for module in needed:
            (tree / Path(module).name).write_bytes((modules / module).read_bytes())
        (tree / "init").write_text(_INIT.format(modules=" ".join(Path(module).name for module in needed)))
        (tree / "init").chmod(0o755)
        names = "\n".join(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))
        tools.capture(
            ["cpio", "--create", "--quiet", "--format=newc", f"--directory={tree}", f"--file={out / 'initramfs'}"],
            stdin=names,
        )


def load_order(dependencies: str, names: Sequence[str]) -> list[str]:
    """The modules to load for `names`, each after what it needs.

    Args:
        dependencies: the content of modules.dep, whose lines name what a module needs, the first to be loaded last.
        names: file names of modules.
    """
    lines = [line.split() for line in dependencies.splitlines()]
    needs = {Path(words[0]).name.rstrip(":"): [words[0].rstrip(":"), *words[1:]] for words in lines if words}
    return list(dict.fromkeys(module for name in names for module in reversed(needs[name])))


def _disk(root: Path, out: Path) -> None:
    for name, content in _FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        path.chmod(0o755 if content.startswith("#!") else 0o644)
    for name, target in _LINKS.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(target)
    disk = out / "disk.ext4"
    argv: list[tools.Arg] = ["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1,lazy_journal_init=1"]
    tools.run([*argv, "-d", root, disk, DISK_SIZE], quiet=True, timeout=600)
    disk.chmod(stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH)
