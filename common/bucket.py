"""Buckets: objects by name, written whole or not at all, replaced only from the state one has seen.

This is what all storages have in common; common/store.py opens one. docs/buckets.md says what they promise.
"""

import contextlib
import io
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from common.errors import ArtifactError, ConflictError

Source = Path | bytes
ABSENT = 0  # the generation of an object that does not exist
BLOCK = 1 << 20


class Kind(StrEnum):
    """What an object is, as its Cache-Control header says it."""

    IMMUTABLE = "public, max-age=31536000, immutable"
    POINTER = "public, max-age=30"


@dataclass(frozen=True)
class Stat:
    """One object.

    Attributes:
        name: its name.
        size: in bytes.
        sha256: of its content, in hex.
        generation: grows with each write.
        publisher: who wrote it; "" if unknown.
        claimed: whether `publisher` has only claimed it so far, see Bucket.claim.
        crc32c: as the storage computed it, in base64; "" where it does not.
    """

    name: str
    size: int
    sha256: str
    generation: int
    publisher: str = ""
    claimed: bool = False
    crc32c: str = ""


@dataclass(frozen=True)
class Held:
    """An object's content together with the Stat of exactly that content."""

    content: bytes
    stat: Stat


@dataclass(frozen=True)
class Uploaded:
    """What an upload or a copy did: `changed` is False when the bucket already had this content."""

    stat: Stat
    changed: bool


def ignore(_count: int) -> None:
    """Nobody wants to know how many bytes are on their way."""


class Bucket(Protocol):
    """Objects by name (`72/dists/bookworm/InRelease`); no part of a name may be empty or start with a dot.

    Every method may be called from several threads. All of them may raise ArtifactError (a name that is none),
    NetworkError (the storage does not answer, or keeps sending wrong bytes) and ConfigError (there is no such bucket,
    or no right to it).
    """

    @property
    def url(self) -> str:
        """Its gs:// URL, for messages."""

    @property
    def threads(self) -> int:
        """How many transfers at once are worth it."""

    def stat(self, name: str) -> Stat | None:
        """What the bucket holds under `name`, or None."""

    def stats(self, names: Collection[str]) -> dict[str, Stat]:
        """The same for many names at once; those that do not exist are left out."""

    def read(self, name: str) -> Held | None:
        """The content and the Stat that belongs to it, or None."""

    def names(self, prefix: str = "") -> list[str]:
        """The names that start with `prefix`, sorted."""

    def upload(
        self,
        source: Source,
        name: str,
        *,
        kind: Kind,
        if_generation: int | None = None,
        publisher: str = "",
        sha256: str = "",
        on_bytes: Callable[[int], None] = ignore,
    ) -> Uploaded:
        """Put `source` (a file, or bytes) under `name`; readers see the old object or the new one.

        The same content again changes nothing, whatever `if_generation` says, but that it ends a claim.

        Args:
            source: what to upload.
            name: under which name.
            kind: IMMUTABLE refuses to replace other content.
            if_generation: replace only this generation; ABSENT (0): only where there is no object.
            publisher: who writes, for the message of whoever comes second.
            sha256: what the source has to be; "" takes it as it is.
            on_bytes: told how many more bytes are on their way.

        Raises:
            ConflictError: other content under an immutable name, or another generation.
            ArtifactError: the source cannot be read, or is not `sha256`.
            DiskFullError: no space left; the bucket is as it was.
        """

    def claim(self, name: str, *, if_generation: int, publisher: str) -> Stat:
        """Give an object a new generation and leave its content alone: who has seen the old one comes second.

        Where there is none (ABSENT), it is made, with nothing in it.

        Raises:
            ConflictError: it is another generation.
        """

    def renew(self, name: str, *, if_generation: int, publisher: str) -> Stat:
        """Give an object a new generation, and leave it as it is otherwise: who would delete the old one does not.

        Raises:
            ConflictError: it is another generation, or gone.
        """

    def copy_from(
        self,
        other: "Bucket",
        source: Stat,
        name: str,
        *,
        kind: Kind,
        if_generation: int | None = None,
        publisher: str = "",
    ) -> Uploaded:
        """Copy exactly this object of another bucket of the same storage, inside the storage.

        Args:
            other: the bucket it is in.
            source: which object: its generation and its SHA-256 have to be these.
            name: under which name in this bucket.
            kind, if_generation, publisher: as in `upload`.

        Raises:
            ConflictError: as in `upload`, or the source is not this object any more.
            UsageError: the two buckets are not of the same storage.
        """

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        """Remove an object; none there is no error.

        Raises:
            ConflictError: it is another generation.
        """


_TYPES = (
    (r"\.deb", "application/vnd.debian.binary-package"),
    (r"\.json", "application/json"),
    (r"\.xz", "application/x-xz"),
    (r"\.gz", "application/gzip"),
    (r"\.(asc|txt)|(^|/)(InRelease|Release|Release\.gpg|Packages|manifest|staging|live)", "text/plain; charset=utf-8"),
)


def content_type(name: str) -> str:
    """The Content-Type of an object, by its name."""
    found = (kind for pattern, kind in _TYPES if re.search(f"({pattern})$", name))
    return next(found, "application/octet-stream")


def check_name(url: str, name: str) -> list[str]:
    """The parts of an object's name. ArtifactError: it could leave a bucket, or hide in it."""
    parts = name.split("/")
    if any(not part or part.startswith(".") or not part.isprintable() or "\\" in part for part in parts):
        raise ArtifactError(
            f"{name!r} is not a name for an object in {url}",
            hint="names are relative, and no part is empty or starts with a dot",
        )
    return parts


def check_source(source: Source, wanted: str, found: str) -> None:
    """Refuse a source that is not what its caller has digested. ArtifactError names both."""
    if wanted and wanted != found:
        what = f"{str(source)!r}" if isinstance(source, Path) else "the content"
        raise ArtifactError(
            f"{what} has changed since it was checked", details=f"then sha256 {wanted}\nnow  sha256 {found}",
            hint="run the job that makes it again",
        )  # fmt: skip


@contextlib.contextmanager
def reading(source: Source) -> Iterator[BinaryIO]:
    """A source for reading. ArtifactError: it cannot be read."""
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        file = source.open("rb")
    except OSError as err:
        raise ArtifactError(f"{source} cannot be read: {err.strerror}", hint="run the job that makes it") from err
    with file:
        yield file


def moved(url: str, name: str, have: Stat | None) -> ConflictError:
    """The error of the publisher who came second: somebody else has changed the object it has seen."""
    if have is None:
        return ConflictError(f"{url}/{name} was deleted while we published", hint="publish again")
    who = have.publisher or "somebody else"
    return ConflictError(
        f"{url}/{name} was changed by {who!r} while we published",
        details=f"it is now generation {have.generation}, sha256 {have.sha256}",
        hint="nothing of ours became visible; run it again, on top of that",
    )


def other_content(url: str, have: Stat, size: int, sha256: str) -> ConflictError:
    """The error for an immutable name that is taken; `size` and `sha256` are of what should have gone there."""
    return ConflictError(
        f"{url}/{have.name} exists with other content",
        details=f"there: {have.size} bytes, sha256 {have.sha256}\nours:  {size} bytes, sha256 {sha256}",
        hint="an object once published never changes: give the new content a new version",
    )


def changed_source(url: str, source: Stat, have: Stat | None) -> ConflictError:
    """The error for a copy whose source is not the object any more that was looked at."""
    there = f"there: generation {have.generation}, sha256 {have.sha256}" if have else "there: nothing"
    return ConflictError(
        f"{url}/{source.name} is not what was to be copied",
        details=f"{there}\nwanted: generation {source.generation}, sha256 {source.sha256}",
        hint="look at what is there now, and begin again",
    )
