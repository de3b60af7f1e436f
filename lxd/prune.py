"""Removes old versions of images: first from the index, and an hour after that the objects, as clients keep an index.

A version goes if it is older than the newest `keep` whole ones of its product, older than `min_age`, and nobody relies
on it. Objects that no index names, left by a publication that died, go the same way: what is found unreferenced is
noted down in the bucket with the time, and a later run deletes what is still unreferenced then. A run that is
interrupted leaves a right index, and notes or objects that the next one finds.
"""

import datetime as dt
import json
import logging
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from common.bucket import ABSENT, Bucket, Kind
from common.errors import ArtifactError, ConflictError, UsageError
from common.milestones import object_name
from common.publication import seen
from lxd.delta import FTYPE as DELTA
from lxd.pins import Version, version_of
from lxd.simplestreams import IMAGES, Images, Item, Product, time_of

log = logging.getLogger(__name__)

NOTES = "unreferenced.json"
_ATTEMPTS = 5
_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What may go.

    Attributes:
        keep: the newest whole versions of a product that stay whatever their age, at least 1.
        min_age: younger versions stay too.
        grace: between the removal from the index and that of the objects; clients keep an index for an hour.
        dangling: objects of a version younger than this that no index names may be of a publication under way.
    """

    keep: int = 3
    min_age: dt.timedelta = dt.timedelta(days=7)
    grace: dt.timedelta = dt.timedelta(hours=1)
    dangling: dt.timedelta = dt.timedelta(hours=6)

    def __post_init__(self) -> None:
        """UsageError: the last version of a product would go."""
        if self.keep < 1:
            raise UsageError(f"--keep {self.keep} would leave products without an image", hint="at least 1")


@dataclass(frozen=True)
class Note:
    """An object that no index names: since when that is known, its size in bytes, and whether it was pruned."""

    since: dt.datetime
    size: int
    pruned: bool


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run did, or would do.

    Attributes:
        removed: versions taken out of the index, with the bytes of their objects.
        spared: versions that only stay because somebody relies on them, and who.
        deleted: objects deleted, with their sizes.
        waiting: objects that a later run deletes, and from when on it may.
        unknown: objects below images/ that are no files of an image; nobody touches them.
    """

    removed: Mapping[Version, int]
    spared: Mapping[Version, str]
    deleted: Mapping[str, int]
    waiting: Mapping[str, tuple[int, dt.datetime]]
    unknown: tuple[str, ...]


def choose(
    name: str,
    product: Product,
    *,
    there: Collection[str],
    relied_on: Collection[Version],
    rules: Rules,
    now: dt.datetime,
) -> tuple[list[str], list[str]]:
    """The serials of a product that go, and those that would but for who relies on them.

    Args:
        name: the product's.
        product: with its versions.
        there: the paths of the objects that exist; a version that lost one is not whole and does not count.
        relied_on: see `lxd.pins.protected`.
        rules: what may go.
        now: the time ages are measured from.

    Raises:
        ArtifactError: a serial that is no time.
    """
    serials = sorted(product.versions, reverse=True)
    whole = [serial for serial in serials if _is_whole(product.versions[serial], there)]
    if len(whole) <= rules.keep:
        return [], []
    oldest_kept = whole[rules.keep - 1]
    old = [serial for serial in serials if serial < oldest_kept and now - time_of(serial) >= rules.min_age]
    spared = [serial for serial in old if Version(name, serial) in relied_on]
    return [serial for serial in old if serial not in spared], spared


def _is_whole(items: Mapping[str, Item], there: Collection[str]) -> bool:
    return bool(items) and all(item.path in there for item in items.values() if item.ftype != DELTA)


def prune(
    bucket: Bucket,
    milestone: int,
    *,
    relied_on: Mapping[Version, str],
    rules: Rules,
    now: dt.datetime,
    dry_run: bool = False,
) -> Outcome:
    """Prune the images of a milestone.

    Args:
        bucket: where.
        milestone: whose images.
        relied_on: the versions that stay whatever the rules say.
        rules: what may go.
        now: the time.
        dry_run: change nothing, and say what would go.

    Raises:
        ArtifactError: there is no index, or it or the notes are not ones this project wrote.
        ConflictError: others change the index, again and again.
    """
    done = _Done()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return _Pruning(bucket, milestone, relied_on, rules, now, done, dry_run=dry_run).run()
        except ConflictError as err:
            if attempt == _ATTEMPTS:
                raise
            log.info("%s; beginning again (attempt %d of %d)", err.what, attempt + 1, _ATTEMPTS)
    raise AssertionError("not reached")


@dataclass
class _Done:
    """What all attempts of a run have done so far: see Outcome."""

    removed: dict[Version, int] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)


class _Pruning:
    """One attempt, on one state of the index."""

    def __init__(
        self, bucket: Bucket, milestone: int, relied_on: Mapping[Version, str], rules: Rules, now: dt.datetime,
        done: _Done, *, dry_run: bool,
    ) -> None:  # fmt: skip
        self.bucket, self.relied_on, self.rules, self.now = bucket, relied_on, rules, now
        self.milestone, self.done, self.dry_run = milestone, done, dry_run
        self.pointer, self.notes_object = self._name(IMAGES), self._name(NOTES)
        content, self.generation = seen(bucket, self.pointer)
        if not content:
            raise ArtifactError(f"{bucket.url}/{self.pointer} is missing", hint="publish an image first")
        self.index = Images.read(content, f"{bucket.url}/{self.pointer}")
        self.there = {name.removeprefix(self._name("")) for name in bucket.names(self._name("images/"))}
        self.sizes = {item.path: item.size for item in _items(self.index)}

    def _name(self, path: str) -> str:
        return object_name(self.milestone, path)

    def run(self) -> Outcome:
        removed, spared, index = self._choose()
        if removed and not self.dry_run:
            self.bucket.upload(
                index.write(), self.pointer, kind=Kind.POINTER, if_generation=self.generation, publisher="prune"
            )
        self.done.removed.update((version, self._size_of(version)) for version in removed)
        notes, generation = self._read_notes()
        due, waiting = self._sort(index, notes)
        if not self.dry_run:
            if waiting.keys() | due.keys() != notes.keys():
                generation = self._write_notes(waiting | due, generation)
            self._delete(due)
            if due:
                self._write_notes(waiting, generation)
        else:
            self.done.deleted.update((path, note.size) for path, note in due.items())
        return Outcome(
            removed=self.done.removed,
            spared={version: self.relied_on[version] for version in spared},
            deleted=self.done.deleted,
            waiting={path: (note.size, self._due_at(path, note)) for path, note in waiting.items()},
            unknown=tuple(sorted(path for path in self.there if version_of(path) is None)),
        )

    def _choose(self) -> tuple[list[Version], list[Version], Images]:
        index, removed, spared = self.index, [], []
        for name, product in self.index.products.items():
            gone, stay = choose(
                name, product, there=self.there, relied_on=self.relied_on, rules=self.rules, now=self.now
            )  # fmt: skip
            removed += [Version(name, serial) for serial in gone]
            spared += [Version(name, serial) for serial in stay]
            if gone:
                index = index.with_product(name, product.without_versions(gone))
        return sorted(removed), sorted(spared), index

    def _sort(self, index: Images, notes: Mapping[str, Note]) -> tuple[dict[str, Note], dict[str, Note]]:
        """The unreferenced objects that may be deleted now, and those that have to wait."""
        named = {item.path for item in _items(index)}
        due: dict[str, Note] = {}
        waiting: dict[str, Note] = {}
        for path in sorted(self.there - named):
            version = version_of(path)
            if version is None or version in self.relied_on:
                continue
            pruned = path in self.sizes or version in self.done.removed
            note = notes.get(path) or Note(self.now, self._size(path), pruned=pruned)
            (due if self._due_at(path, note) <= self.now else waiting)[path] = note
        return due, waiting

    def _delete(self, due: Mapping[str, Note]) -> None:
        """Delete objects, unless the index names one by now."""
        content, _generation = seen(self.bucket, self.pointer)
        named = {item.path for item in _items(Images.read(content, self.pointer))} if content else set(due)
        for path, note in due.items():
            if path not in named:
                self.bucket.delete(self._name(path))
                self.done.deleted[path] = note.size

    def _due_at(self, path: str, note: Note) -> dt.datetime:
        """When an object may be deleted: the grace is over, and no publication of its serial can be under way."""
        after_grace = note.since + self.rules.grace
        version = version_of(path)
        if note.pruned or version is None:
            return after_grace
        return max(after_grace, time_of(version.serial) + self.rules.dangling)

    def _size(self, path: str) -> int:
        if path in self.sizes:
            return self.sizes[path]
        stat = self.bucket.stat(self._name(path))
        return stat.size if stat else 0

    def _size_of(self, version: Version) -> int:
        items = self.index.products[version.product].versions[version.serial]
        return sum(item.size for item in items.values() if item.path in self.there)

    def _read_notes(self) -> tuple[dict[str, Note], int]:
        held = self.bucket.read(self.notes_object)
        if held is None:
            return {}, ABSENT
        where = f"{self.bucket.url}/{self.notes_object}"
        try:
            content = json.loads(held.content)
            if content["format"] != _FORMAT:
                raise ArtifactError(f"{where}: format {content['format']!r} is not {_FORMAT}", hint=f"remove {where}")
            return {path: _note(**note) for path, note in content["objects"].items()}, held.stat.generation
        except (ValueError, KeyError, TypeError, AttributeError) as err:
            raise ArtifactError(
                f"{where} is damaged: {err}", hint=f"remove {where}: every object then waits for the grace again"
            ) from err

    def _write_notes(self, notes: Mapping[str, Note], generation: int) -> int:
        objects = {
            path: {"since": note.since.isoformat(), "size": note.size, "pruned": note.pruned}
            for path, note in notes.items()
        }
        content = json.dumps({"format": _FORMAT, "objects": objects}, indent=1, sort_keys=True) + "\n"
        done = self.bucket.upload(
            content.encode(), self.notes_object, kind=Kind.POINTER, if_generation=generation, publisher="prune"
        )
        return done.stat.generation


def _items(index: Images) -> Iterator[Item]:
    for product in index.products.values():
        for items in product.versions.values():
            yield from items.values()


def _note(*, since: object, size: object, pruned: object) -> Note:
    if isinstance(since, str) and isinstance(size, int) and isinstance(pruned, bool):
        time = dt.datetime.fromisoformat(since)
        if time.tzinfo is not None:
            return Note(time, size, pruned)
    raise ValueError(f"a note of {since!r}, {size!r}, {pruned!r}")
