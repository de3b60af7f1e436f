"""Named, timed steps, and how far the current one is: what a person sees of long work.

A build says `with step("Make the root file system"):` and, where it knows, `report(done, total, "packages")`. The
local runner gives every job a file to report into (CROS_PROGRESS_FILE) and shows it on the job's line; everywhere
else a step is two lines in the log.
"""

import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

log = logging.getLogger(__name__)

FILE_VARIABLE = "CROS_PROGRESS_FILE"


@dataclass(frozen=True)
class Progress:
    """Where a job is: the step, `done` of `total` units of it (0 of 0 when nobody knows), and units a second."""

    step: str
    done: int = 0
    total: int = 0
    unit: str = ""
    rate: float = 0.0


def configure_logging(*, verbose: bool = False) -> None:
    """Set the one logger up; called by entry points only."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr, force=True
    )
    logging.getLogger("common").setLevel(logging.DEBUG if verbose else logging.INFO)
    for chatty in ("sh", "urllib3", "ws4py", "gnupg"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


@contextlib.contextmanager
def step(name: str) -> Iterator[None]:
    """Say what begins, and after it how long it took."""
    log.info("%s ...", name)
    _write(Progress(name))
    start = time.monotonic()
    try:
        yield
    except BaseException:
        log.info("%s: failed after %.1f s", name, time.monotonic() - start)
        raise
    log.info("%s: %.1f s", name, time.monotonic() - start)


def report(name: str, done: int, total: int, unit: str = "bytes", *, rate: float = 0.0) -> None:
    """Say how far the step `name` is, and how many units it does in a second, where that is known."""
    _write(Progress(name, done, total, unit, rate))


def is_listened_to() -> bool:
    """Whether a local runner shows what we report."""
    return FILE_VARIABLE in os.environ


def _write(progress: Progress) -> None:
    target = os.environ.get(FILE_VARIABLE)
    if target:
        beside = Path(f"{target}.new")
        beside.write_text(json.dumps(asdict(progress)))
        beside.replace(target)


def read(path: Path) -> Progress | None:
    """What a job reported last, or None."""
    try:
        return Progress(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError):
        return None
