"""Puts an earlier live snapshot back: what `invoke rollback-apt` and `rollback-container` do."""

import contextlib
from collections.abc import Iterator, Sequence

from common.errors import UsageError
from common.ledger import Action, Entry, Line
from common.snapshots import SHORT, Part
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
    put(Half.open(part, milestone, out=how.out, storage=how.storage), to, how)


def put(half: Half, to: str, how: How) -> None:
    """Put a snapshot of a half back. Arguments and errors: see `run`."""
    lines = half.ledger.lines()
    if not lines:
        raise UsageError(
            f"nothing was ever made live in {half.live.url}",
            hint=f"./run invoke promote-{half.part} --milestone {half.milestone}",
        )
    last = lines[-1].entry
    chosen = half.live.find(to or target(half, lines))
    live = half.known_live()
    if live and live.id == chosen.id == last.after:
        print(f"{chosen.short} is live already")
        return
    entry = Entry(action=Action.ROLLBACK, who=how.name(), source=chosen.id, why=how.reason)
    for line in make_live(half, half.live, chosen, entry, how):
        print(line)


def target(half: Half, lines: Sequence[Line]) -> str:
    """The live snapshot that goes back where none is named.

    A promotion that was interrupted is not in the ledger: before it was what the ledger ends with. A rollback that was
    interrupted is done again.

    Raises:
        UsageError: nothing was live before, or it cannot be known.
    """
    if half.unfinished(lines[-1].entry) is Action.PROMOTE:
        return lines[-1].entry.after
    return before_live(lines)


def before_live(lines: Sequence[Line]) -> str:
    """The live snapshot that was replaced by the promotion of what is live now.

    What was put back is what it was when it was promoted, so that two rollbacks go back two promotions.

    Raises:
        UsageError: nothing was live before it.
    """
    before = promotion_of(lines, lines[-1].entry).before
    if not before:
        raise UsageError(
            f"nothing was live before {lines[-1].entry.after[:SHORT]}, which is live now",
            hint="promote another snapshot (./run invoke staged lists them), or name one: --to ID",
        )
    return before


def put_back(lines: Sequence[Line]) -> Iterator[tuple[str, str]]:
    """The live snapshots that a rollback may put back as things are, and what makes it so."""
    if not lines:
        return
    last = lines[-1].entry
    yield last.after, "live by the ledger"
    if last.before:
        yield last.before, "live before the last change"
    with contextlib.suppress(UsageError):  # there is none
        yield before_live(lines), "what a rollback puts back"


def promotion_of(lines: Sequence[Line], entry: Entry) -> Entry:
    """The promotion that what an entry made live goes back to: itself, or that of what it put back.

    Raises:
        UsageError: it is not in the ledger.
    """
    while entry.action is Action.ROLLBACK:
        earlier = [line.entry for line in lines[: entry.number - 1] if line.entry.after == entry.source]
        if not earlier:
            raise UsageError(
                f"the ledger does not say when {entry.source[:SHORT]} was promoted, so that nothing comes before it",
                hint="--to ID; ./run invoke history lists what was live",
            )
        entry = earlier[-1]
    return entry
