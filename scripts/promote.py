"""Makes a snapshot of staging live, where its tests allow that: what `invoke promote-apt` and the like do."""

import datetime as dt
import getpass
from collections.abc import Iterator
from dataclasses import dataclass

from common.aptpublish import Target
from common.aptrelease import Release, codenames_of, stale
from common.branches import active_branches
from common.errors import GateError, ReleaseError, UsageError
from common.ledger import Action, Entry
from common.publication import Item
from common.signing import Signer
from common.snapshots import Origin, Part, Snapshot, Snapshots
from common.tast_suites import load
from kokoro.attest import now
from lxd import release as images
from scripts.keys import attestation_signer
from scripts.releases import Gate, Half
from scripts.resign import signed_anew


@dataclass(frozen=True, kw_only=True)
class How:
    """What somebody at a desk asked for besides.

    Attributes:
        plan: show every change, and make none.
        force: go round a red gate; then `reason` and `who` have to say why and by whom.
        reason: for the ledger.
        who: for the ledger; the user's name without it.
        keys: a directory with key files as the keystore has them; "" at a desk.
        out, storage: where the buckets are, as --out and --storage have it.
    """

    plan: bool = False
    force: bool = False
    reason: str = ""
    who: str = ""
    keys: str = ""
    out: str = ""
    storage: str = "directory"

    def name(self) -> str:
        """By whom."""
        return self.who or getpass.getuser()


def run(part: Part, *, milestone: int, snapshot: str, how: How) -> None:
    """Promote one half of a milestone.

    Args:
        part: which.
        milestone: whose.
        snapshot: the id of a snapshot of staging, or its beginning; "" for what staging shows now.
        how: see How.

    Raises:
        GateError: its tests are missing or not green.
        UsageError: an argument makes no sense, or there is no such snapshot.
        ConflictError, ArtifactError, SigningError, NetworkError: nothing half done is live; run it again.
    """
    if how.force and not (how.reason and how.who):
        raise UsageError("--force goes round a gate, which the ledger has to explain", hint="--reason TEXT --who NAME")
    half = Half.open(part, milestone, out=how.out, storage=how.storage)
    chosen = half.staging.find(snapshot) if snapshot else half.staged()
    if chosen is None:
        raise UsageError(
            f"{half.staging.url} shows nothing that was recorded",
            hint="publish to staging first: ./run invoke continuous; ./run invoke staged lists what there is",
        )
    why = gate_of(half, how).why_not(half, chosen)
    for line in promote(half, chosen, why, how):
        print(line)


def auto(*, how: How) -> None:
    """Promote every half of every active milestone whose tests are green and that is not live yet.

    Raises:
        ReleaseError: one could not be promoted, the first of them; the others were.
    """
    failed: list[ReleaseError] = []
    for branch in active_branches():
        for part in Part:
            half = Half.open(part, branch.milestone, out=how.out, storage=how.storage)
            try:
                for line in _auto(half, how):
                    print(f"{branch.milestone} {part}: {line}")
            except ReleaseError as err:
                print(f"{branch.milestone} {part}: {err}")
                failed.append(err)
    if failed:
        raise failed[0]


def _auto(half: Half, how: How) -> Iterator[str]:
    chosen = half.staged()
    if chosen is None:
        yield "nothing is staged"
        return
    if why := gate_of(half, how).why_not(half, chosen):
        yield f"{chosen.short} stays in staging: {why[0]}" + (f" (and {len(why) - 1} more)" if len(why) > 1 else "")
        return
    yield from promote(half, chosen, [], how)


def gate_of(half: Half, how: How) -> Gate:
    """What decides about a half."""
    container = half if half.part is Part.CONTAINER else Half.open(
        Part.CONTAINER, half.milestone, out=how.out, storage=how.storage
    )  # fmt: skip
    return Gate(tuple(load().values()), container.staging)


def promote(half: Half, chosen: Snapshot, why: list[str], how: How) -> Iterator[str]:
    """Make a snapshot live; yields what happens, for people.

    Raises:
        GateError: there is a reason against it, and nobody forces it.
    """
    if why and not how.force:
        raise GateError(
            f"snapshot {chosen.short} of {half.staging.url} may not go live", details="\n".join(why),
            hint="make its tests green, or --force --reason TEXT --who NAME",
        )  # fmt: skip
    lines = half.ledger.lines()
    live = half.shown_live()
    if (
        live
        and lines
        and live.id == lines[-1].entry.after
        and chosen.id in (lines[-1].entry.source, live.origin.source)
    ):
        yield f"{chosen.short} is live already"
        return
    entry = Entry(
        action=Action.PROMOTE, who=how.name(), source=chosen.id, before=lines[-1].entry.after if lines else "",
        after="", why=how.reason, forced="; ".join(why),
    )  # fmt: skip
    yield from make_live(half, half.staging, chosen, entry, how)


def make_live(half: Half, source: Snapshots, chosen: Snapshot, entry: Entry, how: How) -> Iterator[str]:
    """Publish a snapshot to the live bucket, record that as a snapshot there, and write the ledger."""
    old = list(stale(source, chosen, half.live.bucket)) if half.part is Part.APT else []
    if how.plan:
        yield from _plan(half, source, chosen, old)
        return
    publisher = f"{entry.action} by {entry.who}"
    with attestation_signer(how.keys, how.out, how.storage) as signer:
        if half.part is Part.APT:
            signed = signed_anew(source, chosen, old, how.keys, how.out, how.storage) if old else {}
            target = Target(half.live.bucket, half.milestone)
            for codename, done in Release(source, chosen, target, signed).run(
                publisher=publisher, now=dt.datetime.now(dt.UTC)
            ).items():  # fmt: skip
                yield f"{codename}: {done}" + (", signed anew" if codename in signed else "")
        else:
            yield str(images.make_live(source, chosen, half.live.bucket, publisher=publisher))
        after = record(half, chosen, signer, publisher)
        written = half.ledger.append(
            Entry(action=entry.action, who=entry.who, source=entry.source, before=entry.before, after=after.id,
                  why=entry.why, forced=entry.forced),
            signer, now=dt.datetime.now(dt.UTC),
        )  # fmt: skip
    yield f"{half.live.url} shows {chosen.short} as {after.short} (ledger line {written.number})"


def record(half: Half, chosen: Snapshot, signer: Signer, publisher: str) -> Snapshot:
    """Leave a snapshot of what is live now."""
    half.live.publish_keyring(signer, publisher=publisher)
    if found := half.shown_live():
        return found
    state = half.state(half.live.bucket)
    if state is None:
        raise UsageError(f"{half.live.url} shows nothing", hint="run the same command again")
    made = Snapshot(
        part=half.part, milestone=half.milestone, bucket=half.live.bucket.url, created=now(), state=state,
        origin=Origin(job=publisher, branch=chosen.origin.branch, commit=chosen.origin.commit, keys=chosen.origin.keys,
                      inputs=chosen.origin.inputs, tools=chosen.origin.tools, source=chosen.id),
    )  # fmt: skip
    half.live.add(made, signer, publisher=publisher)
    return made


def _plan(half: Half, source: Snapshots, chosen: Snapshot, old: list[str]) -> Iterator[str]:
    """Every change that would be made."""
    items: list[Item] = []
    if half.part is Part.APT:
        release = Release(source, chosen, Target(half.live.bucket, half.milestone), {})
        for number, codename in enumerate(codenames_of(chosen)):
            immutable, mutable, pointer = release.items(codename, with_pool=number == 0)
            items += [*immutable, *mutable, pointer]
    else:
        immutable, mutable, pointer, _generation = images.items(source, chosen, half.live.bucket)
        items += [*immutable, *mutable, pointer]
    have = half.live.bucket.stats([item.name for item in items])
    changes = [item for item in items if not item.is_at(have.get(item.name))]
    for item in changes:
        yield f"would {'replace' if item.name in have else 'add'} {item.name} ({item.size} bytes)"
    for codename in old:
        yield f"would sign {codename} anew: clients have seen a newer Date"
    yield f"{len(changes)} of {len(items)} objects would change" if changes else "nothing would change"
