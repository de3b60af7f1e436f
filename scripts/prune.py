"""Deletes the snapshots that nobody needs any more, and what was kept for them: what `invoke prune` does."""

import contextlib
import datetime as dt
import getpass
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common.aptpublish import KEPT, is_by_hash
from common.errors import ArtifactError, ConflictError, UsageError
from common.ledger import Line
from common.milestones import object_name
from common.publication import Item, publish, seen
from common.retention import Rules
from common.snapshots import Part, Snapshot, Snapshots
from common.sweep import GRACE, Sweep, Swept
from lxd.pins import Version, protected, version_of
from lxd.simplestreams import IMAGES, INDEX, Images
from lxd.state import recorded
from scripts.releases import Half
from scripts.rollback import promotion_of, put_back
from scripts.staged import age

_UNITS = {"d": "days", "h": "hours", "m": "minutes"}
_BELOW = {Part.APT: ("dists/", "pool/", "snapshots/"), Part.CONTAINER: ("images/", "snapshots/")}
_STATEMENT = re.compile(r"snapshots/[0-9a-f]{64}\.json")
_RECORD = re.compile(r"snapshots/(objects/[0-9a-f]{64}|[0-9a-f]{64}(\.json(\.sig)?|/.+))")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What was done to one bucket, or would be.

    Attributes:
        kept: the snapshots that stay, each with the reasons.
        gone: those that go.
        pinned: versions of images that stay because somebody pins them, and who.
        removed: versions of images taken out of the index.
        swept: the objects that went, and that are going to.
    """

    kept: Sequence[tuple[Snapshot, Sequence[str]]]
    gone: Sequence[Snapshot]
    pinned: Mapping[Version, str]
    removed: Sequence[Version]
    swept: Swept


def run(
    *, milestone: int, keep: int, older_than: str, tast: str, who: str, plan: bool, out: str, storage: str
) -> None:  # fmt: skip
    """Prune the buckets of a milestone, and print what went and what stays.

    Args:
        milestone: whose.
        keep, older_than: see common/retention.py; the age as parse_age has it.
        tast: a folder with Tast data files, or "".
        who: by whom, for the message of whoever comes second; the user's name without it.
        plan: change nothing, and name every object.
        out, storage: where the buckets are, as --out and --storage have it.

    Raises:
        UsageError: an argument makes no sense.
        ConflictError: somebody else changes a bucket meanwhile; nothing that is needed has gone.
        ArtifactError: what says who needs what cannot be read; nothing has gone.
    """
    rules = Rules(keep=keep, older_than=parse_age(older_than))
    publisher = f"prune by {who or getpass.getuser()}"
    now = dt.datetime.now(dt.UTC)
    outcomes = []
    for part in Part:
        half = Half.open(part, milestone, out=out, storage=storage)
        for snapshots in (half.staging, half.live):
            pruning = Pruning(half, snapshots, rules, tast=Path(tast) if tast else None, now=now, publisher=publisher)
            outcomes.append(pruning.run(plan=plan))
            for line in lines(snapshots, outcomes[-1], plan=plan):
                print(line)
    for line in summary(outcomes, plan=plan):
        print(line)


def parse_age(text: str) -> dt.timedelta:
    """Read `14d`, `12h` or `30m`. UsageError: it is none of these."""
    match = re.fullmatch(r"(\d{1,5})([dhm])", text)
    if match is None:
        raise UsageError(f"--older-than {text!r} is no age", hint="14d, 12h or 30m")
    return dt.timedelta(**{_UNITS[match[2]]: int(match[1])})


class Pruning:
    """One run, on one bucket of a half.

    Args:
        half: of which release.
        snapshots: of staging, or live.
        rules: what stays whoever needs it.
        tast: a folder with Tast data files, or None.
        now: the time.
        publisher: who prunes.
    """

    def __init__(
        self, half: Half, snapshots: Snapshots, rules: Rules, *, tast: Path | None, now: dt.datetime, publisher: str
    ) -> None:
        self.half, self.snapshots, self.rules, self.now, self.publisher = half, snapshots, rules, now, publisher
        self.bucket, self.start = snapshots.bucket, object_name(snapshots.milestone, "")
        self.below = [f"{self.start}{folder}" for folder in _BELOW[half.part]]
        self.pinned = protected(self.bucket, half.milestone, tast=tast) if half.part is Part.CONTAINER else {}

    def run(self, *, plan: bool) -> Outcome:
        """Prune. Errors: see `run` above."""
        looked = self._pointers()
        state = self.half.state(self.bucket)
        found = self.snapshots.all(_refuse)
        there = {name for prefix in self.below for name in self.bucket.names(prefix)}
        needed_by = {each.id: self.snapshots.needed_by(each) for each in found}
        why = self.rules.reasons(found, whole=[each.id for each in found if _is_whole(needed_by[each.id], there)],
                                 now=self.now)  # fmt: skip
        shown = recorded(self.snapshots, found, state) if state else None
        ledger = self.half.ledger.lines()
        for snapshot, reason in self._needed(found, shown, ledger):
            if snapshot in why:
                why[snapshot].append(reason)
        kept = [(each, why[each.id]) for each in found if why[each.id]]
        needed = {name for each, _why in kept for name in needed_by[each.id]}
        needed |= {self._name(path) for path in (state.objects if state else ())}
        removed: list[Version] = []
        if self.half.part is Part.CONTAINER and state:
            # What is being published or was interrupted keeps its index: whose that is has to be seen in it.
            settled = shown and (self.snapshots is self.half.staging or (ledger and ledger[-1].entry.after == shown.id))
            removed, index = self._index([each for each, _why in kept], settled=bool(settled))
            needed |= {self._name(item.path) for each in index.products.values() for items in each.versions.values()
                       for item in items.values()}  # fmt: skip
            needed |= {name for name in there if version_of(name.removeprefix(self.start)) in self.pinned}
            if removed and not plan:
                looked = self._publish(index, looked)
        sweep = Sweep(
            below=self.below, ours=self._ours, needed=needed, first=self._is_statement,
            grace=lambda name: KEPT if is_by_hash(name) else GRACE, publisher=self.publisher,
        )  # fmt: skip
        swept = sweep.run(
            self.bucket, self.half.milestone, now=self.now, still=lambda: self._still(looked), plan=plan
        )  # fmt: skip
        return Outcome(
            kept=kept, gone=[each for each in found if not why[each.id]], pinned=self.pinned, removed=removed,
            swept=swept,
        )  # fmt: skip

    def _needed(
        self, found: Sequence[Snapshot], shown: Snapshot | None, ledger: Sequence[Line]
    ) -> Iterator[tuple[str, str]]:
        """The ids of the snapshots that clients or a rollback need, and why."""
        here = self.snapshots is self.half.live
        if shown:
            yield shown.id, "live now" if here else "staged now"
        entries = [line.entry for line in ledger]
        for after, reason in put_back(ledger):
            if here and (not shown or after != shown.id):
                yield after, reason
            if not here:
                entry = next((each for each in reversed(entries) if each.after == after), None)
                with contextlib.suppress(UsageError):  # nobody knows what it came from
                    if entry:
                        yield promotion_of(ledger, entry).source, f"{reason} in {self.half.live.bucket.url}"
        if not here:
            yield from self._interrupted(found, entries[-1].after if entries else "")

    def _interrupted(self, found: Sequence[Snapshot], last: str) -> Iterator[tuple[str, str]]:
        """What live shows by a promotion that was killed before it wrote the ledger."""
        live = self.half.shown_live()
        if (live and live.id == last) or (state := self.half.state(self.half.live.bucket)) is None:
            return
        fixed = {path: each for path, each in state.objects.items() if path not in state.replaced}
        for each in found:
            if fixed.items() <= each.objects.items():
                yield each.id, f"shown in {self.half.live.bucket.url}"

    def _index(self, kept: Sequence[Snapshot], *, settled: bool) -> tuple[list[Version], Images]:
        """The versions that leave the index of images, and the index without them."""
        name = self._name(IMAGES)
        index = Images.read(seen(self.bucket, name)[0], f"{self.bucket.url}/{name}")
        if not settled:
            return [], index
        stay = {version_of(path) for each in kept for path in each.objects} | self.pinned.keys()
        stay |= {Version(each, newest[0]) for each, product in index.products.items() if (newest := product.newest())}
        removed = [
            version
            for each, product in sorted(index.products.items())
            for serial in sorted(product.versions)
            if (version := Version(each, serial)) not in stay
        ]
        gone: dict[str, list[str]] = {}
        for version in removed:
            gone.setdefault(version.product, []).append(version.serial)
        return removed, index.without_versions(gone)

    def _publish(self, index: Images, looked: Mapping[str, int]) -> Mapping[str, int]:
        """Show an index with fewer versions, on top of what was looked at; returns the pointers as they are then."""
        name = self._name(IMAGES)
        publish(
            self.bucket, immutable=(), mutable=[Item(self._name(INDEX), index.index())],
            pointer=Item(name, index.write()), if_generation=looked[name], publisher=self.publisher,
            milestone=self.half.milestone,
        )  # fmt: skip
        content, generation = seen(self.bucket, name)
        if content != index.write():
            self._still({name: 0})
        return {name: generation}

    def _pointers(self) -> Mapping[str, int]:
        """The generation of each object that clients begin with."""
        if self.half.part is Part.CONTAINER:
            names = [self._name(IMAGES)]
        else:
            names = [name for name in self.bucket.names(self._name("dists/")) if name.endswith("/InRelease")]
        return {name: stat.generation for name, stat in self.bucket.stats(names).items()}

    def _still(self, looked: Mapping[str, int]) -> None:
        """ConflictError: clients are shown something else than was looked at."""
        now = self._pointers()
        for name in sorted(now.keys() | looked.keys()):
            if now.get(name) != looked.get(name):
                have = self.bucket.stat(name)
                who = (have and have.publisher) or "somebody else"
                raise ConflictError(
                    f"{self.bucket.url}/{name} was changed by {who!r} while we pruned",
                    hint="nothing that is needed has gone; run the same command again",
                )

    def _ours(self, name: str) -> bool:
        path = name.removeprefix(self.start)
        folder = path.partition("/")[0]
        if folder == "snapshots":
            return _RECORD.fullmatch(path) is not None
        if folder == "images":
            return version_of(path) is not None
        return folder == "pool" or is_by_hash(name)

    def _is_statement(self, name: str) -> bool:
        return _STATEMENT.fullmatch(name.removeprefix(self.start)) is not None

    def _name(self, path: str) -> str:
        return f"{self.start}{path}"


def _refuse(err: ArtifactError) -> None:
    """What a damaged snapshot needs nobody knows, so that nothing may go."""
    raise err


def _is_whole(needed: set[str], there: set[str]) -> bool:
    return all(name in there or name.endswith(".vcdiff") for name in needed)


def lines(snapshots: Snapshots, outcome: Outcome, *, plan: bool) -> Iterator[str]:
    """What was done to a bucket, for people."""
    yield f"{snapshots.url}:"
    would, start = ("would be ", object_name(snapshots.milestone, "")) if plan else ("", "")
    for snapshot, why in outcome.kept:
        yield f"  {snapshot.short}, {age(snapshot)} old, stays: {'; '.join(why)}"
    for version, who in outcome.pinned.items():
        yield f"  {version} stays: {who}"
    for snapshot in outcome.gone:
        yield f"  {snapshot.short}, {age(snapshot)} old, goes"
    for version in outcome.removed:
        yield f"  {version}: {would}taken out of {IMAGES}"
    deleted, waiting = outcome.swept.deleted, outcome.swept.waiting
    if plan:
        for name, size in deleted.items():
            yield f"  would delete {name.removeprefix(start)} ({size} bytes)"
        for name, (size, due) in waiting.items():
            yield f"  would delete {name.removeprefix(start)} ({size} bytes) from {_minute(due)} on"
    if not (outcome.kept or deleted or waiting):
        yield "  nothing was recorded"


def summary(outcomes: Sequence[Outcome], *, plan: bool) -> Iterator[str]:
    """All buckets together, for people."""
    deleted = [size for outcome in outcomes for size in outcome.swept.deleted.values()]
    waiting = [each for outcome in outcomes for each in outcome.swept.waiting.values()]
    kept = [why for outcome in outcomes for _snapshot, why in outcome.kept]
    gone = sum(len(outcome.gone) for outcome in outcomes)
    reasons = Counter(reason.partition(" in gs://")[0] for why in kept for reason in why)
    because = f" ({', '.join(f'{count} {reason}' for reason, count in reasons.most_common())})" if kept else ""
    yield f"{len(kept)} snapshots stay{because}; {gone} go"
    yield f"{len(deleted)} objects {'would be deleted now' if plan else 'deleted'}, {_megabytes(sum(deleted))} freed"
    if waiting:
        yield (
            f"{len(waiting)} objects ({_megabytes(sum(size for size, _due in waiting))}) wait until clients have "
            f"forgotten them, the first until {_minute(min(due for _size, due in waiting))}: run this again"
        )


def _minute(when: dt.datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M} UTC"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB"
