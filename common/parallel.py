"""The same work for many things at once, in threads: for what waits for a disk or a server."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar, cast

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(work: Callable[[T], R], things: Iterable[T], *, threads: int) -> list[R]:
    """Do `work` with each thing, and return what it returned, in the order of `things`.

    Once one fails no further one is begun, and its error is raised when those under way are done: whoever comes after
    has nobody writing behind his back.

    Args:
        work: called from several threads at once.
        things: what with; those that take longest first, where that is known.
        threads: how many at once; with 1 it is a plain loop.
    """
    if threads <= 1:
        return [work(thing) for thing in things]
    failed = threading.Event()

    def begin(thing: T) -> R | None:
        if failed.is_set():
            return None
        try:
            return work(thing)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(begin, thing) for thing in things]
        try:
            wait(futures)
        except BaseException:  # an interruption
            failed.set()
            raise
    for future in futures:
        if (err := future.exception()) is not None:
            raise err
    return [cast("R", future.result()) for future in futures]
