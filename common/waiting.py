"""The only place that sleeps: every wait has a deadline and a name."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from common.errors import DeadlineError

T = TypeVar("T")
_patience = 1.0


@contextlib.contextmanager
def patient(factor: float) -> Iterator[None]:
    """Everything this process waits for may take so many times as long: what it waits for runs in an emulator."""
    global _patience
    before, _patience = _patience, factor
    try:
        yield
    finally:
        _patience = before


def scaled(seconds: float) -> float:
    """How long a thing may take that usually may take `seconds`."""
    return seconds * _patience


def wait_until(ready: Callable[[], T], what: str, *, timeout: float, every: float = 0.1) -> T:
    """Call `ready` until it returns something true, and return that.

    Args:
        ready: returns a false value while it is too early.
        what: named in the error: "the LXD daemon", "cros-sftp.service to become active".
        timeout: seconds, to be multiplied where `patient` says so.
        every: seconds between two calls.

    Raises:
        DeadlineError: after `timeout` seconds.
    """
    timeout = scaled(timeout)
    deadline = time.monotonic() + timeout
    while not (result := ready()):
        if time.monotonic() >= deadline:
            raise DeadlineError(f"waited {timeout:g} s for {what}, in vain")
        time.sleep(every)
    return result
