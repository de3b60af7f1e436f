"""Work in threads: order, the first error, nothing begun after it."""

import threading

import pytest

from common.parallel import in_parallel


@pytest.mark.parametrize("threads", [1, 4])
def test_results_are_in_order(threads: int) -> None:
    assert in_parallel(lambda number: number * 2, range(50), threads=threads) == list(range(0, 100, 2))
    assert in_parallel(lambda number: number, [], threads=threads) == []


def test_it_is_at_once() -> None:
    together = threading.Barrier(4)
    in_parallel(lambda _number: together.wait(timeout=30), range(4), threads=4)


@pytest.mark.parametrize("threads", [1, 4])
def test_an_error_ends_it_and_nothing_is_left_running(threads: int) -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise KeyError(number)

    with pytest.raises(KeyError):
        in_parallel(work, range(10_000), threads=threads)
    assert len(begun) < 10_000
