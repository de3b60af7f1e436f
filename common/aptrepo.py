"""An apt repository on disk: its Release files, by-hash copies, what must agree with what, and the order to publish in.

The layout and the fields are those of Debian's repository format, https://wiki.debian.org/DebianRepository/Format.
"""

import datetime as dt
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path, PurePosixPath

from debian.deb822 import Packages, Release

from common.errors import ArtifactError
from common.manifest import Manifest

KEYRING = "cros-archive-keyring.asc"
BY_HASH = "by-hash/SHA256"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_HINT = "make the repository again (./run invoke apt-repo)"
# Fields a client must not find stale or weak: rewritten, or left out of what is signed.
_WEAK = ("MD5Sum", "SHA1", "SHA512")


@dataclass(frozen=True, order=True)
class Index:
    """An index that a Release file vouches for: path below the Release's directory, size in bytes, SHA-256 in hex."""

    path: str
    size: int
    sha256: str

    @property
    def by_hash(self) -> str:
        """Its path under its content's name, below the Release's directory."""
        return (PurePosixPath(self.path).parent / BY_HASH / self.sha256).as_posix()


def codenames(root: Path) -> tuple[str, ...]:
    """The codenames under `root`/dists, sorted.

    Raises:
        ArtifactError: there is none.
    """
    found = tuple(sorted(path.parent.name for path in (root / "dists").glob("*/Release")))
    if not found:
        raise ArtifactError(f"{root.name!r} has no dists/*/Release", hint=_HINT)
    return found


def indices_of(text: str) -> tuple[Index, ...]:
    """The indices in the text of a Release file, sorted.

    Raises:
        ArtifactError: it lists no SHA-256, or a path that leaves its directory.
    """
    found = []
    for line in Release(text).get("SHA256", ()):
        path, size, sha256 = line["name"], line["size"], line["sha256"]
        parts = path.split("/")
        if not size.isdecimal() or not _SHA256.fullmatch(sha256) or not all(parts) or {".", ".."} & set(parts):
            raise ArtifactError(f"a Release file lists {path!r} with size {size!r} and SHA-256 {sha256!r}", hint=_HINT)
        found.append(Index(path, int(size), sha256))
    if not found:
        raise ArtifactError("a Release file lists no SHA256", hint=_HINT)
    return tuple(sorted(found))


def date_of(text: str) -> dt.datetime:
    """The Date of a Release file.

    Raises:
        ArtifactError: it has none.
    """
    value = Release(text).get("Date", "")
    try:
        return parsedate_to_datetime(value.replace("UTC", "+0000"))
    except ValueError as err:
        raise ArtifactError(f"a Release file has Date {value!r}", hint=_HINT) from err


def formatted(date: dt.datetime) -> str:
    """A date as Release files write it."""
    return date.astimezone(dt.UTC).strftime("%a, %d %b %Y %H:%M:%S UTC")


def redated(text: str, date: dt.datetime) -> str:
    """A Release file with another Date."""
    release = Release(text)
    release["Date"] = formatted(date)
    return str(release.dump())


def for_clients(text: str, date: dt.datetime) -> str:
    """The Release file that is signed: dated, with by-hash, and with the one digest whose by-hash copies exist."""
    release = Release(text)
    for field in _WEAK:
        if field in release:
            del release[field]
    release["Date"] = formatted(date)
    release["Acquire-By-Hash"] = "yes"
    # deb822 keeps the order of insertion; the digests come last, as everywhere else.
    digests = release["SHA256"]
    del release["SHA256"]
    release["SHA256"] = digests
    return str(release.dump())


def add_by_hash(dist: Path, indices: Iterable[Index]) -> None:
    """Copy each index beside itself under its content's name: a client that read an older Release still finds it."""
    for index in indices:
        target = dist / index.by_hash
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(dist / index.path, target)


def check_contents(root: Path, entries: Manifest) -> None:
    """Compare a repository with itself: every index with its Release, every package with its indices, none left over.

    Args:
        root: the directory of dists/ and pool/.
        entries: the manifest of `root`, already checked.

    Raises:
        ArtifactError: naming all that disagrees.
    """
    have = {entry.path: (entry.size, entry.sha256) for entry in entries.entries}
    wrong, pool = [], set()
    read: set[str] = set()
    for codename in codenames(root):
        dist = root / "dists" / codename
        for index in indices_of((dist / "Release").read_text()):
            path = f"dists/{codename}/{index.path}"
            if have.get(path) != (index.size, index.sha256):
                wrong.append(f"{path}: not what its Release file says")
            elif path.endswith("/Packages") and index.sha256 not in read:
                read.add(index.sha256)  # architectures share an index when all they have is for any of them
                for name, size, sha256 in _listed(root / path):
                    pool.add(name)
                    if have.get(name) != (size, sha256):
                        wrong.append(f"{name}: not what {path} says")
    wrong += [f"{path}: in no index" for path in have if path.startswith("pool/") and path not in pool]
    if wrong:
        raise ArtifactError(
            f"{root.name!r} does not agree with itself", details="\n".join(sorted(set(wrong))), hint=_HINT
        )


def _listed(path: Path) -> list[tuple[str, int, str]]:
    """The files a Packages index names: path below the repository, size, SHA-256."""
    try:
        with path.open("rb") as file:
            return [
                (each["Filename"], int(each["Size"]), each["SHA256"])
                for each in Packages.iter_paragraphs(file, use_apt_pkg=False)
            ]
    except (KeyError, ValueError) as err:
        raise ArtifactError(f"{path} is not an index of packages: {err}", hint=_HINT) from err


def check_exact(directory: Path, manifest: Path) -> Manifest:
    """Read `manifest`, and refuse a `directory` with one file more, less or different.

    Raises:
        ArtifactError: naming them.
    """
    if not directory.is_dir():
        raise ArtifactError(f"artifact {directory.name!r} is missing in {str(directory.parent)!r}", hint=_HINT)
    expected, found = Manifest.read(manifest), Manifest.of(directory)
    want, have = ({entry.path: entry for entry in each.entries} for each in (expected, found))
    wrong = [f"{path}: missing" for path in want.keys() - have.keys()]
    wrong += [f"{path}: not in the manifest" for path in have.keys() - want.keys()]
    wrong += [f"{path}: changed" for path in want.keys() & have.keys() if want[path] != have[path]]
    if wrong:
        raise ArtifactError(
            f"{directory.name!r} is not what {manifest.name!r} says", details="\n".join(sorted(wrong)), hint=_HINT
        )
    return expected


def rank(path: str) -> int:
    """Where `path` (below a repository) comes in the one order in which a client at no moment sees a mix.

    Packages, by-hash copies, the keyring, indices under their plain names, Release, Release.gpg, and InRelease last.
    """
    name = PurePosixPath(path).name
    if path.startswith("pool/"):
        return 0
    if f"/{BY_HASH}/" in path:
        return 1
    if not path.startswith("dists/"):
        return 2
    if path.count("/") > 2:
        return 3
    return {"Release": 4, "Release.gpg": 5, "InRelease": 6}.get(name, 3)
