"""Which snapshots stay for their number and age."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import UsageError
from common.retention import Rules
from common.shown import Object, State
from common.snapshots import Origin, Part, Snapshot

NOW = dt.datetime(2026, 11, 24, 12, 10, tzinfo=dt.UTC)
DAY = dt.timedelta(days=1)


def snapshot(days: int) -> Snapshot:
    """One that is so many days old."""
    state = State(objects={"p": Object(size=1, sha256="0" * 64)}, pointers=("p",), replaced=("p",))
    return Snapshot(part=Part.APT, milestone=72, bucket="gs://x", created=NOW - days * DAY, state=state,
                    origin=Origin(job="job"))  # fmt: skip


def test_the_newest_and_the_young_stay() -> None:
    snapshots = [snapshot(days) for days in (1, 5, 9, 20)]
    found = Rules(keep=3, older_than=6 * DAY).reasons(snapshots, whole=[each.id for each in snapshots], now=NOW)
    assert list(found.values()) == [
        ["one of the newest 3", "younger than --older-than"],
        ["one of the newest 3", "younger than --older-than"],
        ["one of the newest 3"],
        [],
    ]


def test_exactly_so_old_is_old() -> None:
    old, new = snapshot(6), snapshot(5)
    found = Rules(keep=1, older_than=6 * DAY).reasons([new, old], whole=[new.id, old.id], now=NOW)
    assert found[old.id] == []


def test_one_that_lost_an_object_does_not_count() -> None:
    snapshots = [snapshot(days) for days in (1, 2, 3)]
    found = Rules(keep=1, older_than=0 * DAY).reasons(snapshots, whole=[snapshots[2].id], now=NOW)
    assert [bool(why) for why in found.values()] == [False, False, True]


def test_keeping_none_is_refused() -> None:
    with pytest.raises(UsageError, match="--keep 0 would keep no snapshot"):
        Rules(keep=0, older_than=DAY)


@given(st.sets(st.integers(0, 30), min_size=1, max_size=10), st.integers(1, 4), st.integers(0, 31), st.data())
def test_more_is_kept_by_larger_rules(days: set[int], keep: int, age: int, data: st.DataObject) -> None:
    snapshots = [snapshot(each) for each in sorted(days)]
    whole = data.draw(st.sets(st.sampled_from([each.id for each in snapshots])))

    def kept(rules: Rules) -> set[str]:
        return {each for each, why in rules.reasons(snapshots, whole=whole, now=NOW).items() if why}

    found = kept(Rules(keep=keep, older_than=age * DAY))
    assert found <= kept(Rules(keep=keep + 1, older_than=(age + 1) * DAY))
    assert len(found & whole) >= min(keep, len(whole))
    assert all(each.id in found for each in snapshots if NOW - each.created < age * DAY)
