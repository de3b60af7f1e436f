"""An LXD daemon of our own, of which nothing is left afterwards.

It runs in namespaces of its own (daemon.sh) and is never shut down in order: it is killed with all it holds, the same
way after a good run and when this process is killed itself.
"""

import contextlib
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from common import tools
from common.errors import DeadlineError, LxdUnavailableError
from common.waiting import wait_until
from lxd.client import NO_ANSWER, connect, listens

PREFIX = "cros-lxd-"
POOL = "pool"
POOL_SIZE = "40GiB"  # sparse: it takes the space that is used
START_TIMEOUT = 60.0


@contextlib.contextmanager
def daemon(parent: Path, certificates: Path | None) -> Iterator[Path]:
    """Start a daemon with a storage pool, and give its LXD_DIR as this machine's programs reach it.

    Args:
        parent: where its files go.
        certificates: the list of CAs it trusts; the system's when None.

    Raises:
        LxdUnavailableError: it cannot be started, with the last lines it said.
    """
    if os.geteuid() != 0:
        raise LxdUnavailableError("no LXD runs, and starting one needs root", hint="run as root, or start an LXD")
    if shutil.which("lxd", path=tools.environment()["PATH"]) is None:
        raise LxdUnavailableError(
            "no LXD runs, and the program 'lxd' is not installed", hint="apt-get install lxd lxcfs btrfs-progs"
        )
    remove_stale(parent)
    with contextlib.ExitStack() as stack:
        place, lock = _place(parent)
        stack.callback(_remove, place)
        stack.callback(os.close, lock)
        data = place / "lxd"
        data.mkdir(mode=0o711)
        # Through an open directory the socket has a short path, however long the real one is.
        handle = os.open(data, os.O_PATH)
        stack.callback(os.close, handle)
        stack.callback(_wait_until_gone, data)
        process = stack.enter_context(_started(data, place.name, certificates))
        directory = Path(f"/proc/{os.getpid()}/fd/{handle}")
        try:
            wait_until(lambda: _ready(directory, process), "LXD to start", timeout=START_TIMEOUT, every=0.05)
        except DeadlineError as err:
            raise _not_started(process) from err
        _make_pool(directory)
        yield directory


def _started(data: Path, name: str, certificates: Path | None) -> contextlib.AbstractContextManager[tools.Process]:
    script = Path(__file__).with_name("daemon.sh")
    argv = ["setpriv", "--pdeathsig", "KILL", "--", "sh", str(script), "outside", str(os.getpid()), str(data), name]
    env = {"SSL_CERT_FILE": str(certificates)} if certificates else {}
    return tools.started(argv, env=env, grace=0)


def _ready(directory: Path, process: tools.Process) -> bool:
    if not process.alive():
        raise _not_started(process)
    if not listens(directory):
        return False
    try:
        api = connect(directory, timeout=START_TIMEOUT).api
        url = api._api_endpoint.removesuffix("/1.0")  # what `lxd waitready` asks is outside /1.0
        return bool(api.session.get(f"{url}/internal/ready", timeout=START_TIMEOUT).ok)
    except NO_ANSWER:
        return False


def _not_started(process: tools.Process) -> LxdUnavailableError:
    return LxdUnavailableError(
        "an LXD of our own did not start",
        details=process.tail(),
        hint="./run invoke doctor says what this machine lacks",
    )


def _make_pool(directory: Path) -> None:
    # Checksums and barriers guard what outlives a crash; this pool never does.
    options = "user_subvol_rm_allowed,nodatasum,nobarrier"
    pool = {"name": POOL, "driver": "btrfs", "config": {"size": POOL_SIZE, "btrfs.mount_options": options}}
    api = connect(directory).api
    api.storage_pools.post(json=pool)
    root = {"type": "disk", "path": "/", "pool": POOL}
    api.profiles["default"].put(json={"devices": {"root": root}})


def _place(parent: Path) -> tuple[Path, int]:
    """A directory of ours and its lock. Another run may take it for a stale one before it is locked: once more then."""
    while True:
        place = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        with contextlib.suppress(OSError):
            lock = _locked(place)
            if place.exists():
                return place, lock
            os.close(lock)


def _locked(place: Path) -> int:
    """Mark the directory as in use for as long as the handle is open, so at most as long as we live."""
    handle = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(handle)
        raise
    return handle


def remove_stale(parent: Path) -> None:
    """Remove what killed runs left: their directories below `parent`, and their empty cgroups."""
    for place in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):  # in use, or removed by somebody else just now
            handle = _locked(place)
            _remove(place)
            os.close(handle)
    for root in _cgroup_roots():
        for group in root.glob(f"{PREFIX}*"):
            with contextlib.suppress(OSError):
                young = time.time() - group.stat().st_mtime < START_TIMEOUT  # about to be used
                if not young and "populated 0" in (group / "cgroup.events").read_text():
                    _remove_cgroup(group)


def _remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    for root in _cgroup_roots():
        _remove_cgroup(root / place.name)


def _remove_cgroup(group: Path) -> None:
    for directory, _, _ in os.walk(group, topdown=False):
        with contextlib.suppress(OSError):
            Path(directory).rmdir()


def _cgroup_roots() -> list[Path]:
    """Where cgroup2 is mounted."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    return [Path(words[1]) for words in mounts if words[2] == "cgroup2"]


def _wait_until_gone(data: Path) -> None:
    """Wait for the kernel to take the pool's loop device apart, after the last process of the namespaces."""
    disk = data / "disks" / f"{POOL}.img"
    if disk.exists():
        inode = str(disk.stat().st_ino)
        listing = ["losetup", "--list", "--noheadings", "--output", "BACK-INO"]
        wait_until(lambda: inode not in tools.capture(listing).split(), "the loop device to go", timeout=60, every=0.05)
