"""Publishing in the order that never shows a reader half of it: what a pointer names first, the pointer last."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.bucket import ABSENT, Bucket, Kind, Source, moved
from common.errors import ArtifactError
from common.progress import report


@dataclass(frozen=True)
class Item:
    """Something to publish: an object's name, and where its content is."""

    name: str
    source: Source

    @property
    def size(self) -> int:
        """Its size in bytes; ArtifactError when the file is missing."""
        if isinstance(self.source, bytes):
            return len(self.source)
        try:
            return self.source.stat().st_size
        except OSError as err:
            raise ArtifactError(
                f"{self.source} cannot be read: {err.strerror}", hint="run the job that makes it"
            ) from err


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
    held = {name: bucket.stat(name) for name in pointers}
    said = {
        "pointers": {f"{place}/{name}": stat.sha256 for name, stat in held.items() if stat},
        "objects": {f"{place}/{name}": size for name, size in objects.items()},
        "report": report,
    }
    return json.dumps(said, indent=1, sort_keys=True) + "\n"


def publish(
    bucket: Bucket,
    *,
    immutable: Sequence[Item],
    mutable: Sequence[Item] = (),
    pointer: Item,
    if_generation: int,
    publisher: str,
) -> Published:
    """Upload what a pointer will name, in this order, and the pointer last: that is the moment all of it is visible.

    Args:
        bucket: where to.
        immutable: objects whose names say what they contain; nobody looks at them before the pointer names them.
        mutable: further objects that are replaced just before the pointer (apt's plain indices, an index of indices).
        pointer: the object readers begin with (InRelease, images.json).
        if_generation: the pointer's generation that all this was computed from (ABSENT where there was none).
        publisher: who publishes, for the message of whoever comes second.

    Raises:
        ConflictError: somebody else moved the pointer meanwhile, or an immutable object exists with other content.
        ArtifactError: a file is missing.
    """
    total = sum(item.size for item in (*immutable, *mutable, pointer))
    done = uploaded = size = 0

    def put(item: Item, kind: Kind, generation: int | None = None) -> None:
        nonlocal done, uploaded, size
        changed = bucket.upload(
            item.source, item.name, kind=kind, if_generation=generation, publisher=publisher
        ).changed
        uploaded, size, done = uploaded + changed, size + changed * item.size, done + item.size
        report(f"Publish to {bucket.url}", done, total)

    for item in immutable:
        put(item, Kind.IMMUTABLE)
    have = bucket.stat(pointer.name)
    if (have.generation if have else ABSENT) != if_generation:
        raise moved(bucket.url, pointer.name, have)  # before the mutable ones, so that they stay with their pointer
    for item in mutable:
        put(item, Kind.POINTER)
    put(pointer, Kind.POINTER, if_generation)
    return Published(uploaded, len(immutable) + len(mutable) + 1 - uploaded, size)
