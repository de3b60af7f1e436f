"""What is staged, tested and live of one half of a milestone, and who did that; damage is named, and no error."""

import datetime as dt
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from common.documents import verify_document
from common.errors import ArtifactError, ConflictError, ReleaseError, SigningError, UsageError
from common.ledger import LEDGER, Entry, Line, check_signatures
from common.snapshot_store import Signed
from common.snapshots import Part, Snapshot, Snapshots
from lxd.bootchecks import BootChecks
from lxd.state import recorded
from scripts.differences import Difference, Kept, differences
from scripts.gate import read_evidence
from scripts.history import end_of
from scripts.releases import Gate, Half
from scripts.staged import STAGED, age, marks_of
from scripts.verify import UNRECORDED

T = TypeVar("T")
_SHOWN = 5  # of the newest snapshots the tests are looked at; each costs some calls of gpg
# A bucket that does not answer is none of these: then nothing can be said at all.
_DAMAGE = (ArtifactError, SigningError, ConflictError, UsageError)


@dataclass(frozen=True, kw_only=True)
class Said:
    """What one document of evidence says: which suite, when and where it was run, and why it is not green."""

    name: str
    when: str = ""
    where: str = ""
    why: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One snapshot.

    Attributes:
        id, created, age, job, commit: as they are.
        marks: `staged`, `live`.
        tests: what its evidence says.
        why_not: why it may not go live; nothing where it may.
        changes: what is not as in the one before.
        damage: what of it cannot be read.
    """

    id: str
    created: str
    age: str
    job: str
    commit: str = ""
    marks: tuple[str, ...] = ()
    tests: tuple[Said, ...] = ()
    why_not: tuple[str, ...] = ()
    changes: tuple[Difference, ...] = ()
    damage: tuple[str, ...] = ()

    @property
    def staged(self) -> bool:
        """Whether it is what staging shows."""
        return STAGED in self.marks


@dataclass(frozen=True, kw_only=True)
class Overview:
    """One half of a milestone.

    Attributes:
        part, milestone: which.
        staging, live_url: the gs:// URLs.
        staged: the newest snapshots of staging, the newest first, and how many `older` ones there are.
        live: what is live.
        ledger: what was done, the newest first.
        news: what is staged and not live.
        damage: what cannot be read, a sentence each.
    """

    part: Part
    milestone: int
    staging: str
    live_url: str
    staged: tuple[Row, ...] = ()
    older: int = 0
    live: Row | None = None
    ledger: tuple[Entry, ...] = ()
    news: tuple[Difference, ...] = ()
    damage: tuple[str, ...] = ()

    @property
    def damaged(self) -> bool:
        """Whether something of it cannot be read."""
        return bool(self.damage or (self.live and self.live.damage) or any(row.damage for row in self.staged))


@dataclass
class _Damage:
    """What could not be read so far."""

    found: list[str] = field(default_factory=list)

    def tried(self, look: Callable[[], T], otherwise: T) -> T:
        """What `look` gives; where that is damaged, note it and go on with something else."""
        try:
            return look()
        except _DAMAGE as err:
            self.note(err)
            return otherwise

    def note(self, err: ReleaseError) -> None:
        self.found.append(" ".join(filter(None, (err.what, err.details))))


def overview(half: Half, gate: Gate) -> Overview:
    """Look at one half.

    Raises:
        NetworkError, ConfigError: a bucket cannot be asked.
    """
    damage = _Damage()
    staging, live = half.staging.all(damage.note), half.live.all(damage.note)
    shown = _shown(half, half.staging, staging, damage)
    shown_live = _shown(half, half.live, live, damage)
    sources: list[str] = damage.tried(lambda: half.sources(shown_live), [])
    rows = [
        _staged(half, gate, each, before, marks_of(each, shown, sources))
        for each, before in zip(staging[:_SHOWN], [*staging[1:], None], strict=False)
    ]
    news: list[Difference] = []
    if shown and shown_live:
        old, new = Kept(half.live, shown_live), Kept(half.staging, shown)
        news = damage.tried(lambda: differences(old, new), [])
    return Overview(
        part=half.part, milestone=half.milestone, staging=half.staging.url, live_url=half.live.url,
        staged=tuple(rows), older=max(0, len(staging) - _SHOWN), live=_live(half, shown_live),
        ledger=tuple(_ledger(half, shown_live, damage)), news=tuple(news), damage=tuple(damage.found),
    )  # fmt: skip


def _shown(half: Half, store: Snapshots, found: Sequence[Snapshot], damage: _Damage) -> Snapshot | None:
    """The snapshot that clients are shown; it is damage where that is none of those that were recorded."""
    state = damage.tried(lambda: half.state(store.bucket), None)
    shown = damage.tried(lambda: recorded(store, found, state), None) if state else None
    if state and shown is None:
        damage.found.append(UNRECORDED.format(store.url))
    return shown


def _row(snapshot: Snapshot, **more: object) -> Row:
    return Row(
        id=snapshot.id, created=_time(snapshot.created), age=age(snapshot), job=snapshot.origin.job,
        commit=snapshot.origin.commit, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def _staged(half: Half, gate: Gate, snapshot: Snapshot, before: Snapshot | None, marks: list[str]) -> Row:
    damage = _Damage()
    damage.tried(lambda: _verify(half.staging, snapshot), None)
    why_not = damage.tried(lambda: gate.why_not(half, snapshot), ["that cannot be said"])
    changes: list[Difference] = []
    if before:
        old, new = Kept(half.staging, before), Kept(half.staging, snapshot)
        changes = damage.tried(lambda: differences(old, new), [])
    return _row(
        snapshot, marks=tuple(marks), tests=tuple(_tests(half.staging, snapshot, damage)),
        why_not=tuple(why_not), changes=tuple(changes), damage=tuple(damage.found),
    )  # fmt: skip


def _live(half: Half, snapshot: Snapshot | None) -> Row | None:
    if snapshot is None:
        return None
    damage = _Damage()
    damage.tried(lambda: _verify(half.live, snapshot), None)
    return _row(snapshot, damage=tuple(damage.found))


def _verify(store: Snapshots, snapshot: Snapshot) -> None:
    content, signature = snapshot.write(), store.signature(snapshot.id)
    verify_document(content, signature, store.keyring(), where=f"{snapshot.id}.json")


def _tests(store: Snapshots, snapshot: Snapshot, damage: _Damage) -> Iterator[Said]:
    """What each document beside a snapshot says; the others still where one is damaged."""
    keyring = damage.tried(store.keyring, b"")
    nothing: dict[str, Signed] = {}
    documents = damage.tried(lambda: store.evidence(snapshot.id), nothing)
    for url, signed in documents.items():
        test = damage.tried(lambda url=url, signed=signed: _test(url, signed, snapshot, keyring), None)  # type: ignore[misc]
        if test is not None:
            yield test


def _test(url: str, signed: Signed, snapshot: Snapshot, keyring: bytes) -> Said:
    said = read_evidence(url, signed, snapshot.id, keyring)
    if isinstance(said, BootChecks):
        return Said(name=said.name, where=f"{len(said.images)} images", why=tuple(said.why_not()))
    return Said(name=said.suite, when=_time(said.recorded), where=said.host, why=said.why)


def _ledger(half: Half, live: Snapshot | None, damage: _Damage) -> list[Entry]:
    lines: list[Line] = damage.tried(half.ledger.lines, [])
    if not lines:
        return []
    where = f"{half.live.url}/{LEDGER}"
    damage.found += damage.tried(lambda: check_signatures(lines, half.live.keyring(), where), [])
    damage.found += end_of(half, live, lines[-1].entry)
    return [line.entry for line in reversed(lines)]


def _time(when: dt.datetime) -> str:
    return f"{when.astimezone(dt.UTC):%Y-%m-%d %H:%M} UTC"
