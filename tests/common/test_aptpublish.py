"""Which superseded by-hash copies go: a pure decision."""

import datetime as dt

from hypothesis import given
from hypothesis import strategies as st

from common.aptpublish import KEPT, superseded

NOW = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)


def ago(hours: float) -> str:
    return (NOW - dt.timedelta(hours=hours)).isoformat()


def test_what_goes() -> None:
    there = ["current", "fresh", "young", "old"]
    gone, since = superseded(there, {"current"}, {"young": ago(47), "old": ago(49), "vanished": ago(99)}, now=NOW)
    assert gone == ["old"]
    assert since == {"fresh": ago(0), "young": ago(47)}


def test_what_comes_back_is_not_superseded() -> None:
    assert superseded(["back"], {"back"}, {"back": ago(1000)}, now=NOW) == ([], {})


NAMES = st.sampled_from("abcdef")


@given(st.lists(NAMES, unique=True), st.sets(NAMES), st.dictionaries(NAMES, st.floats(0, 100).map(ago)))
def test_nothing_current_or_young_goes(there: list[str], current: set[str], known: dict[str, str]) -> None:
    gone, since = superseded(there, current, known, now=NOW)
    assert not set(gone) & current
    assert set(gone) <= set(there)
    assert all(name in known and NOW - dt.datetime.fromisoformat(known[name]) > KEPT for name in gone)
    assert set(gone) | set(since) | current >= set(there)
    assert superseded([name for name in there if name not in gone], current, since, now=NOW) == ([], since)
