"""Files as this project writes them: beside their place and renamed into it; digests read in blocks."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


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
    """A temporary directory that is gone afterwards, however the block ends."""
    path = Path(tempfile.mkdtemp(prefix=f"{prefix}-", dir=parent))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def secret_parent() -> Path | None:
    """Where short-lived secrets go: memory, with a short path (a GnuPG socket path must stay under 108 bytes)."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else None
