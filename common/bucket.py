"""Buckets: objects by name, written whole or not at all, replaced only from the state one has seen.

The directory kept here stands for gs:// on one machine; any static web server can serve it as it is.
"""

import contextlib
import fcntl
import hashlib
import io
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO, Protocol

from common.errors import ArtifactError, ConflictError, ReleaseError, from_os_error

Source = Path | bytes
ABSENT = 0  # the generation of an object that does not exist
_UPLOADS = ".uploads"
_PUBLISHER = "user.publisher"
_BLOCK = 1 << 20


class Kind(StrEnum):
    """What an object is, as its Cache-Control header says it."""

    IMMUTABLE = "public, max-age=31536000, immutable"
    POINTER = "no-cache"


@dataclass(frozen=True)
class Stat:
    """One object: size in bytes, SHA-256 in hex, generation (grows with each write), who wrote it ("" if unknown)."""

    name: str
    size: int
    sha256: str
    generation: int
    publisher: str = ""


@dataclass(frozen=True)
class Held:
    """An object's content together with the Stat of exactly that content."""

    content: bytes
    stat: Stat


@dataclass(frozen=True)
class Uploaded:
    """What an upload did: `changed` is False when the bucket already had this content."""

    stat: Stat
    changed: bool


class Bucket(Protocol):
    """Objects by name (`72/dists/bookworm/InRelease`); no part of a name may be empty or start with a dot."""

    @property
    def url(self) -> str:
        """Its gs:// URL, for messages."""

    def stat(self, name: str) -> Stat | None:
        """What the bucket holds under `name`, or None."""

    def read(self, name: str) -> Held | None:
        """The content and the Stat that belongs to it, or None."""

    def names(self, prefix: str = "") -> list[str]:
        """The names that start with `prefix`, sorted."""

    def upload(
        self, source: Source, name: str, *, kind: Kind, if_generation: int | None = None, publisher: str = ""
    ) -> Uploaded:
        """Put `source` (a file, or bytes) under `name`; readers see the old object or the new one.

        The same content again changes nothing, whatever `if_generation` says.

        Args:
            source: what to upload.
            name: under which name.
            kind: IMMUTABLE refuses to replace other content.
            if_generation: replace only this generation; ABSENT (0): only where there is no object.
            publisher: who writes, for the message of whoever comes second.

        Raises:
            ConflictError: other content under an immutable name, or another generation.
            ArtifactError: the source cannot be read.
            DiskFullError: no space left; the bucket is as it was.
        """

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        """Remove an object; none there is no error.

        Raises:
            ConflictError: it is another generation.
        """


class DirectoryBucket:
    """A bucket that is a directory; an object's generation is its modification time in nanoseconds.

    Writers take turns through a lock on the directory itself, and write into `.uploads` before they rename, so nothing
    but whole objects is ever under a name. What a killed writer left in `.uploads` goes with the next upload.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def url(self) -> str:
        """`gs://` and the directory's name."""
        return f"gs://{self.root.name}"

    def stat(self, name: str) -> Stat | None:
        """See Bucket."""
        with self._opened(name) as file:
            return _stat(name, file) if file else None

    def read(self, name: str) -> Held | None:
        """See Bucket."""
        with self._opened(name) as file:
            if file is None:
                return None
            content = file.read()
            file.seek(0)
            return Held(content, _stat(name, file))

    def names(self, prefix: str = "") -> list[str]:
        """See Bucket."""
        found = []
        for folder, folders, files in os.walk(self.root):
            folders[:] = [each for each in folders if not each.startswith(".")]
            below = Path(folder).relative_to(self.root)
            found += [(below / file).as_posix() for file in files if not file.startswith(".")]
        return sorted(name for name in found if name.startswith(prefix))

    def upload(
        self, source: Source, name: str, *, kind: Kind, if_generation: int | None = None, publisher: str = ""
    ) -> Uploaded:
        """See Bucket."""
        path = self._path(name)
        with _reading(source) as content:
            if (have := self._same(name, content)) is not None:
                return Uploaded(have, changed=False)
            try:
                with self._uploads() as uploads:
                    return self._replace(path, name, content, uploads, kind, if_generation, publisher)
            except (IsADirectoryError, NotADirectoryError, FileExistsError) as err:
                raise ConflictError(
                    f"{self.url} cannot hold an object {name!r}: a part of that name is already an object or a folder",
                    hint="choose another name",
                ) from err
            except OSError as err:
                raise from_os_error(err) from err

    def delete(self, name: str, *, if_generation: int | None = None) -> None:
        """See Bucket."""
        path = self._path(name)
        if not path.exists():
            return
        with self._locked():
            self._check_generation(name, if_generation)
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # the first folder that still holds something ends it
                for folder in path.relative_to(self.root).parents[:-1]:
                    (self.root / folder).rmdir()

    def _path(self, name: str) -> Path:
        """Where an object is; ArtifactError for a name that leaves the bucket or hides in it."""
        parts = name.split("/")
        if any(not part or part.startswith(".") or not part.isprintable() or "\\" in part for part in parts):
            raise ArtifactError(
                f"{name!r} is not a name for an object in {self.url}",
                hint="names are relative, and no part is empty or starts with a dot",
            )
        path = self.root.joinpath(*parts)
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise ArtifactError(
                f"{name!r} leads out of {self.url} through a symlink", hint=f"remove it below {self.root}"
            )
        return path

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[BinaryIO | None]:
        """The object for reading: renames do not disturb who has it open."""
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(self._path(name).open("rb"))
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
                yield None
            else:
                yield file

    def _same(self, name: str, content: BinaryIO) -> Stat | None:
        """The object, if it has this content already; sizes first, as most differ in them."""
        with self._opened(name) as file:
            if file is None or os.fstat(file.fileno()).st_size != content.seek(0, os.SEEK_END):
                return None
            have = _stat(name, file)
        return have if have.sha256 == _sha256(content) else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _uploads(self) -> Iterator[Path]:
        """The folder unfinished uploads are in. Who finds nobody else in it sweeps out what killed writers left."""
        place = self.root / _UPLOADS
        place.mkdir(parents=True, exist_ok=True)
        handle = os.open(place, os.O_RDONLY)
        try:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                for left in place.iterdir():
                    left.unlink(missing_ok=True)
            fcntl.flock(handle, fcntl.LOCK_SH)
            yield place
        finally:
            os.close(handle)

    def _replace(
        self,
        path: Path,
        name: str,
        content: BinaryIO,
        uploads: Path,
        kind: Kind,
        if_generation: int | None,
        publisher: str,
    ) -> Uploaded:
        handle, beside = tempfile.mkstemp(dir=uploads)
        try:
            with os.fdopen(handle, "w+b") as file:
                _copy(content, file)
                os.fchmod(file.fileno(), 0o644)
                with contextlib.suppress(OSError):  # a file system without attributes: nobody is named, that is all
                    os.setxattr(file.fileno(), _PUBLISHER, publisher.encode())
                wanted = _stat(name, file)
                with self._locked():
                    if (have := self.stat(name)) is not None and have.sha256 == wanted.sha256:
                        return Uploaded(have, changed=False)
                    if have is not None and kind is Kind.IMMUTABLE:
                        raise _other_content(self.url, have, wanted)
                    self._check_generation(name, if_generation)
                    newer = max(time.time_ns(), have.generation + 1 if have else 0)
                    os.utime(file.fileno(), ns=(newer, newer))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    Path(beside).replace(path)
                return Uploaded(_stat(name, file), changed=True)
        finally:
            Path(beside).unlink(missing_ok=True)

    def _check_generation(self, name: str, wanted: int | None) -> None:
        if wanted is None:
            return
        have = self.stat(name)
        if (have.generation if have else ABSENT) != wanted:
            raise moved(self.url, name, have)


def moved(url: str, name: str, have: Stat | None) -> ConflictError:
    """The error of the publisher who came second: somebody else has changed the object it has seen."""
    if have is None:
        return ConflictError(f"{url}/{name} was deleted while we published", hint="publish again")
    who = have.publisher or "somebody else"
    return ConflictError(
        f"{url}/{name} was changed by {who!r} while we published",
        details=f"it is now generation {have.generation}, sha256 {have.sha256}",
        hint="nothing of ours became visible; publish again on top of it",
    )


def _other_content(url: str, have: Stat, wanted: Stat) -> ReleaseError:
    return ConflictError(
        f"{url}/{have.name} exists with other content",
        details=f"there: {have.size} bytes, sha256 {have.sha256}\nours:  {wanted.size} bytes, sha256 {wanted.sha256}",
        hint="an object once published never changes: give the new content a new version",
    )


@contextlib.contextmanager
def _reading(source: Source) -> Iterator[BinaryIO]:
    if isinstance(source, bytes):
        yield io.BytesIO(source)
        return
    try:
        file = source.open("rb")
    except OSError as err:
        raise ArtifactError(f"{source} cannot be read: {err.strerror}", hint="run the job that makes it") from err
    with file:
        yield file


def _copy(content: BinaryIO, file: BinaryIO) -> None:
    content.seek(0)
    while block := content.read(_BLOCK):
        file.write(block)
    file.flush()


def _sha256(content: BinaryIO) -> str:
    content.seek(0)
    digest = hashlib.sha256()
    while block := content.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _stat(name: str, file: BinaryIO) -> Stat:
    sha256 = _sha256(file)
    about = os.fstat(file.fileno())
    try:
        publisher = os.getxattr(file.fileno(), _PUBLISHER).decode(errors="replace")
    except OSError:
        publisher = ""
    return Stat(name, about.st_size, sha256, about.st_mtime_ns, publisher)
