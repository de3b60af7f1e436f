"""Publishing in the order that never shows a reader half of it: what a pointer names first, the pointer last."""

import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from common.bucket import ABSENT, Bucket, Kind, Source, Stat, ignore, moved, other_content
from common.errors import ArtifactError, ConflictError, DeadlineError
from common.files import sha256_of
from common.parallel import in_parallel
from common.sweep import spare
from common.transfer import transfer
from common.waiting import wait_until

log = logging.getLogger(__name__)

# How long whoever has claimed a pointer may take to move it before the next one takes over, in seconds.
CLAIM = 10.0
_ATTEMPTS = 5


@dataclass(frozen=True)
class Copied:
    """The content of an object that is in the same storage already: exactly this generation of it."""

    bucket: Bucket
    stat: Stat


@dataclass(frozen=True)
class Item:
    """Something to publish.

    Attributes:
        name: the object's.
        source: where its content is.
        sha256: of that content, where the caller has checked it; else it is digested when that matters.
        rank: those of a lower rank are all there before the first of a higher one is begun.
    """

    name: str
    source: Source | Copied
    sha256: str = ""
    rank: int = 0

    @property
    def size(self) -> int:
        """Its size in bytes; ArtifactError when the file is missing."""
        if isinstance(self.source, Copied):
            return self.source.stat.size
        if isinstance(self.source, bytes):
            return len(self.source)
        try:
            return self.source.stat().st_size
        except OSError as err:
            raise ArtifactError(
                f"{self.source} cannot be read: {err.strerror}", hint="run the job that makes it"
            ) from err

    def digest(self) -> str:
        """Its SHA-256 in hex."""
        if self.sha256:
            return self.sha256
        if isinstance(self.source, Copied):
            return self.source.stat.sha256
        return hashlib.sha256(self.source).hexdigest() if isinstance(self.source, bytes) else sha256_of(self.source)

    def is_at(self, have: Stat | None) -> bool:
        """Whether an object has this content already, for good."""
        return have is not None and not have.claimed and have.size == self.size and have.sha256 == self.digest()


@dataclass(frozen=True)
class Published:
    """What a publication did: objects uploaded, objects that were there already, bytes uploaded."""

    uploaded: int
    kept: int
    size: int

    def __str__(self) -> str:
        """`3 objects uploaded (1.2 MB), 40 were there already`."""
        return f"{self.uploaded} objects uploaded ({self.size / 1e6:.1f} MB), {self.kept} were there already"


def note(bucket: Bucket, pointers: Sequence[str], objects: Mapping[str, int], report: object) -> str:
    """What a publishing build leaves as its artifact, published.json.

    Args:
        bucket: where it published to.
        pointers: the objects readers begin with; their SHA-256 tells whether the bucket still shows what was published.
        objects: what the pointers name, and the size of each in bytes.
        report: what it did, for people.
    """
    place = bucket.url.removeprefix("gs://")
    said = {
        "pointers": {f"{place}/{name}": stat.sha256 for name, stat in bucket.stats(pointers).items()},
        "objects": {f"{place}/{name}": size for name, size in objects.items()},
        "report": report,
    }
    return json.dumps(said, indent=1, sort_keys=True) + "\n"


def seen(bucket: Bucket, pointer: str) -> tuple[bytes, int]:
    """What a pointer says, and its generation, for who publishes on top of it.

    Nothing (b"") where nothing was ever published, also where somebody has begun to and claimed the name.
    """
    held = bucket.read(pointer)
    return (held.content, held.stat.generation) if held else (b"", ABSENT)


def publish(
    bucket: Bucket,
    *,
    immutable: Sequence[Item],
    mutable: Sequence[Item] = (),
    pointer: Item,
    if_generation: int,
    publisher: str,
    milestone: int,
) -> Published:
    """Upload what a pointer will name, and the pointer last: that is the moment all of it is visible.

    Of several publishers who began with the same pointer one wins. The others stop before they have changed anything
    that a reader can see, and may begin again on top of it. Objects of one rank are uploaded in parallel.

    Args:
        bucket: where to.
        immutable: objects whose names say what they contain; nobody looks at them before the pointer names them.
        mutable: further objects that are replaced just before the pointer (apt's plain indices, an index of indices).
        pointer: the object readers begin with (InRelease, images.json).
        if_generation: the pointer's generation that all this was computed from (ABSENT where there was none).
        publisher: who publishes, for the message of whoever comes second.
        milestone: whose objects these are: nobody deletes what is needed again, see common/sweep.py.

    Raises:
        ConflictError: somebody else moved the pointer meanwhile, or immutable objects exist with other content.
        ArtifactError: a file is missing, or is not what the caller has checked.
    """
    return _Publication(bucket, milestone, pointer, if_generation, publisher).run(immutable, mutable)


@dataclass
class _Publication:
    """One publication, and what it has done so far."""

    bucket: Bucket
    milestone: int
    pointer: Item
    base: int
    publisher: str
    have: Mapping[str, Stat] = field(default_factory=dict)

    def run(self, immutable: Sequence[Item], mutable: Sequence[Item]) -> Published:
        items = (*immutable, *mutable, self.pointer)
        sizes = {item.name: item.size for item in items}  # what is missing is found before anything is uploaded
        self.have = self.bucket.stats(list(sizes))
        wanted = {item.name for item in items if not item.is_at(self.have.get(item.name))}
        self._check(immutable, wanted)
        total = sum(sizes[name] for name in wanted)
        if wanted:
            with transfer(f"Publish to {self.bucket.url}", total) as told:
                self._each(immutable, wanted, lambda item: self._upload(item, Kind.IMMUTABLE, ABSENT, told))
                self._spare(immutable, wanted)
                fence = self._replace(mutable, wanted, told)
                if self.pointer.name in wanted or fence != self.base:
                    self._upload(self.pointer, Kind.POINTER, fence, told)
        return Published(len(wanted), len(sizes) - len(wanted), total)

    def _check(self, immutable: Sequence[Item], wanted: set[str]) -> None:
        """Refuse what cannot end well before anything is uploaded."""
        taken = [
            other_content(self.bucket.url, self.have[item.name], item.size, item.digest())
            for item in immutable
            if item.name in wanted and item.name in self.have
        ]
        if taken:
            details = "\n".join(line for err in taken for line in (err.what, err.details))
            raise ConflictError(taken[0].what, details=details, hint=taken[0].hint)
        if self.pointer.name in wanted:
            self._check_pointer(self.have.get(self.pointer.name), self.base)

    def _check_pointer(self, have: Stat | None, wanted: int) -> None:
        if _generation(have) != wanted:
            raise moved(self.bucket.url, self.pointer.name, have)

    def _upload(self, item: Item, kind: Kind, generation: int, told: Callable[[int], None]) -> None:
        if isinstance(item.source, Copied):
            self.bucket.copy_from(
                item.source.bucket, item.source.stat, item.name, kind=kind, if_generation=generation,
                publisher=self.publisher,
            )  # fmt: skip
            told(item.size)
            return
        self.bucket.upload(
            item.source, item.name, kind=kind, if_generation=generation, publisher=self.publisher, sha256=item.sha256,
            on_bytes=told,
        )  # fmt: skip

    def _each(self, items: Iterable[Item], wanted: set[str], work: Callable[[Item], None]) -> None:
        for wave in _waves(item for item in items if item.name in wanted):
            in_parallel(work, wave, threads=self.bucket.threads)

    def _spare(self, immutable: Sequence[Item], written: set[str]) -> None:
        """Keep what the pointer is going to name from whoever deletes it; what has just gone is uploaded again."""
        for _ in range(_ATTEMPTS):
            found = [item.name for item in immutable if item.name not in written]
            gone = set(spare(self.bucket, self.milestone, found, publisher=self.publisher, written=written))
            if not gone:
                return
            self._each(immutable, gone, lambda item: self._upload(item, Kind.IMMUTABLE, ABSENT, ignore))
            written = written | gone
        raise ConflictError(f"{self.bucket.url}/{min(gone)} is deleted again and again", hint="publish again")

    def _replace(self, mutable: Sequence[Item], wanted: set[str], told: Callable[[int], None]) -> int:
        """Replace the mutable objects; the generation the pointer has to have then."""
        have = self.bucket.stat(self.pointer.name)
        self._check_pointer(have, self.base)
        replaced = [item for item in mutable if item.name in wanted]
        if not mutable or (have and not (replaced or have.claimed)):
            return self.base
        taken_over = have is not None and have.claimed
        if have and taken_over:
            self._wait_for(have)
        fence = self.bucket.claim(self.pointer.name, if_generation=self.base, publisher=self.publisher).generation
        if taken_over:  # what he has not finished writing must come too late
            in_parallel(self._fence, mutable, threads=self.bucket.threads)
        for wave in _waves(mutable if taken_over else replaced):
            in_parallel(lambda item: self._swap(item, fence, told), wave, threads=self.bucket.threads)
        return fence

    def _wait_for(self, have: Stat) -> None:
        """Let somebody who is about to move the pointer do so; one who was killed is overtaken after CLAIM seconds."""
        name, what = self.pointer.name, f"{have.publisher!r} to finish publishing {self.pointer.name}"
        log.info("waiting for %s", what)
        try:
            wait_until(lambda: _generation(self.bucket.stat(name)) != self.base, what, timeout=CLAIM, every=0.2)
        except DeadlineError:
            log.info("%r has not finished in %g s; going on without", have.publisher, CLAIM)
            return
        raise moved(self.bucket.url, name, self.bucket.stat(name))

    def _fence(self, item: Item) -> None:
        have = self.bucket.stat(item.name)
        if have is not None:
            self.bucket.claim(item.name, if_generation=have.generation, publisher=self.publisher)

    def _swap(self, item: Item, fence: int, told: Callable[[int], None]) -> None:
        """Replace one object, as long as the pointer is ours.

        The generation it replaces is looked up before the pointer is: should somebody claim the pointer after that
        look, and write this object before we do, then ours is refused.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            generation = _generation(self.bucket.stat(item.name))
            self._check_pointer(self.bucket.stat(self.pointer.name), fence)
            try:
                return self._upload(item, Kind.POINTER, generation, told)
            except ConflictError:
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("not reached")


def _generation(stat: Stat | None) -> int:
    return stat.generation if stat else ABSENT


def _waves(items: Iterable[Item]) -> Iterator[list[Item]]:
    """The items by rank, the largest of each rank first, so that none is waited for alone in the end."""
    ranked = sorted(items, key=lambda item: (item.rank, -item.size))
    for _rank, wave in itertools.groupby(ranked, key=lambda item: item.rank):
        yield list(wave)
