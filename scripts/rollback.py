"""Puts an earlier live snapshot back: what `invoke rollback-apt` and `rollback-container` do."""

from collections.abc import Sequence

from common.errors import UsageError
from common.ledger import Action, Entry, Line
from common.snapshots import Part
from scripts.promote import How, make_live
from scripts.releases import Half


def run(part: Part, *, milestone: int, to: str, how: How) -> None:
    """Put a snapshot back.

    Args:
        part: of which half.
        milestone: whose.
        to: the id of a live snapshot, or its beginning; "" for the one before what is live.
        how: see scripts/promote.py.

    Raises:
        UsageError: nothing was ever live, or there is no such snapshot.
        ArtifactError: an object of it is gone, or the ledger cannot be read.
        ConflictError, SigningError, NetworkError: nothing half done is live; run it again.
    """
    half = Half.open(part, milestone, out=how.out, storage=how.storage)
    lines = half.ledger.lines()
    if not lines:
        raise UsageError(f"nothing was ever made live in {half.live.url}", hint=f"./run invoke promote-{part}")
    chosen = half.live.find(to or before_live(lines))
    live = half.shown_live()
    if live and live.id == chosen.id:
        print(f"{chosen.short} is live already")
        return
    entry = Entry(
        action=Action.ROLLBACK, who=how.name(), source=chosen.id, before=lines[-1].entry.after, after="",
        why=how.reason,
    )  # fmt: skip
    for line in make_live(half, half.live, chosen, entry, how):
        print(line)


def before_live(lines: Sequence[Line]) -> str:
    """The live snapshot that was replaced by the promotion of what is live now.

    What was put back is what it was when it was promoted, so that two rollbacks go back two promotions.

    Raises:
        UsageError: nothing was live before it.
    """
    entry = lines[-1].entry
    while entry.action is Action.ROLLBACK:
        entry = next(line.entry for line in reversed(lines) if line.entry.after == entry.source and line.entry != entry)
    if not entry.before:
        raise UsageError(
            "what is live now was the first that ever was",
            hint="promote another snapshot; ./run invoke staged lists them",
        )
    return entry.before
