"""The snapshots of staging: their age, what is new in them, and whether they may go live: what `invoke staged` does."""

import datetime as dt
from collections.abc import Collection, Iterator

from common.errors import ArtifactError, UsageError
from common.snapshots import Part, Snapshot, Snapshots
from scripts.differences import Kept, differences
from scripts.promote import How, gate_of
from scripts.releases import Half
from scripts.verify import UNRECORDED

_SHOWN = 10  # changes by name; the rest is counted
_BETWEEN = ".."
STAGED, LIVE = "staged", "live"


def run(*, milestone: int, diff: str, out: str, storage: str) -> None:
    """Print the snapshots of both halves of a milestone, the newest first; or what differs between two of them.

    Args:
        milestone: whose.
        diff: `OLD..NEW`: the ids of two snapshots of staging or live, or their beginnings; without one it is what is
            live, or what is staged. "" for the list of all.
        out, storage: where the buckets are, as --out and --storage have it.

    Raises:
        ArtifactError: a snapshot is not what its id says, or a bucket shows none of them; the others are printed.
        UsageError: there are no such snapshots, or one is of the repository and the other one of the images.
    """
    halves = [Half.open(part, milestone, out=out, storage=storage) for part in Part]
    if diff:
        for line in between(halves, diff):
            print(line)
        return
    how, damaged = How(out=out, storage=storage), list[ArtifactError]()
    for half in halves:
        snapshots = half.staging.all(damaged.append)
        print(f"{half.staging.url}:" + ("" if snapshots else " nothing was recorded"))
        shown, live = _told(half, half.staging, damaged), half.sources(_told(half, half.live, damaged))
        gate = gate_of(half, how)
        for each, before in zip(snapshots, [*snapshots[1:], None], strict=False):
            marks = marks_of(each, shown, live)
            print(f"  {each.id} {age(each)} old" + (f" ({', '.join(marks)})" if marks else ""))
            for line in changes(half, each, before):
                print(f"    {line}")
            why = gate.why_not(half, each)
            print("    may go live" if not why else "    may not go live:")
            for sentence in why:
                print(f"      {sentence}")
    if damaged:
        raise damaged[0]


def _told(half: Half, store: Snapshots, damaged: list[ArtifactError]) -> Snapshot | None:
    """The snapshot that a bucket shows. Where it shows something else, that is said, and the rest is all the same."""
    try:
        return _shown(half, store)
    except ArtifactError as err:
        print(f"  {err.what}")
        damaged.append(err)
        return None


def marks_of(snapshot: Snapshot, shown: Snapshot | None, live: Collection[str]) -> list[str]:
    """What a snapshot is now: staged, live, or both; `live` has the ids of what is live, and of what it came from."""
    found = {STAGED: shown is not None and shown.id == snapshot.id, LIVE: snapshot.id in live}
    return [mark for mark, is_one in found.items() if is_one]


def age(snapshot: Snapshot) -> str:
    """How long ago it was published: `3 d`, `5 h`, `12 min`."""
    minutes = max(0, int((dt.datetime.now(dt.UTC) - snapshot.created).total_seconds() // 60))
    days, hours = minutes // (24 * 60), minutes // 60
    return f"{days} d" if days else f"{hours} h" if hours else f"{minutes} min"


def changes(half: Half, snapshot: Snapshot, before: Snapshot | None) -> Iterator[str]:
    """What is in a snapshot of staging that was not in the one before, for people."""
    if before is None:
        yield f"the oldest one here: {len(snapshot.objects)} objects"
        return
    found = differences(Kept(half.staging, before), Kept(half.staging, snapshot))
    listed = [line for each in found for line in each.lines()]
    yield from listed[:_SHOWN]
    if len(listed) > _SHOWN:
        yield f"and {len(listed) - _SHOWN} more"
    if not listed:
        yield "the same packages"


def between(halves: list[Half], diff: str) -> Iterator[str]:
    """What differs between two snapshots, for people."""
    old, separator, new = diff.partition(_BETWEEN)
    if not separator:
        raise UsageError(f"--diff {diff!r} does not name two snapshots", hint="--diff OLD..NEW; .. is live..staged")
    named = [_named(halves, word) for word in (old, new)]
    if len({kept.snapshot.part for kept in named if kept}) > 1:
        raise UsageError(f"--diff {diff!r} names a repository and images", hint="name two of the same half")
    for half in halves:
        if any(kept and kept.snapshot.part is not half.part for kept in named):
            continue
        before, after = named[0] or _kept(half, half.live), named[1] or _kept(half, half.staging)
        yield f"{before or f'{half.live.url}: nothing live'} .. {after or f'{half.staging.url}: nothing staged'}"
        if before and after:
            found = [line for each in differences(before, after) for line in each.lines()]
            yield from (f"  {line}" for line in found or ["the same packages"])


def _named(halves: list[Half], word: str) -> Kept | None:
    """The one snapshot of a milestone whose id begins so; None for no word."""
    if not word:
        return None
    stores = [store for half in halves for store in (half.staging, half.live)]
    found = [Kept(store, store.find(each)) for store in stores for each in store.ids() if each.startswith(word)]
    if len(word) < 4 or len(found) != 1:
        raise UsageError(
            f"{len(found) or 'no'} snapshots begin with {word!r}",
            hint="four digits at least; ./run invoke staged and ./run invoke history list them",
        )
    return found[0]


def _kept(half: Half, store: Snapshots) -> Kept | None:
    snapshot = _shown(half, store)
    return Kept(store, snapshot) if snapshot else None


def _shown(half: Half, store: Snapshots) -> Snapshot | None:
    """The snapshot that a bucket shows; None where nothing is published. ArtifactError: that is none of them."""
    found = half.shown(store)
    if found is None and half.state(store.bucket):
        raise ArtifactError(
            UNRECORDED.format(store.url), hint=f"./run invoke verify --milestone {half.milestone} says more"
        )
    return found
