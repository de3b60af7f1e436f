"""Makes a snapshot of staging live, where its tests allow that: what `invoke promote-apt` and the like do."""

import datetime as dt
import getpass
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from common.aptpublish import Target
from common.aptrelease import Release, codenames_of, stale
from common.branches import active_branches
from common.errors import ConflictError, GateError, ReleaseError, UsageError
from common.ledger import Action, Entry
from common.milestones import object_name
from common.publication import Item
from common.signing import Signer
from common.snapshots import Origin, Part, Snapshot, Snapshots
from common.tast_suites import load
from kokoro.attest import now
from lxd import release as images
from lxd.state import recorded
from scripts.keys import attestation_signer, own_keys
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

    def __post_init__(self) -> None:
        """UsageError: a text for the ledger is not one line of text."""
        for flag, text in (("who", self.who), ("reason", self.reason)):
            if not text.isprintable():
                raise UsageError(f"--{flag} {text!r} is not one line of text", hint="the ledger has a line for each")

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
            hint="publish to staging first (./run invoke continuous); ./run invoke staged lists what there is",
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
    if by := half.rolled_back(chosen):
        yield f"{chosen.short} stays in staging: it was live, and {by} put an earlier one back"
        return
    yield from promote(half, chosen, [], how)


def gate_of(half: Half, how: How) -> Gate:
    """What decides about a half."""
    container = half if half.part is Part.CONTAINER else Half.open(
        Part.CONTAINER, half.milestone, out=how.out, storage=how.storage
    )  # fmt: skip
    return Gate(tuple(load().values()), container.staging, own_keys(how.keys, how.out, how.storage))


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
    live = half.known_live()
    known = live is not None and bool(lines) and live.id == lines[-1].entry.after
    if known and chosen.id in (lines[-1].entry.source, *half.sources(live)):
        yield f"{chosen.short} is live already"
        return
    entry = Entry(action=Action.PROMOTE, who=how.name(), source=chosen.id, why=how.reason, forced="; ".join(why))
    yield from make_live(half, half.staging, chosen, entry, how)


def make_live(half: Half, source: Snapshots, chosen: Snapshot, entry: Entry, how: How) -> Iterator[str]:
    """Publish a snapshot to the live bucket, record that as a snapshot there, and write the ledger."""
    old = stale(source, chosen, half.live.bucket) if half.part is Part.APT else {}
    if how.plan:
        yield from _plan(half, source, chosen, old)
        return
    publisher = f"{entry.action} by {entry.who}"
    with attestation_signer(how.keys, how.out, how.storage) as signer:
        if half.part is Part.APT:
            signed = signed_anew(source, chosen, old, how.keys, how.out, how.storage) if old else {}
            release = Release(source, chosen, Target(half.live.bucket, half.milestone), signed)
            for codename, done in release.run(publisher=publisher, now=dt.datetime.now(dt.UTC)).items():
                yield f"{codename}: {done}" + (", signed anew" if codename in signed else "")
            ours = release.pointers()
        else:
            uploads, ours = images.make_live(source, chosen, half.live.bucket, publisher=publisher)
            yield str(uploads)
        after = record(half, chosen, signer, publisher, ours)
        written = half.ledger.append(
            replace(entry, after=after.id), signer, now=dt.datetime.now(dt.UTC), check=lambda: still(half, ours)
        )
    yield f"{half.live.url} shows {chosen.short} as {after.short} (ledger line {written.number})"


def still(half: Half, ours: Mapping[str, str]) -> None:
    """See that what we have made live still is: what is recorded is true, and in the order in which it was done.

    Args:
        half: of what.
        ours: the SHA-256 of each pointer as we left it, by path.

    Raises:
        ConflictError: somebody else was faster.
    """
    names = {object_name(half.milestone, path): sha256 for path, sha256 in ours.items()}
    there = half.live.bucket.stats(list(names))
    for name, sha256 in names.items():
        stat = there.get(name)
        if stat is None or stat.sha256 != sha256:
            who = stat.publisher if stat else "somebody"
            raise ConflictError(
                f"{half.live.bucket.url}/{name} was changed by {who!r} before it was recorded that we had changed it",
                hint="theirs is live, and ours is not in the ledger: see ./run invoke history, and decide again",
            )


def record(half: Half, chosen: Snapshot, signer: Signer, publisher: str, ours: Mapping[str, str]) -> Snapshot:
    """Leave a snapshot of what we have made live; one from before where that is the same."""
    half.live.publish_keyring(signer, publisher=publisher)
    state = half.state(half.live.bucket)
    still(half, ours)
    if state is None:
        raise ConflictError(f"{half.live.url} shows nothing any more", hint="somebody removes what we publish")
    if found := recorded(half.live, half.live.all(), state):
        half.live.add(found, signer, publisher=publisher)
        return found
    made = Snapshot(
        part=half.part, milestone=half.milestone, bucket=half.live.bucket.url, created=now(), state=state,
        origin=Origin(job=publisher, branch=chosen.origin.branch, commit=chosen.origin.commit, keys=chosen.origin.keys,
                      inputs=chosen.origin.inputs, tools=chosen.origin.tools, source=chosen.id),
    )  # fmt: skip
    half.live.add(made, signer, publisher=publisher)
    return made


def _plan(half: Half, source: Snapshots, chosen: Snapshot, old: Iterable[str]) -> Iterator[str]:
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
