"""The processes of a daemon of our own, as a test finds them from outside."""

from pathlib import Path


def processes_in(parent: Path) -> list[int]:
    """The processes that see a mount of something below `parent`: those of the daemon's namespaces."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                mounts = (entry / "mountinfo").read_text()
            except OSError:
                continue
            if f"{parent}/" in mounts:
                found.append(int(entry.name))
    return found


def pid_of(parent: Path) -> int:
    """The lxd itself, not the children it forks for a container."""
    [pid] = [pid for pid in processes_in(parent) if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(b"bin/lxd\0")]
    return pid
