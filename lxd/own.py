"""An LXD or Incus daemon of our own, of which nothing is left afterwards.

It runs in namespaces of its own (daemon.sh) and is never shut down in order: it is killed with all it holds, the same
way after a good run and when this process is killed itself.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import tools
from common.errors import CommandError, DeadlineError, LxdUnavailableError
from common.files import remove_stale, workspace
from common.waiting import wait_until
from lxd.client import NO_ANSWER, connect, listens, translated
from lxd.servers import Server

log = logging.getLogger(__name__)

PREFIX = "cros-lxd"
DATA = "data"
POOL = "pool"
POOL_SIZE = "40GiB"  # sparse: it takes the space that is used
START_TIMEOUT = 60.0


@dataclass(frozen=True)
class Own:
    """A daemon of our own.

    Attributes:
        directory: its LXD_DIR (or INCUS_DIR), as this machine's programs reach it while we run.
        namespace: of the network its bridges are in (a file below /proc); None when that is this machine's.
    """

    directory: Path
    namespace: Path | None


@contextlib.contextmanager
def daemon(parent: Path, certificates: Path | None = None, *, server: Server = Server.LXD) -> Iterator[Own]:
    """Start a daemon with a storage pool.

    It has a network of its own, and so nothing of it can be left on this machine, unless it is to pull images.

    Args:
        parent: where its files go.
        certificates: the list of CAs it trusts when it pulls images through this machine's network.
        server: which of the two.

    Raises:
        LxdUnavailableError: it cannot be started, with the last lines it said.
        ToolMissingError: Incus is not installed.
    """
    if os.geteuid() != 0:
        title = server.kind.title
        raise LxdUnavailableError(f"no {title} runs, and starting one needs root", hint="run as root, or start one")
    program = server.kind.find()
    sweep(parent)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(workspace(PREFIX, parent=parent))
        stack.callback(_remove_cgroup, place.name)
        data = place / DATA
        data.mkdir(mode=0o711)
        # Through an open directory the socket has a short path, however long the real one is.
        handle = os.open(data, os.O_PATH)
        stack.callback(os.close, handle)
        stack.callback(_wait_until_gone, data)
        process = stack.enter_context(_started(server, program, data, certificates))
        namespace = None if certificates else Path(f"/proc/{process.pid}/ns/net")
        directory = Path(f"/proc/{os.getpid()}/fd/{handle}")
        try:
            wait_until(
                lambda: _ready(directory, process, server),
                f"{server.kind.title} to start",
                timeout=START_TIMEOUT,
                every=0.05,
            )
        except DeadlineError as err:
            raise _not_started(process, server) from err
        make_pool(directory)
        _leave_in_memory(data / "disks" / f"{POOL}.img")
        yield Own(directory, namespace)


def _started(
    server: Server, program: Path, data: Path, certificates: Path | None
) -> contextlib.AbstractContextManager[tools.Process]:
    script = Path(__file__).with_name("daemon.sh")
    network = "shared" if certificates else "own"
    argv: list[tools.Arg] = [
        "setpriv", "--pdeathsig", "KILL", "--",
        "sh", script, "outside", str(os.getpid()), data, data.parent.name, network,
        program, server.kind.variable, server.kind.home,
    ]  # fmt: skip
    return tools.started(argv, env={"SSL_CERT_FILE": str(certificates)} if certificates else {}, grace=0)


def _ready(directory: Path, process: tools.Process, server: Server) -> bool:
    if not process.alive():
        raise _not_started(process, server)
    return listens(directory) and is_ready(directory)


def is_ready(directory: Path) -> bool:
    """Whether the daemon that listens there has finished starting."""
    try:
        api = connect(directory, timeout=START_TIMEOUT).api
        url = api._api_endpoint.removesuffix("/1.0")  # what `lxd waitready` asks is outside /1.0
        return bool(api.session.get(f"{url}/internal/ready", timeout=START_TIMEOUT).ok)
    except NO_ANSWER:
        return False


def _not_started(process: tools.Process, server: Server) -> LxdUnavailableError:
    return LxdUnavailableError(
        f"an {server.kind.title} of our own did not start",
        details=process.tail(),
        hint="./run invoke doctor says what this machine lacks",
    )


def make_pool(directory: Path) -> None:
    """A btrfs pool, on which an image is unpacked once; or a plain directory, where there is no btrfs."""
    api = connect(directory).api
    # Checksums and barriers guard what outlives a crash; this pool never does.
    options = "user_subvol_rm_allowed,nodatasum,nobarrier"
    config = {"size": POOL_SIZE, "btrfs.mount_options": options}
    try:
        with translated():
            api.storage_pools.post(json={"name": POOL, "driver": "btrfs", "config": config})
    except CommandError as err:
        log.warning("no btrfs pool, so every container unpacks the image again: %s", err.what)
        api.storage_pools.post(json={"name": POOL, "driver": "dir"})
    root = {"type": "disk", "path": "/", "pool": POOL}
    api.profiles["default"].put(json={"devices": {"root": root}})


def _leave_in_memory(disk: Path) -> None:
    """Let what is written to the pool reach the disk only where memory is short: it is deleted with the daemon.

    LXD has it written straight to the disk, and btrfs waits for that when it makes a container of an image.
    """
    for loop in _loops_of(disk):
        tools.run(["losetup", "--direct-io=off", loop], quiet=True)


def _loops_of(disk: Path) -> list[str]:
    """The loop devices on a file; none where there is no such file."""
    if not disk.exists():
        return []
    inode = str(disk.stat().st_ino)
    listed = tools.capture(["losetup", "--list", "--noheadings", "--output", "NAME,BACK-INO"]).splitlines()
    return [words[0] for line in listed if (words := line.split())[1:] == [inode]]


def sweep(parent: Path) -> None:
    """Remove what killed runs left: their directories below `parent`, and the cgroups of those and of others."""
    left = list(parent.glob(f"{PREFIX}-*"))
    remove_stale(parent, f"{PREFIX}-*")
    for place in left:
        if not place.exists():
            _remove_cgroup(place.name)
    for root in _cgroup_roots():
        for group in root.glob(f"{PREFIX}-*"):
            with contextlib.suppress(OSError):
                young = time.time() - group.stat().st_mtime < START_TIMEOUT  # about to be used
                if not young and "populated 0" in (group / "cgroup.events").read_text():
                    _remove_cgroup(group.name)


def _remove_cgroup(name: str) -> None:
    for root in _cgroup_roots():
        for directory, _, _ in os.walk(root / name, topdown=False):
            with contextlib.suppress(OSError):
                Path(directory).rmdir()


def _cgroup_roots() -> list[Path]:
    """Where cgroup2 is mounted."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(words[1]) for words in mounts if words[2] == "cgroup2"]


def _wait_until_gone(data: Path) -> None:
    """Wait for the kernel to take the pool's loop device apart, after the last process of the namespaces."""
    disk = data / "disks" / f"{POOL}.img"
    wait_until(lambda: not _loops_of(disk), "the loop device to go", timeout=60, every=0.05)
