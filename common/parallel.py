"""The same work for many things at once, in threads: for what waits for a disk or a server."""

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import TypeVar

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
    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(work, thing) for thing in things]
        try:
            wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            for future in futures:
                future.cancel()
    for future in futures:
        if not future.cancelled() and (err := future.exception()) is not None:
            raise err
    return [future.result() for future in futures]
