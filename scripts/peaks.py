"""What work needs at its peak: memory of this process and all it starts, and room on the disk."""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

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
            peaks.memory = max(peaks.memory, _memory() + max(0, _shared() - shared))
            peaks.disk = max(peaks.disk, free - _free(place))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peaks
    finally:
        over.set()
        thread.join()


def _memory() -> int:
    """Of this process and all it started, those that end meanwhile left out."""
    me = psutil.Process()
    found = 0
    for process in (me, *me.children(recursive=True)):
        with contextlib.suppress(psutil.Error):
            found += process.memory_full_info().pss
    return found


def _shared() -> int:
    return int(psutil.virtual_memory().shared)


def _free(place: Path) -> int:
    about = os.statvfs(place)
    return about.f_bfree * about.f_frsize
