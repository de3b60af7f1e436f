"""How far a transfer is, with its rate and the time left: for the runner's line, as a bar on a terminal, in a log."""

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator

from rich.filesize import decimal

from common import progress

log = logging.getLogger(__name__)

_TOLD = 0.2  # seconds between two looks at a bar
_LOGGED = 10.0  # and between two lines of a log


def describe(done: int, total: int, rate: float) -> str:
    """`0.8 GB of 2.0 GB, 85.0 MB/s, 14 s left`; the rate is in bytes a second, 0 when it is not known yet."""
    text = f"{decimal(done)} of {decimal(total)}"
    if not rate:
        return text
    left = max(0, round((total - done) / rate))
    return f"{text}, {decimal(round(rate))}/s, {f'{left} s' if left < 60 else f'{left // 60}:{left % 60:02d}'} left"


class _Transfer:
    """Counts bytes, from any thread, and tells now and then."""

    def __init__(self, name: str, total: int, show: Callable[[int], None]) -> None:
        self.name, self.total, self.done = name, total, 0
        self._show = show
        self._start = self._told = self._logged = time.monotonic()
        self._lock = threading.Lock()

    def __call__(self, count: int) -> None:
        with self._lock:
            self.done += count
            now = time.monotonic()
            if now - self._told < _TOLD and self.done < self.total:
                return
            self._told = now
            rate = self.done / max(now - self._start, 0.001)
            progress.report(self.name, self.done, self.total, rate=rate)
            self._show(self.done)
            if now - self._logged >= _LOGGED:
                self._logged = now
                log.info("%s: %s", self.name, describe(self.done, self.total, rate))


@contextlib.contextmanager
def transfer(name: str, total: int) -> Iterator[Callable[[int], None]]:
    """A transfer of `total` bytes, for as long as the `with` lasts; call what it gives with the bytes that came on.

    A terminal gets a bar, and everything else a line in the log every ten seconds.
    """
    if not total or progress.is_listened_to() or not sys.stderr.isatty():
        yield _Transfer(name, total, lambda _done: None)
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.DownloadColumn(),
               bars.TransferSpeedColumn(), bars.TimeRemainingColumn())  # fmt: skip
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(name, total=total)
        yield _Transfer(name, total, lambda done: shown.update(task, completed=done))
