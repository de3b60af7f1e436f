"""Debian package files as a build receives them: what their names say, whether they are whole, which of them clash."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian.arfile import ArError, ArFile

from common.errors import ArtifactError, ConflictError, PackageError
from common.files import sha256_of

# What dpkg-deb calls a package's file: the epoch is left out (deb-control(5), Debian policy 5.6.1 and 5.6.12).
_NAME = re.compile(r"(?P<package>[a-z0-9][a-z0-9+.-]+)_(?P<version>[0-9A-Za-z.+~-]+)_(?P<arch>[a-z0-9-]+)\.deb")
FOLDERS = ("{release}-debs", "{release}_mesa_debs")
_REBUILD = "build the packages again (./run invoke guest-tools)"


@dataclass(frozen=True)
class DebName:
    """The three words of a package's file name; the version is without its epoch."""

    package: str
    version: str
    arch: str

    @classmethod
    def parse(cls, name: str) -> "DebName":
        """Read `cros-guest-tools_72.0+deb12_all.deb`.

        Raises:
            PackageError: it is no such name.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise PackageError(f"{name!r} is not named PACKAGE_VERSION_ARCH.deb", hint=_REBUILD)
        return cls(match["package"], match["version"], match["arch"])

    def __str__(self) -> str:
        """The file name."""
        return f"{self.package}_{self.version}_{self.arch}.deb"


def collect(directory: Path, release: str) -> tuple[Path, ...]:
    """The packages of one release under `directory`, from `<release>-debs` and `<release>_mesa_debs`, by path.

    Raises:
        ArtifactError: `<release>-debs` is missing or has no package.
    """
    own, *more = (directory / folder.format(release=release) for folder in FOLDERS)
    found = sorted(own.glob("*.deb"))
    if not found:
        what = "has no *.deb" if own.is_dir() else "is missing"
        raise ArtifactError(f"artifact {own.name!r} {what} in {str(directory)!r}", hint=_REBUILD)
    return tuple(found + sorted(path for folder in more for path in folder.glob("*.deb")))


def fault_of(path: Path) -> str:
    """What is wrong with the file of a package as a container, or "": reprepro takes one whose end is missing."""
    try:
        with path.open("rb") as file:
            names = [member.name for member in ArFile(fileobj=file).getmembers()]
            end = file.tell()
    except (ArError, OSError, ValueError) as err:
        return f"not a Debian package ({err})"
    if path.stat().st_size < end:
        return f"truncated: {path.stat().st_size} bytes instead of {end}"
    if path.stat().st_size > end:
        return f"{path.stat().st_size - end} bytes too long"
    expected = ("debian-binary", "control.tar", "data.tar")
    if len(names) < 3 or not all(name.startswith(word) for name, word in zip(names, expected, strict=False)):
        return f"not a Debian package (its members are {', '.join(names) or 'none'})"
    return ""


def check_packages(debs: Mapping[str, Sequence[Path]], *, arches: Sequence[str]) -> None:
    """Look at every package of every codename, and name all that is wrong at once.

    Raises:
        PackageError: truncated, misnamed, of an architecture the repository does not have, or two versions of one.
        ConflictError: the same name with different content.
    """
    wrong = [line for files in debs.values() for path in files for line in _faults(path, arches)]
    if wrong:
        raise PackageError(
            f"{wrong[0]}{f' (and {len(wrong) - 1} more)' if len(wrong) > 1 else ''}",
            details="\n".join(wrong[1:]), hint=_REBUILD,
        )  # fmt: skip
    check_clashes([path for files in debs.values() for path in files])
    for codename, files in debs.items():
        _check_versions(codename, files)


def _faults(path: Path, arches: Sequence[str]) -> Iterator[str]:
    if fault := fault_of(path):
        yield f"{_shown(path)!r} is {fault}"
    match = _NAME.fullmatch(path.name)
    if match is None:
        yield f"{_shown(path)!r} is misnamed: not PACKAGE_VERSION_ARCH.deb"
    elif match["arch"] not in ("all", *arches):
        yield f"{_shown(path)!r} is for architecture {match['arch']!r}, and the repository has {', '.join(arches)}"


def check_clashes(files: Sequence[Path]) -> None:
    """Refuse two files of one name and different content: the pool is one for all codenames.

    Raises:
        ConflictError: naming both files and their digests.
    """
    named: defaultdict[str, list[Path]] = defaultdict(list)
    for path in files:
        named[path.name].append(path)
    for name, paths in named.items():
        digests = {sha256_of(path): path for path in paths} if len(paths) > 1 else {}
        if len(digests) > 1:
            raise ConflictError(
                f"{name!r} comes {len(digests)} times with different content",
                details="\n".join(f"{digest}  {_shown(path)}" for digest, path in digests.items()),
                hint="a new build needs a new version; packages that differ by release carry +deb11, +deb12, +deb13",
            )


def _check_versions(codename: str, files: Sequence[Path]) -> None:
    """One version of a package per codename: reprepro would keep the newer, and drop the other without a word."""
    first: dict[tuple[str, str], Path] = {}
    for path in files:
        name = DebName.parse(path.name)
        other = first.setdefault((name.package, name.arch), path)
        if other.name != path.name:
            raise PackageError(
                f"{codename!r} gets two versions of package {name.package!r}: {other.name!r} and {path.name!r}",
                details=f"{_shown(other)}\n{_shown(path)}", hint="leave the one to publish, and take the other away",
            )  # fmt: skip


def _shown(path: Path) -> str:
    """The file with its folder, which says the release."""
    return f"{path.parent.name}/{path.name}"
