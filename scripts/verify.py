"""Everything that is recorded of a milestone, checked from signatures to bytes: what `invoke verify` does."""

import hashlib
from collections.abc import Iterator

from common.aptrelease import codenames_of
from common.aptrepo import KEYRING
from common.documents import verify_document
from common.errors import ArtifactError, ReleaseError, SigningError
from common.files import workspace
from common.ledger import LEDGER, check_signatures
from common.milestones import object_name
from common.parallel import in_parallel
from common.progress import step
from common.shown import Object, State
from common.signing import check_public_keys, verify
from common.snapshots import KEYRING as KEYS
from common.snapshots import Part, Snapshot, Snapshots
from lxd.state import recorded
from scripts.gate import evidence_of
from scripts.history import end_of
from scripts.releases import Half

UNRECORDED = "{} shows something that nobody has recorded: that was interrupted (run it again), or somebody changed it"


def run(*, milestone: int, live: bool, out: str, storage: str) -> None:
    """Check every snapshot, its objects, its evidence, and the ledger; print what was looked at.

    Args:
        milestone: whose.
        live: the live buckets; else staging.
        out, storage: where the buckets are, as --out and --storage have it.

    Raises:
        ArtifactError: naming everything that is wrong.
    """
    wrong: list[str] = []
    for part in Part:
        half = Half.open(part, milestone, out=out, storage=storage)
        snapshots = half.live if live else half.staging
        with step(f"Check {snapshots.url}"):
            wrong += list(check(half, snapshots))
    if wrong:
        raise ArtifactError(
            f"{len(wrong)} things are not what was recorded", details="\n".join(wrong),
            hint="do not promote from there; publish again, or restore the objects that are named",
        )  # fmt: skip


def check(half: Half, snapshots: Snapshots) -> Iterator[str]:
    """What is wrong in a bucket, a sentence for each thing."""
    if not snapshots.ids():
        print(f"{snapshots.url}: nothing was recorded")
        return
    try:
        keyring = snapshots.keyring()
        keys = check_public_keys(keyring, f"{snapshots.url}/{KEYS}")
    except ReleaseError as err:
        yield err.what
        return
    damaged: list[ArtifactError] = []
    found = snapshots.all(damaged.append)
    yield from (err.what for err in damaged)
    for snapshot in found:
        yield from _signature(snapshots, snapshot, keyring)
        yield from _evidence(snapshots, snapshot, keyring)
    state, shown = None, None
    objects, needed = _objects(snapshots, found)
    try:
        state = half.state(snapshots.bucket)
        shown = recorded(snapshots, found, state) if state else None
        if state is not None and shown is None:
            yield UNRECORDED.format(snapshots.url)
    except ReleaseError as err:
        yield ": ".join(filter(None, (err.what, err.details)))
    if state and shown:
        visible = _shown(snapshots, shown, state)
        objects |= visible
        needed |= visible.keys()
    yield from _contents(snapshots, objects, needed)
    if half.part is Part.APT:
        for snapshot in found:
            yield from _archive(snapshots, snapshot)
    if snapshots is half.live:
        yield from _ledger(half, shown, keyring)
    print(f"{snapshots.url}: {len(found)} snapshots, {len(objects)} objects; signed with {', '.join(keys)}")


def _signature(snapshots: Snapshots, snapshot: Snapshot, keyring: bytes) -> Iterator[str]:
    try:
        verify_document(snapshot.write(), snapshots.signature(snapshot.id), keyring, where=f"{snapshot.id}.json")
    except SigningError as err:
        yield err.what


def _evidence(snapshots: Snapshots, snapshot: Snapshot, keyring: bytes) -> Iterator[str]:
    try:
        evidence_of(snapshots, snapshot.id, keyring)
    except (SigningError, ArtifactError) as err:
        yield err.what


def _objects(snapshots: Snapshots, found: list[Snapshot]) -> tuple[dict[str, Object], set[str]]:
    """What was recorded, by name; and which of it has to be there: that without which a snapshot cannot be put back.

    By-hash copies of older snapshots go after two days.
    """
    objects: dict[str, Object] = {}
    needed: set[str] = set()
    for snapshot in found:
        replaced = set(snapshot.state.replaced)
        for path, each in snapshot.objects.items():
            name = snapshots.kept(each.sha256) if path in replaced else object_name(snapshots.milestone, path)
            objects[name] = each
        needed |= snapshots.needed_by(snapshot)
    return objects, needed


def _shown(snapshots: Snapshots, snapshot: Snapshot, state: State) -> dict[str, Object]:
    """What clients are shown; the index of images may have lost older versions since it was recorded."""
    return {
        object_name(snapshots.milestone, path): each if path in state.pointers else snapshot.objects.get(path, each)
        for path, each in state.objects.items()
    }


def _contents(snapshots: Snapshots, objects: dict[str, Object], needed: set[str]) -> Iterator[str]:
    def problem(name: str) -> str:
        try:
            held = snapshots.bucket.read(name)
        except ReleaseError as err:
            return err.what
        if held is None:
            return f"{snapshots.bucket.url}/{name} is missing" if name in needed else ""
        if hashlib.sha256(held.content).hexdigest() != objects[name].sha256:
            return f"{snapshots.bucket.url}/{name} has another content than was recorded"
        return ""

    yield from filter(None, in_parallel(problem, sorted(objects), threads=min(snapshots.bucket.threads, 4)))


def _archive(snapshots: Snapshots, snapshot: Snapshot) -> Iterator[str]:
    """Clients can verify each InRelease with the keyring that was published with it."""
    with workspace("verify") as place:
        try:
            keyring = place / KEYRING
            keyring.write_bytes(snapshots.read_kept(snapshot.objects[KEYRING].sha256).content)
            for codename in codenames_of(snapshot):
                path = place / "InRelease"
                digest = snapshot.objects[f"dists/{codename}/InRelease"].sha256
                path.write_bytes(snapshots.read_kept(digest).content)
                verify(path, keyring)
        except ReleaseError as err:
            yield f"{snapshot.short}: {err.what}"


def _ledger(half: Half, shown: Snapshot | None, keyring: bytes) -> Iterator[str]:
    try:
        lines = half.ledger.lines()
    except ArtifactError as err:
        yield err.what
        return
    yield from check_signatures(lines, keyring, f"{half.live.bucket.url}/{LEDGER}")
    yield from end_of(half, shown, lines[-1].entry) if lines else [f"{half.live.url} has no ledger"]
