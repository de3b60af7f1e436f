"""What work needs at its peak: memory of this process and all it starts, and room on the disk."""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EVERY = 0.2  # seconds between two looks


@dataclass
class Peaks:
    """The highest seen so far, in bytes.

    Attributes:
        memory: each process's proportional share (PSS), summed, and what is in memory-backed file systems and was not
            before. The cache of the disk's files is not counted, as the kernel takes it away when it needs it.
        disk: what the file system has less of than before; on a machine that does nothing else.
    """

    memory: int = 0
    disk: int = 0


@contextlib.contextmanager
def watched(place: Path) -> Iterator[Peaks]:
    """Look several times a second, for as long as the `with` lasts.

    Args:
        place: on the file system that is meant.
    """
    peaks, over = Peaks(), threading.Event()
    shared, free = _shared(), _free(place)

    def watch() -> None:
        while not over.wait(EVERY):
            memory = sum(map(_pss, tree(os.getpid()))) + max(0, _shared() - shared)
            peaks.memory = max(peaks.memory, memory)
            peaks.disk = max(peaks.disk, free - _free(place))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def tree(top: int) -> set[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            # The name in parentheses may have anything in it; the state and the parent come after.
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(entry.name))
    found: set[int] = set()
    waiting = [top]
    while waiting:
        found.add(pid := waiting.pop())
        waiting += children.get(pid, [])
    return found


def _pss(pid: int) -> int:
    with contextlib.suppress(OSError):
        return _kilobytes(Path(f"/proc/{pid}/smaps_rollup"), "Pss:")
    return 0


def _shared() -> int:
    return _kilobytes(Path("/proc/meminfo"), "Shmem:")


def _kilobytes(path: Path, name: str) -> int:
    """A line like `Pss: 12 kB`, in bytes; nothing where it is missing."""
    lines = (line.split() for line in path.read_text().splitlines())
    return next((int(words[1]) << 10 for words in lines if words and words[0] == name), 0)


def _free(place: Path) -> int:
    about = os.statvfs(place)
    return about.f_bfree * about.f_frsize
