"""What a job handed on: every file with its size and SHA-256, checked before the next job reads any of it."""

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

from common.errors import ArtifactError
from common.files import sha256_of, write_atomically

FORMAT = 1
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, order=True)
class Entry:
    """One artifact: its path below the artifacts directory (with `/`), size in bytes and SHA-256 in hex."""

    path: str
    size: int
    sha256: str


def _checked(entry: Entry) -> Entry:
    """Refuse what `of` does not write: above all a path that leads out of the directory."""
    path = PurePosixPath(entry.path)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise ValueError(f"{entry.path!r} is not a path below a directory")
    if type(entry.size) is not int or entry.size < 0 or not _SHA256.fullmatch(entry.sha256):
        raise ValueError(f"{entry.path!r} has no size and SHA-256")
    return entry


@dataclass(frozen=True)
class Manifest:
    """The artifacts of one job, sorted by path."""

    entries: tuple[Entry, ...]

    @classmethod
    def of(cls, directory: Path) -> "Manifest":
        """Read a directory of artifacts. Symlinks are not artifacts: ArtifactError names one."""
        entries = []
        for path in sorted(directory.rglob("*")):
            if path.is_symlink():
                name = path.relative_to(directory).as_posix()
                raise ArtifactError(f"artifact {name!r} is a symlink", hint="copy the file it points at")
            if path.is_file():
                name = path.relative_to(directory).as_posix()
                entries.append(Entry(name, path.stat().st_size, sha256_of(path)))
        return cls(tuple(sorted(entries)))

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read a manifest.json.

        Raises:
            ArtifactError: it is missing, or not a manifest.
        """
        try:
            data = json.loads(path.read_text())
            if data["format"] != FORMAT:
                raise ArtifactError(f"{path}: format {data['format']!r} is not {FORMAT}", hint="run the job again")
            return cls(tuple(_checked(Entry(**entry)) for entry in data["artifacts"]))
        except FileNotFoundError as err:
            raise ArtifactError(f"{path} is missing", hint="run the job that makes it") from err
        except (ValueError, KeyError, TypeError) as err:
            raise ArtifactError(f"{path} is not a manifest: {err}", hint="run the job that makes it again") from err

    def write(self, path: Path) -> None:
        """Write it as JSON, one artifact a line, so that two can be compared with diff."""
        lines = ",\n".join(f"  {json.dumps(asdict(entry))}" for entry in self.entries)
        write_atomically(path, f'{{"format": {FORMAT}, "artifacts": [\n{lines}\n]}}\n')

    @property
    def size(self) -> int:
        """All artifacts together, in bytes."""
        return sum(entry.size for entry in self.entries)

    def digest(self) -> str:
        """One SHA-256 over every path, size and SHA-256."""
        lines = [json.dumps(asdict(entry)) for entry in self.entries]  # no name can look like the end of a line
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def check(self, directory: Path) -> None:
        """Compare `directory` with the manifest.

        Raises:
            ArtifactError: naming every file that is missing, unreadable or different.
        """
        wrong = []
        for entry in self.entries:
            path = directory / entry.path
            try:
                if path.stat().st_size != entry.size:
                    wrong.append(f"{entry.path}: {path.stat().st_size} bytes instead of {entry.size}")
                elif sha256_of(path) != entry.sha256:
                    wrong.append(f"{entry.path}: its content has changed")
            except OSError as err:
                wrong.append(f"{entry.path}: {err.strerror}")
        if wrong:
            raise ArtifactError(
                f"{directory} is not what its manifest says",
                details="\n".join(wrong),
                hint="run the job that makes it again",
            )
