"""A bucket that is a directory: gs:// on one machine; any static web server can serve it as it is."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from common.bucket import (
    ABSENT,
    BLOCK,
    Bucket,
    Held,
    Kind,
    Source,
    Stat,
    Uploaded,
    changed_source,
    check_name,
    check_source,
    ignore,
    moved,
    other_content,
    reading,
)
from common.errors import ArtifactError, ConflictError, UsageError, from_os_error

_UPLOADS = ".uploads"
_PUBLISHER = "user.publisher"
_CLAIMED = "user.claimed"


@dataclass(frozen=True)
class _Wanted:
    """How an object is to be written: see Bucket.upload."""

    name: str
    path: Path
    kind: Kind
    if_generation: int | None
    publisher: str
    source: Source
    sha256: str


class DirectoryBucket:
    """A bucket that is a directory; an object's generation is its modification time in nanoseconds.

    Writers take turns through a lock on the directory itself, and write into `.uploads` before they rename, so nothing
    but whole objects is ever under a name. What a killed writer left in `.uploads` goes with the next upload.
    """

    threads = 1  # one disk

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

    def stats(self, names: Collection[str]) -> dict[str, Stat]:
        """See Bucket."""
        found = {name: self.stat(name) for name in names}
        return {name: stat for name, stat in found.items() if stat}

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
        for folder, folders, files in os.walk(self.root / prefix.rpartition("/")[0]):
            folders[:] = [each for each in folders if not each.startswith(".")]
            below = Path(folder).relative_to(self.root)
            found += [(below / file).as_posix() for file in files if not file.startswith(".")]
        return sorted(name for name in found if name.startswith(prefix))

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
        """See Bucket."""
        wanted = _Wanted(name, self._path(name), kind, if_generation, publisher, source, sha256)
        with reading(source) as content:
            if (have := self._same(name, content)) is not None:
                check_source(source, sha256, have.sha256)
                return Uploaded(have, changed=False)
            with self._beside(name) as beside, beside.open("w+b") as file:
                _copy(content, file, on_bytes)
                return self._put(beside, file, wanted)

    def claim(self, name: str, *, if_generation: int, publisher: str) -> Stat:
        """See Bucket."""
        if if_generation == ABSENT:
            wanted = _Wanted(name, self._path(name), Kind.POINTER, ABSENT, publisher, b"", "")
            with self._beside(name) as beside, beside.open("w+b") as file:
                return self._put(beside, file, wanted, claimed=True).stat
        return self._touch(name, if_generation, publisher, claimed=True)

    def renew(self, name: str, *, if_generation: int, publisher: str) -> Stat:
        """See Bucket. What is a link to the file of another object becomes a file of its own."""
        with self._opened(name) as content:
            if content is None or os.fstat(content.fileno()).st_nlink == 1:
                return self._touch(name, if_generation, publisher, claimed=False)
            with self._beside(name) as beside, beside.open("w+b") as file:
                _copy(content, file, ignore)
                os.fchmod(file.fileno(), 0o644)
                _sign(file, publisher, claimed=False)
                with self._locked():
                    self._check_generation(name, if_generation)
                    newer = max(time.time_ns(), if_generation + 1)
                    os.utime(file.fileno(), ns=(newer, newer))
                    beside.replace(self._path(name))
                return _stat(name, file)

    def copy_from(
        self,
        other: Bucket,
        source: Stat,
        name: str,
        *,
        kind: Kind,
        if_generation: int | None = None,
        publisher: str = "",
    ) -> Uploaded:
        """See Bucket. What never changes is a hard link to the same file, where the file system has them."""
        if not isinstance(other, DirectoryBucket):
            raise UsageError(f"{other.url} and {self.url} are not in the same storage", hint="--storage names one")
        wanted = _Wanted(
            name, self._path(name), kind, if_generation, publisher, other._path(source.name), source.sha256
        )
        with other._opened(source.name) as content:
            found = _stat(source.name, content) if content else None
            if content is None or found is None or (found.generation, found.sha256) != (
                source.generation, source.sha256,
            ):  # fmt: skip
                raise changed_source(other.url, source, found)
            with self._beside(name) as beside:
                if kind is Kind.IMMUTABLE:
                    beside.unlink()
                    with contextlib.suppress(OSError):
                        os.link(other._path(source.name), beside)
                    if beside.exists():
                        with beside.open("rb") as file:
                            return self._put(beside, file, wanted, linked=True)
                with beside.open("w+b") as file:
                    _copy(content, file, ignore)
                    return self._put(beside, file, wanted)

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
        path = self.root.joinpath(*check_name(self.url, name))
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
        return have if not have.claimed and have.sha256 == _sha256(content) else None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        handle = os.open(self.root, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _beside(self, name: str) -> Iterator[Path]:
        """A new file for the object `name` to be, gone afterwards; what the disk has to say becomes our errors."""
        try:
            with self._uploads() as uploads:
                handle, beside = tempfile.mkstemp(dir=uploads)
                os.close(handle)
                try:
                    yield Path(beside)
                finally:
                    Path(beside).unlink(missing_ok=True)
        except (IsADirectoryError, NotADirectoryError, FileExistsError) as err:
            raise ConflictError(
                f"{self.url} cannot hold an object {name!r}: a part of that name is already an object or a folder",
                hint="choose another name",
            ) from err
        except OSError as err:
            raise from_os_error(err) from err

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

    def _put(
        self, beside: Path, file: BinaryIO, wanted: _Wanted, *, linked: bool = False, claimed: bool = False
    ) -> Uploaded:
        """Give a finished file its name, if it may have it. A linked one is another object's too: it stays as it is."""
        if not linked:
            os.fchmod(file.fileno(), 0o644)
            _sign(file, wanted.publisher, claimed=claimed)
        ours = _stat(wanted.name, file)
        check_source(wanted.source, wanted.sha256, ours.sha256)
        with self._locked():
            have = self.stat(wanted.name)
            if have is not None and not (have.claimed or claimed) and have.sha256 == ours.sha256:
                return Uploaded(have, changed=False)
            if have is not None and wanted.kind is Kind.IMMUTABLE:
                raise other_content(self.url, have, ours.size, ours.sha256)
            self._check_generation(wanted.name, wanted.if_generation)
            if not linked:
                newer = max(time.time_ns(), have.generation + 1 if have else 0)
                os.utime(file.fileno(), ns=(newer, newer))
                ours = replace(ours, generation=os.fstat(file.fileno()).st_mtime_ns)
            wanted.path.parent.mkdir(parents=True, exist_ok=True)
            beside.replace(wanted.path)
        return Uploaded(ours, changed=True)

    def _touch(self, name: str, generation: int, publisher: str, *, claimed: bool) -> Stat:
        with self._locked(), self._opened(name) as file:
            self._check_generation(name, generation)
            if file is None:
                raise moved(self.url, name, None)
            _sign(file, publisher, claimed=claimed)
            newer = max(time.time_ns(), generation + 1)
            os.utime(file.fileno(), ns=(newer, newer))
            return _stat(name, file)

    def _check_generation(self, name: str, wanted: int | None) -> None:
        if wanted is None:
            return
        have = self.stat(name)
        if (have.generation if have else ABSENT) != wanted:
            raise moved(self.url, name, have)


def _copy(content: BinaryIO, file: BinaryIO, on_bytes: Callable[[int], None]) -> None:
    content.seek(0)
    while block := content.read(BLOCK):
        file.write(block)
        on_bytes(len(block))
    file.flush()


def _sign(file: BinaryIO, publisher: str, *, claimed: bool) -> None:
    """Note who writes. A file system without attributes: nobody is named, that is all."""
    with contextlib.suppress(OSError):
        os.setxattr(file.fileno(), _PUBLISHER, publisher.encode())
        os.setxattr(file.fileno(), _CLAIMED, b"1" if claimed else b"")


def _sha256(content: BinaryIO) -> str:
    content.seek(0)
    digest = hashlib.sha256()
    while block := content.read(BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _attribute(file: BinaryIO, name: str) -> str:
    try:
        return os.getxattr(file.fileno(), name).decode(errors="replace")
    except OSError:
        return ""


def _stat(name: str, file: BinaryIO) -> Stat:
    sha256 = _sha256(file)
    about = os.fstat(file.fileno())
    return Stat(
        name, about.st_size, sha256, about.st_mtime_ns, _attribute(file, _PUBLISHER),
        claimed=bool(_attribute(file, _CLAIMED)),
    )  # fmt: skip
