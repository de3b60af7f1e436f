"""Files as this project writes them: beside their place and renamed into it; digests read in blocks."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_KEPT = 14 * 24 * 3600.0  # seconds


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomically(path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
    """Write `content` beside `path`, and rename it into place: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
        beside.chmod(mode)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def workspace(prefix: str, *, parent: Path | None = None) -> Iterator[Path]:
    """A temporary directory that is gone afterwards, however the block ends.

    It is locked while it is used: what a killed process leaves is not, and `remove_stale` knows it by that.
    """
    path, lock = _locked_directory(prefix, parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def forget_old(cache: Path, pattern: str) -> None:
    """Remove what no run has used for two weeks from a cache: whoever uses a thing in it touches it."""
    for path in cache.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # other runs remove and rename files meanwhile
            if time.time() - path.stat().st_mtime > _KEPT:
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink()


def keep_newest(cache: Path, pattern: str, count: int) -> None:
    """Remove all but `count` files of a cache, those used longest ago: whoever uses one touches it."""
    used: list[tuple[float, Path]] = []
    for path in cache.glob(pattern):
        with contextlib.suppress(FileNotFoundError):  # other runs remove and rename files meanwhile
            used.append((path.stat().st_mtime, path))
    for _, path in sorted(used)[: max(0, len(used) - count)]:
        path.unlink(missing_ok=True)


def remove_stale(parent: Path, pattern: str, *, first: Callable[[Path], object] = lambda _path: None) -> None:
    """Remove the workspaces below `parent` that match a glob and that no living process uses.

    Args:
        parent, pattern: where.
        first: what is done with each before it is removed.
    """
    for path in parent.glob(pattern):
        if path.is_dir() and (lock := _lock(path)) is not None:
            first(path)
            shutil.rmtree(path, ignore_errors=True)
            os.close(lock)


def _locked_directory(prefix: str, parent: Path | None) -> tuple[Path, int]:
    """A new directory and its lock; once more where somebody took it for a stale one before it was locked."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=parent))
        if (lock := _lock(path)) is not None:
            if path.exists():
                return path, lock
            os.close(lock)


def _lock(path: Path) -> int | None:
    """Lock a directory for as long as this process has the handle open; None when another one has it locked."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def secret_parent() -> Path | None:
    """Where short-lived secrets go: memory, with a short path (a GnuPG socket path must stay under 108 bytes)."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else None
