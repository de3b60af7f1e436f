"""The only place that sleeps: every wait has a deadline and a name."""

import time
from collections.abc import Callable
from typing import TypeVar

from common.errors import DeadlineError

T = TypeVar("T")


def wait_until(ready: Callable[[], T], what: str, *, timeout: float, every: float = 0.1) -> T:
    """Call `ready` until it returns something true, and return that.

    Args:
        ready: returns a false value while it is too early.
        what: named in the error: "the LXD daemon", "cros-sftp.service to become active".
        timeout: seconds.
        every: seconds between two calls.

    Raises:
        DeadlineError: after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while not (result := ready()):
        if time.monotonic() >= deadline:
            raise DeadlineError(f"waited {timeout:g} s for {what}, in vain")
        time.sleep(every)
    return result
