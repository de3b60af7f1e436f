"""Waits end when something is there, or with the name of what was not."""

import time

import pytest

from common.errors import DeadlineError
from common.waiting import patient, scaled, wait_until


def test_it_returns_what_is_there() -> None:
    answers = iter([None, 0, "", "there", "never asked"])
    assert wait_until(lambda: next(answers), "an answer", timeout=5, every=0.001) == "there"
    assert next(answers) == "never asked"


def test_it_names_what_did_not_come() -> None:
    start = time.monotonic()
    with pytest.raises(DeadlineError, match="waited 0.1 s for the moon to rise, in vain"):
        wait_until(lambda: False, "the moon to rise", timeout=0.1, every=0.01)
    assert 0.1 <= time.monotonic() - start < 2


def test_it_asks_once_even_without_time() -> None:
    assert wait_until(lambda: 7, "seven", timeout=0) == 7


def test_what_fails_while_asking_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        wait_until(lambda: 1 // 0, "an answer", timeout=5)


def test_what_is_emulated_may_take_longer() -> None:
    with patient(3):
        assert scaled(20) == 60
        with pytest.raises(DeadlineError, match="waited 0.3 s for the moon"):
            wait_until(lambda: False, "the moon to rise", timeout=0.1, every=0.01)
    assert scaled(20) == 20
