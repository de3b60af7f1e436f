"""What this machine can do, tried out one thing at a time; scripts/doctor.py prints it."""

import os
import platform
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

from common import tools
from common.errors import (
    CommandError,
    DeadlineError,
    DiskFullError,
    LxdUnavailableError,
    NetworkError,
    NotRootError,
    ReleaseError,
    SigningError,
    ToolMissingError,
)
from common.files import ROOT, secret_parent, workspace
from common.mirror import Mirror
from common.waiting import wait_until
from lxd.client import NO_ANSWER, connect
from lxd.servers import Server

USUAL = Server.LXD.kind.usual
DEADLINE = 10.0  # seconds, for each program and answer
DISK_WANTED, DISK_NEEDED = 10, 2  # GB
MEMORY_WANTED = 2.0  # GB
OS_RELEASE, MEMINFO, FILESYSTEMS = Path("/etc/os-release"), Path("/proc/meminfo"), Path("/proc/filesystems")
# Linux's <linux/kvm.h>: the one request every version answers, with 12 since 2007.
_KVM = "import fcntl; print(fcntl.ioctl(open('/dev/kvm', 'rb'), 0xAE00))"


@dataclass(frozen=True)
class Finding:
    """One thing this machine can or cannot do.

    Attributes:
        name: the thing.
        ok: whether it can; None for what it cannot, but `continuous` does not need.
        says: what was seen, and what it is needed for.
        mend: what to do about it, or "".
        error: the error a run would end with.
    """

    name: str
    ok: bool | None
    says: str
    mend: str = ""
    error: type[ReleaseError] = CommandError


def can(name: str, says: str) -> Finding:
    """What works."""
    return Finding(name=name, ok=True, says=says)


def cannot(name: str, says: str, mend: str = "") -> Finding:
    """What does not work, but `continuous` does without."""
    return Finding(name=name, ok=None, says=says, mend=mend)


def misses(name: str, says: str, mend: str, error: type[ReleaseError]) -> Finding:
    """What does not work, and `continuous` needs."""
    return Finding(name=name, ok=False, says=says, mend=mend, error=error)


def probe_root() -> Finding:
    """Root file systems and LXD need it."""
    if os.geteuid() == 0:
        return can("root", "running as root")
    return misses("root", "not root: packages and images are made in chroots and containers",
                   "run as root, or with sudo", NotRootError)  # fmt: skip


def probe_debian() -> Finding:
    """Debian 12 is what everything is tried on."""
    told = dict(line.split("=", 1) for line in OS_RELEASE.read_text().splitlines() if "=" in line)
    name = told.get("PRETTY_NAME", "an unknown system").strip('"')
    known = told.get("ID", "").strip('"') == "debian" and told.get("VERSION_ID", "").strip('"') in ("12", "13")
    return Finding("system", known or None, name, "" if known else "Debian 12 is what this is tested on")


def probe_python() -> Finding:
    """The language version the code is written in."""
    fine = sys.version_info >= (3, 11)
    return Finding("python", fine, platform.python_version(), "" if fine else "apt-get install python3 (3.11 or later)",
                   ToolMissingError)  # fmt: skip


def probe_programs() -> list[Finding]:
    """Everything in common/programs.txt: one finding for all that is there, and one for each that is not."""
    path = tools.environment()["PATH"]
    listed = tools.programs()
    missing = [
        name for name in listed if not (Path(name).exists() if name.startswith("/") else shutil.which(name, path=path))
    ]
    there = can("programs", f"{len(listed) - len(missing)} of {len(listed)} are there")
    return [there] + [
        misses(name, f"{name} is missing", f"apt-get install {listed[name]}", ToolMissingError)
        for name in missing
    ]  # fmt: skip


def probe_mirror() -> Finding:
    """Whether Debian's archive answers."""
    url = f"{Mirror.of_this_machine().archive}/dists/bookworm/InRelease"
    try:
        requests.get(url, timeout=DEADLINE).raise_for_status()
    except requests.RequestException as err:
        return misses("Debian mirror", f"does not answer: {type(err).__name__}; root file systems come from it",
                       "check the network and the sources of apt", NetworkError)  # fmt: skip
    return can("Debian mirror", "answers")


def probe_disk() -> Finding:
    """Room under out/."""
    free = shutil.disk_usage(ROOT).free / 1e9
    says = f"{free:.1f} GB free for out/; a flow with one image takes about {DISK_WANTED} GB"
    enough = True if free >= DISK_WANTED else None if free >= DISK_NEEDED else False
    return Finding("disk", enough, says, "" if enough else "free some space (./run invoke clean)", DiskFullError)


def probe_memory() -> Finding:
    """Compressing an image takes the most."""
    lines = dict(line.split(":", 1) for line in MEMINFO.read_text().splitlines())
    free = int(lines["MemAvailable"].split()[0]) / 1e6
    enough = free >= MEMORY_WANTED or None
    return Finding(
        "memory", enough, f"{free:.1f} GB available", "" if enough else "builds run slowly or are ended below 2 GB"
    )


def _tried(name: str, argv: Sequence[str], needs: str, mend: str, error: type[ReleaseError]) -> Finding:
    """Whether a program that needs root succeeds."""
    if os.geteuid() != 0:
        return cannot(name, "not tried: it takes root")
    try:
        tools.capture(argv, timeout=DEADLINE)
    except ReleaseError as err:
        return misses(name, f"{err.what}; {needs}", mend, error)
    return can(name, f"works; {needs}")


def probe_user_namespaces() -> Finding:
    """Unprivileged containers are one."""
    return _tried("user namespaces", ["unshare", "--user", "--map-root-user", "true"], "containers run in them",
                  "sysctl -w user.max_user_namespaces=10000", LxdUnavailableError)  # fmt: skip


def probe_namespaces() -> Finding:
    """What the local runner puts each job in."""
    argv = ["setpriv", "--pdeathsig", "KILL", "--", "unshare", "--mount", "--propagation", "private", "--pid", "--fork",
            "--kill-child", "--mount-proc", "--", "true"]  # fmt: skip
    return _tried("mount and pid namespaces", argv, "each job runs in its own, so that it leaves nothing behind",
                  "give this container CAP_SYS_ADMIN, or use a machine", CommandError)  # fmt: skip


def probe_cgroup2() -> Finding:
    """What trixie's systemd insists on."""
    return _tried("cgroup2", ["unshare", "--mount", "mount", "-t", "cgroup2", "none", "/sys/fs/cgroup"],
                  "containers get that alone", "use a kernel with cgroup2", LxdUnavailableError)  # fmt: skip


def probe_loop() -> Finding:
    """LXD's pool is a file."""
    return _tried("loop devices", ["losetup", "--find"], "LXD's storage pool is a file",
                  "modprobe loop; in a container, hand in /dev/loop*", LxdUnavailableError)  # fmt: skip


def probe_filesystems() -> list[Finding]:
    """What the kernel can mount now; it may load more by itself."""
    known = FILESYSTEMS.read_text().split()
    needs = {
        "btrfs": "LXD's storage pool unpacks an image once",
        "squashfs": "the layers of images stand on one",
        "overlay": "images are made in layers",
    }
    return [
        Finding(
            f"file system {name}", (name in known) or None, needs[name], "" if name in known else f"modprobe {name}"
        )
        for name in needs
    ]


def probe_lxd() -> Finding:
    """The daemon that runs, or what it takes to start one."""
    for directory in USUAL:
        if not (directory / "unix.socket").exists():
            continue
        try:
            pools = connect(directory, timeout=DEADLINE).api.storage_pools.get().json()["metadata"]
        except NO_ANSWER:
            continue
        if pools:  # without one lxd/daemon.py does not use it either
            return can("LXD", f"runs at {directory}; it is used inside a project of ours")
    missing = [name for name in ("lxd", "mkfs.btrfs") if not shutil.which(name, path=tools.environment()["PATH"])]
    if missing:
        return misses("LXD", f"none runs, and {' and '.join(missing)} is missing to start one",
                       "apt-get install lxd lxcfs btrfs-progs", LxdUnavailableError)  # fmt: skip
    return can("LXD", "none runs; one of our own is started when it is needed, and stopped again")


def probe_kvm() -> Finding:
    """Tried in a process of its own: /dev/kvm may be there and never answer."""
    name = "KVM"
    if not Path("/dev/kvm").exists():
        return cannot(name, "there is no /dev/kvm: virtual machines are emulated", "turn virtualisation on")
    try:
        with tools.started([sys.executable, "-c", _KVM], grace=0) as process:
            wait_until(lambda: not process.alive(), "/dev/kvm to answer", timeout=DEADLINE)
            said = process.tail().strip()
    except DeadlineError as err:
        return cannot(name, f"{err.what}: virtual machines are emulated", "use a machine with working KVM")
    if said.isdecimal():
        return can(name, f"answers (API version {said})")
    return cannot(name, f"{said.splitlines()[-1] if said else 'no answer'}: virtual machines are emulated",
                   "be root or in group kvm")  # fmt: skip


def probe_foreign() -> Finding:
    """Images of another architecture are made through qemu-user."""
    foreign = "amd64" if platform.machine() == "aarch64" else "arm64"
    try:
        tools.capture(["arch-test", foreign], timeout=DEADLINE)
    except ReleaseError:
        return cannot(f"running {foreign}", f"cannot run {foreign} programs: no {foreign} images from here",
                       "apt-get install qemu-user-static binfmt-support arch-test; mount binfmt_misc")  # fmt: skip
    return can(f"running {foreign}", f"{foreign} images can be made here")


def probe_gpg() -> Finding:
    """Make a key and sign with it, in a directory that is gone afterwards."""
    with workspace("doctor", parent=secret_parent()) as home:
        gpg = ["gpg", "--homedir", str(home), "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
        try:
            tools.capture([*gpg, "--quick-generate-key", "doctor", "ed25519", "sign", "1d"], timeout=DEADLINE)
            tools.capture([*gpg, "--clearsign"], stdin="text\n", timeout=DEADLINE)
        except ReleaseError as err:
            return misses("gpg", f"{err.what}; repositories are signed with it", "apt-get install gnupg", SigningError)
        finally:
            tools.capture(["gpgconf", "--homedir", str(home), "--kill", "all"], ok=(0, 1, 2), timeout=DEADLINE)
    return can("gpg", "makes keys and signs")


def probe_memory_files() -> Finding:
    """Where short-lived secrets are kept."""
    place = secret_parent()
    return Finding("/dev/shm", bool(place) or None, "keys are kept in memory" if place else "keys would touch the disk",
                   "" if place else "mount -t tmpfs tmpfs /dev/shm")  # fmt: skip


PROBES: Sequence[Callable[[], Finding | list[Finding]]] = (
    probe_root, probe_debian, probe_python, probe_programs, probe_mirror, probe_disk, probe_memory,
    probe_user_namespaces, probe_namespaces, probe_cgroup2, probe_loop, probe_filesystems, probe_lxd, probe_kvm,
    probe_foreign, probe_gpg, probe_memory_files,
)  # fmt: skip
