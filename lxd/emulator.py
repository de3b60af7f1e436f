"""A virtual machine of another architecture in software emulation, with LXD in it: nothing of it is left afterwards.

Everything between here and there goes through one ssh connection: LXD's socket, files, and what containers ask of us.
"""

import contextlib
import os
import socket
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from common import tools
from common.errors import DeadlineError, LxdDiedError, LxdUnavailableError, ToolMissingError
from common.files import workspace, write_atomically
from common.progress import step
from common.waiting import wait_until
from lxd import own
from lxd.client import listens, translated
from lxd.vmroot import KEY_PARAMETER, READY, VmRoot, vm_root

# Debian's architecture -> qemu's program, and the package it is in.
QEMU = {"arm64": ("qemu-system-aarch64", "qemu-system-arm")}
MEMORY = "4G"
PROCESSORS = os.cpu_count() or 1
# How much longer than on this machine itself everything may take.
PATIENCE = 10.0
BOOT_TIMEOUT = 900.0  # seconds
_TAIL = 4000  # characters of the console


@dataclass(frozen=True)
class Machine:
    """A virtual machine that runs.

    Attributes:
        directory: the LXD_DIR of the LXD in it, as this machine's programs reach it while we run.
    """

    directory: Path
    _ssh: tuple[tools.Arg, ...]

    def run(self, *words: str, stdin: Path | None = None, timeout: float = 300) -> None:
        """Run a program in it, as root."""
        tools.run([*self._ssh, "root@vm", *words], stdin=stdin, quiet=True, timeout=timeout)

    def copy(self, folder: Path) -> None:
        """Copy a directory to the same place there."""
        with workspace("copy", parent=folder.parent) as place:
            packed = place / "tar"
            with tarfile.open(packed, "w") as tar:
                tar.add(folder, arcname=str(folder).lstrip("/"))
            self.run("tar", "--extract", "--directory=/", stdin=packed)

    def listen(self, address: str, port: int) -> socket.socket:
        """A listening socket here that is reached at this address there, on the port it has here."""
        here = socket.create_server(("127.0.0.1", port))
        port = here.getsockname()[1]
        tools.run([*self._ssh, "-O", "forward", "-R", f"{address}:{port}:127.0.0.1:{port}", "root@vm"], quiet=True)
        return here


@contextlib.contextmanager
def machine(arch: str, parent: Path, cache: Path) -> Iterator[Machine]:
    """Boot a machine of this architecture, with an LXD that has a storage pool.

    Args:
        arch: Debian's word.
        parent: where its files go, on a disk.
        cache: where the disk it starts from is kept.

    Raises:
        LxdUnavailableError: there is no emulator of this architecture, or it did not start.
        ToolMissingError: qemu is not installed.
        LxdDiedError, CommandError: see lxd/client.py.
    """
    program = _qemu(arch)
    root = vm_root(arch, cache)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(workspace(own.PREFIX, parent=parent))
        key = _make_key(place / "key")
        port = _free_port()
        handle = os.open(place, os.O_PATH)
        stack.callback(os.close, handle)
        console = place / "console"
        with step(f"Boot an emulated machine ({arch})"):
            argv = qemu_argv(program, root, port=port, key=key, console=console)
            qemu = stack.enter_context(_started(argv, place))
            _wait_for_boot(qemu, console)
            # Through an open directory the sockets have short paths, however long the real ones are.
            directory = Path(f"/proc/{os.getpid()}/fd/{handle}")
            ssh = _ssh(directory, place, port)
            tunnel = ["-M", "-N", "-L", f"{directory}/unix.socket:/var/lib/lxd/unix.socket", "root@vm"]
            connection = stack.enter_context(_started([*ssh, *tunnel], place))
            _wait_for_lxd(directory, connection, console)
        with translated():
            own.make_pool(directory)
        yield Machine(directory, tuple(ssh))


def qemu_argv(program: str, root: VmRoot, *, port: int, key: str, console: Path) -> list[tools.Arg]:
    """The emulator's command line: a machine that reaches nothing, and is reached at `port` of loopback.

    What it writes to its disk goes into a nameless file.
    """
    kernel = f"console=ttyAMA0 net.ifnames=0 mitigations=off apparmor=0 panic=-1 quiet {KEY_PARAMETER}={key}"
    return [
        program,
        "-machine", "virt", "-cpu", "max,pauth-impdef=on", "-accel", "tcg,thread=multi",
        "-smp", str(PROCESSORS), "-m", MEMORY,
        "-nodefaults", "-display", "none", "-monitor", "none", "-no-reboot", "-serial", f"file:{console}",
        "-kernel", root.kernel, "-initrd", root.initramfs, "-append", kernel,
        "-drive", f"file={root.disk},if=none,id=root,format=raw,snapshot=on,cache=unsafe",
        "-device", "virtio-blk-device,drive=root",
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22",
        "-device", "virtio-net-device,netdev=net",
        "-device", "virtio-rng-device",
    ]  # fmt: skip


def _qemu(arch: str) -> str:
    if arch not in QEMU:
        raise LxdUnavailableError(
            f"containers of {arch!r} do not run here, and no machine of that architecture is emulated",
            hint=f"emulated are: {', '.join(QEMU)}",
        )
    program, package = QEMU[arch]
    try:
        return str(tools.find(program))
    except ToolMissingError as err:
        raise ToolMissingError(err.what, hint=f"apt-get install {package} openssh-client cpio") from err


def _started(argv: list[tools.Arg], place: Path) -> contextlib.AbstractContextManager[tools.Process]:
    """A program that dies with us, its temporary files in `place`."""
    # pdeathsig is not sent by a parent that died before it was set.
    guard = ["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", '[ "$PPID" = "$0" ] && exec "$@"', str(os.getpid())]
    return tools.started([*guard, *argv], env={"TMPDIR": str(place)}, grace=0)


def _make_key(path: Path) -> str:
    """Write a private key; returns the public one, as the middle word of a line of authorized_keys."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    write_atomically(path, private, mode=0o600)
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode().split()[1]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def _ssh(directory: Path, place: Path, port: int) -> list[tools.Arg]:
    options = {
        "ControlPath": f"{directory}/control", "HostName": "127.0.0.1", "Port": str(port),
        "IdentityFile": str(place / "key"), "IdentitiesOnly": "yes", "BatchMode": "yes", "LogLevel": "ERROR",
        # The machine is ours and new, and the way there is loopback.
        "StrictHostKeyChecking": "no", "UserKnownHostsFile": "/dev/null",
        "ExitOnForwardFailure": "yes", "StreamLocalBindUnlink": "yes",
        "ServerAliveInterval": "0", "ConnectTimeout": "120", "Compression": "no",
        "Ciphers": "aes128-gcm@openssh.com",
    }  # fmt: skip
    return ["ssh", "-F", "none", *[word for name, value in options.items() for word in ("-o", f"{name}={value}")]]


def _wait_for_boot(qemu: tools.Process, console: Path) -> None:
    def booted() -> bool:
        if not qemu.alive():
            what = f"the emulated machine did not start: qemu ended with {qemu.exit_code}"
            raise LxdUnavailableError(what, details=f"{qemu.tail()}\n{_end(console)}")
        return READY in console.read_text(errors="replace") if console.exists() else False

    try:
        wait_until(booted, "the emulated machine to boot", timeout=BOOT_TIMEOUT, every=0.2)
    except DeadlineError as err:
        raise DeadlineError(err.what, details=_end(console), hint="is this machine busy with something else?") from err


def _wait_for_lxd(directory: Path, connection: tools.Process, console: Path) -> None:
    def ready() -> bool:
        if not connection.alive():
            details = f"{connection.tail()}\n{_end(console)}"
            raise LxdDiedError("the emulated machine cannot be reached", details=details)
        return listens(directory) and own.is_ready(directory)

    wait_until(ready, "the LXD of the emulated machine", timeout=BOOT_TIMEOUT, every=0.2)


def _end(console: Path) -> str:
    return console.read_text(errors="replace")[-_TAIL:] if console.exists() else ""
