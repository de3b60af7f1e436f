"""Which snapshots are kept for their age or number alone."""

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from common.errors import UsageError
from common.snapshots import Snapshot


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What stays whoever needs it.

    Attributes:
        keep: so many of the newest snapshots, at least 1.
        older_than: what is younger stays, too.
    """

    keep: int
    older_than: dt.timedelta

    def __post_init__(self) -> None:
        """UsageError: nothing would be kept."""
        if self.keep < 1:
            raise UsageError(f"--keep {self.keep} would keep no snapshot", hint="at least 1")

    def reasons(
        self, snapshots: Sequence[Snapshot], *, whole: Collection[str], now: dt.datetime
    ) -> dict[str, list[str]]:
        """Why each snapshot stays, by id; nothing for one that may go.

        Args:
            snapshots: the newest first.
            whole: the ids of those that have lost no object; others do not count as one of the newest.
            now: the time that ages are measured from.
        """
        newest = [each.id for each in snapshots if each.id in whole][: self.keep]
        found: dict[str, list[str]] = {each.id: [] for each in snapshots}
        for each in snapshots:
            if each.id in newest:
                found[each.id].append(f"one of the newest {self.keep}")
            if now - each.created < self.older_than:
                found[each.id].append("younger than --older-than")
        return found
