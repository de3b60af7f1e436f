"""The ledgers of a milestone, read and checked: what `invoke history` does."""

from collections.abc import Iterator

from common.errors import ArtifactError, SigningError
from common.ledger import LEDGER, Entry, check_signatures
from common.snapshots import SHORT, Part, Snapshot
from scripts.releases import Half


def run(*, milestone: int, out: str, storage: str) -> None:
    """Print who made what live, and check that nobody has changed a line since.

    Args:
        milestone: whose.
        out, storage: where the buckets are, as --out and --storage have it.

    Raises:
        ArtifactError: a line was changed, lost, or is signed by nobody who is known.
    """
    wrong: list[str] = []
    for part in Part:
        half = Half.open(part, milestone, out=out, storage=storage)
        try:
            wrong += _printed(half)
        except (ArtifactError, SigningError) as err:  # the other half's is printed all the same
            wrong.append(err.what)
    if wrong:
        raise ArtifactError(
            "a ledger does not say what happened", details="\n".join(wrong),
            hint=f"./run invoke verify --live --milestone {milestone}",
        )  # fmt: skip


def _printed(half: Half) -> list[str]:
    """Print the lines of one half; what is wrong with them."""
    lines = half.ledger.lines()
    print(f"{half.live.url}:" + ("" if lines else " nothing was ever made live"))
    for line in lines:
        print(f"  {described(line.entry)}")
    if not lines:
        return []
    wrong = check_signatures(lines, half.live.keyring(), f"{half.live.url}/{LEDGER}")
    return [*wrong, *end_of(half, half.shown_live(), lines[-1].entry)]


def described(entry: Entry) -> str:
    """A line as a person reads it."""
    said = f"{entry.number}. {entry.when} {entry.who}: {entry.action} {entry.source[:SHORT]} as {entry.after[:SHORT]}"
    if entry.before:
        said += f" instead of {entry.before[:SHORT]}"
    if entry.why:
        said += f", because {entry.why!r}"
    return said + (f"; FORCED though {entry.forced}" if entry.forced else "")


def end_of(half: Half, shown: Snapshot | None, last: Entry) -> Iterator[str]:
    """What is wrong with the last line: it has to be what is live; a ledger that lost its end is found by that."""
    if shown is None or shown.id != last.after:
        yield (
            f"{half.live.url} shows {shown.short if shown else 'nothing that was recorded'}, but the ledger ends with "
            f"{last.after[:SHORT]}: a promotion was interrupted (run it again), or somebody changed the bucket"
        )
