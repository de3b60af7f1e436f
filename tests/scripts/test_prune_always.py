"""Pruning, whatever was published, promoted and put back before: what is needed stays, and all else goes."""

import contextlib
import datetime as dt
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import UsageError
from common.ledger import Action, Ledger
from common.snapshots import Snapshots
from lxd.metadata import ImageName
from lxd.pins import pin
from tests.scripts.pruneparts import DAY, HOUR, NAME, Desk, items_of

# More of them where somebody asks for it: a history takes some seconds, of gpg's mostly.
HISTORIES = int(os.environ.get("PRUNE_HISTORIES", "2"))
OTHER = ImageName(release="trixie", arch="amd64", type="default")

actions = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from([(NAME,), (OTHER,), (NAME, OTHER)])),
    st.tuples(st.just("promote"), st.integers(0, 2)),
    st.tuples(st.just("rollback"), st.integers(0, 2)),
    st.tuples(st.just("pin"), st.integers(0, 2)),
    st.tuples(st.just("prune"), st.integers(1, 2)),
)
ages = st.sampled_from([dt.timedelta(0), DAY])
steps = st.lists(st.tuples(actions, st.integers(0, 70)), min_size=6, max_size=10)


class History:
    """A desk, what was visible there when, and what somebody pins."""

    def __init__(self, out: Path, older_than: dt.timedelta) -> None:
        self.desk, self.older_than = Desk(out), older_than
        self.visible: list[tuple[dt.datetime, Snapshots, set[str]]] = []
        self.pinned: set[str] = set()
        self.number = 0
        self.desk.publish(self.number)

    def publish(self, names: tuple[ImageName, ...]) -> None:
        self.number += 1
        self.desk.publish(self.number, names=names)

    def promote(self, back: int) -> None:
        """The newest snapshot of staging, or one before it."""
        snapshots = self.desk.half.staging.all()
        self.desk.promote(snapshots[min(back, len(snapshots) - 1)])

    def rollback(self, back: int) -> None:
        """What was live before, or what the ledger names some lines earlier, where there is something."""
        lines = self.desk.half.ledger.lines()
        to = "" if not back or not lines else lines[-1].entry.before
        with contextlib.suppress(UsageError):  # nothing was, or it was pruned: said, and nothing done
            self.desk.rollback(to)

    def pin(self, back: int) -> None:
        """All objects of a version in the index."""
        staging = self.desk.half.staging
        names = sorted(items_of(self.desk.index(staging)))[-3 * (back + 1) :][:3]
        pin(staging.bucket, 72, "somebody", why="pinned", urls=[f"{staging.bucket.url}/{name}" for name in names],
            publisher="test")  # fmt: skip
        self.pinned = set(names)

    def prune(self, keep: int) -> None:
        self.desk.prune(keep=keep, older_than=self.older_than)
        self.check()

    def look(self) -> None:
        """Remember what clients see."""
        for each in (self.desk.half.staging, self.desk.half.live):
            self.visible.append((self.desk.clock, each, set(items_of(self.desk.index(each)))))

    def check(self) -> None:
        """Nothing is gone that is pinned, or that somebody may have seen within the hour."""
        for when, snapshots, names in self.visible:
            if self.desk.clock - when < HOUR:
                assert names <= set(snapshots.bucket.names("72/images/"))
        assert self.pinned <= set(self.desk.half.staging.bucket.names("72/images/"))
        assert self.desk.half.staged() is not None
        if ledger := self.desk.half.ledger.lines():
            assert self.desk.live().id == ledger[-1].entry.after
            assert self.needed_live(self.desk.half.ledger) <= set(self.desk.half.live.ids())

    def needed_live(self, ledger: Ledger) -> set[str]:
        """What live shows, what it showed before, and what it showed before that was promoted."""
        entries = [line.entry for line in ledger.lines()]
        promoted = {entry.after: entry for entry in entries if entry.action is Action.PROMOTE}
        last = entries[-1]
        before = promoted[last.after].before if last.after in promoted else ""
        return {each for each in (last.after, last.before, before) if each}

    def end(self) -> None:
        """Pruned once more, and again when the grace is over: nothing is left but what is needed."""
        self.desk.clock += 99 * DAY
        self.desk.prune(keep=1)
        self.desk.clock += HOUR
        staging, live = self.desk.prune(keep=1)
        assert self.desk.wrong() == []
        half = self.desk.half
        expected = self.needed_live(half.ledger) if half.ledger.lines() else set()
        assert set(half.live.ids()) - expected <= {each.id for each, why in live.kept if "one of the newest 1" in why}
        for each, outcome in ((half.staging, staging), (half.live, live)):
            left = set(each.bucket.names("72/images/")) | set(each.bucket.names("72/snapshots/"))
            needed = {name for snapshot, _why in outcome.kept for name in each.needed_by(snapshot)}
            needed |= set(items_of(self.desk.index(each))) | {"72/snapshots/keyring.asc"}
            folders = {name.rsplit("/", 1)[0] for name in self.pinned}
            assert {name for name in left - needed if name.rsplit("/", 1)[0] not in folders} == set()


@settings(max_examples=HISTORIES, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(history=steps, older_than=ages)
def test_what_is_needed_stays_and_all_else_goes(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[tuple[str, object], int]], older_than: dt.timedelta
) -> None:
    run = History(tmp_path_factory.mktemp("history"), older_than)
    for (action, argument), minutes in history:
        run.look()
        run.desk.clock += dt.timedelta(minutes=minutes)
        run.look()
        do: Callable[[object], None] = getattr(run, action)
        do(argument)
    run.check()
    run.end()
