"""An apt repository made by reprepro, in one batch per codename, in a fresh directory that an error throws away.

How reprepro 5.3.1 behaves is in docs/apt.md: it skips an older version with exit code 0, exports nothing after one bad
package, and needs about 40 ms for every call; so it is called once, and what it made is checked.
"""

import logging
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from common import tools
from common.debfiles import DebName, check_packages
from common.errors import BusyError, CommandError, ConfigError, ConflictError, PackageError
from common.files import secret_parent, workspace

log = logging.getLogger(__name__)

TIMEOUT = 1800.0  # seconds for one batch
ARGUMENT_BYTES = 1_000_000  # of one command line; Linux takes 2 MiB with the environment
_EXITED = re.compile(r"exited with (\d+)")
_LOCKED, _CONFLICT = 239, 254
DEFAULTS = {"Section": ("-S", "misc"), "Priority": ("-P", "optional")}


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """One codename of the repository: a paragraph of reprepro's conf/distributions.

    Origin, Label and Codename may never change: `apt-get update` refuses a repository that does. Suite may.
    """

    codename: str
    arches: tuple[str, ...]
    origin: str = "Google"
    label: str = "cros-containers"
    suite: str = "stable"
    components: tuple[str, ...] = ("main",)
    description: str = "Packages of the Linux container of Chrome OS"

    def __post_init__(self) -> None:
        """Refuse what would make another field out of a value. ConfigError names it."""
        for value in (
            self.codename,
            self.origin,
            self.label,
            self.suite,
            self.description,
            *self.arches,
            *self.components,
        ):
            if not value.strip() or any(mark in value for mark in "\n\r#"):
                raise ConfigError(f"{value!r} cannot be a field of an apt repository", hint="write it on one line")

    def paragraph(self) -> str:
        """As conf/distributions has it."""
        fields = {
            "Origin": self.origin,
            "Label": self.label,
            "Suite": self.suite,
            "Codename": self.codename,
            "Architectures": " ".join(self.arches),
            "Components": " ".join(self.components),
            "Description": self.description,
        }
        return "".join(f"{name}: {value}\n" for name, value in fields.items())


def make_repository(out: Path, distributions: Sequence[Distribution], debs: Mapping[str, Sequence[Path]]) -> None:
    """Make `out`/dists and `out`/pool.

    Args:
        out: must not exist; appears complete or not at all.
        distributions: the codenames.
        debs: the packages of each codename.

    Raises:
        PackageError, ConflictError: about a package, before anything is made where its file tells.
        BusyError, CommandError, DiskFullError: from reprepro.
    """
    check_packages(debs, arches=distributions[0].arches)
    unique = {codename: list({path.name: path for path in files}.values()) for codename, files in debs.items()}
    try:
        _attempt(out, distributions, {codename: [([], files)] for codename, files in unique.items()})
    except CommandError as err:
        groups = _explained(err, unique)
        _attempt(out, distributions, groups)


Groups = Mapping[str, Sequence[tuple[Sequence[str], Sequence[Path]]]]


def _attempt(out: Path, distributions: Sequence[Distribution], groups: Groups) -> None:
    """Include each codename's packages, each group with its own options, and check what came out."""
    with workspace(".reprepro", parent=out.parent) as base, workspace("reprepro", parent=secret_parent()) as db:
        (base / "conf").mkdir()
        (base / "conf" / "distributions").write_text("\n".join(each.paragraph() for each in distributions))
        call: list[tools.Arg] = [
            *([] if secret_parent() else ["eatmydata"]),  # a database in memory syncs for nothing
            "reprepro", "--silent",
            "--basedir", base,
            "--outdir", base / "out",
            "--dbdir", db,
        ]  # fmt: skip
        for each in distributions:
            for options, files in groups[each.codename]:
                for batch in batches(files, limit=ARGUMENT_BYTES):
                    tools.run([*call, *options, "includedeb", each.codename, *batch], timeout=TIMEOUT, quiet=True)
            listed = tools.capture([*call, "--list-format", r"${$architecture} ${$basename}\n", "list", each.codename])
            check_listed(each, [path for _, files in groups[each.codename] for path in files], listed)
        (base / "out").rename(out)


def batches(files: Sequence[Path], *, limit: int) -> Iterator[list[Path]]:
    """Split `files` into command lines of at most `limit` bytes (more where one path alone is longer)."""
    batch: list[Path] = []
    size = 0
    for path in files:
        length = len(bytes(path)) + 1 + 8  # its final NUL, and its pointer
        if batch and size + length > limit:
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += length
    if batch:
        yield batch


def check_listed(distribution: Distribution, files: Sequence[Path], listed: str) -> None:
    """Compare what a codename should hold with what reprepro lists, "ARCH FILE" a line, named by the control files.

    Raises:
        PackageError: naming the misnamed or skipped ones.
    """
    have = {(words[0], words[-1]) for words in map(str.split, listed.splitlines()) if words}
    want = set()
    for path in files:
        arch = DebName.parse(path.name).arch
        want |= {(each, path.name) for each in (distribution.arches if arch == "all" else (arch,))}
    missing, extra = ({name for _, name in pairs} for pairs in (want - have, have - want))
    if missing or extra:
        raise PackageError(
            f"misnamed or skipped in {distribution.codename!r}: {', '.join(map(repr, sorted(missing))) or 'none'}",
            details=f"by their control files they are {', '.join(sorted(extra)) or 'older than what is there'}",
            hint="a package's file is PACKAGE_VERSION_ARCH.deb, as its control file says, without the epoch",
        )


def _explained(err: CommandError, debs: Mapping[str, Sequence[Path]]) -> Groups:
    """Find the reason of a failed batch: raise it, or group the packages by the options they need.

    Reading every control file is slow, and only done here.
    """
    code = int(found.group(1)) if (found := _EXITED.search(err.what)) else 0
    if code == _LOCKED:
        raise BusyError(
            "another reprepro holds the database", details=err.details, hint="run the same command again"
        ) from err
    groups: dict[str, list[tuple[list[str], list[Path]]]] = {}
    for codename, files in debs.items():
        by_options: defaultdict[tuple[str, ...], list[Path]] = defaultdict(list)
        for path in files:
            by_options[_options_for(path)].append(path)
        groups[codename] = [(list(options), paths) for options, paths in by_options.items()]
    if code == _CONFLICT:
        raise ConflictError("a package is in the repository with other content", details=err.details) from err
    if not any(options for each in groups.values() for options, _ in each):
        raise err
    return groups


def _options_for(path: Path) -> tuple[str, ...]:
    """What reprepro has to be told about a package whose control file lacks it.

    Raises:
        PackageError: the control file cannot be read, or is another package's.
    """
    from debian.debfile import DebError, DebFile  # slow to import, and only needed here

    try:
        with DebFile(path) as deb:
            control = deb.debcontrol()
        version = control["Version"].partition(":")[2] or control["Version"]
        named = str(DebName(control["Package"], version, control["Architecture"]))
    except (DebError, OSError, ValueError, KeyError, EOFError) as err:
        raise PackageError(
            f"the control file of {path.name!r} cannot be read: {err}", hint="build the package again"
        ) from err
    if named != path.name:
        raise PackageError(
            f"{path.name!r} is misnamed: by its control file it is {named!r}", hint="rename or rebuild it"
        )
    lacking = [field for field in DEFAULTS if field not in control]
    for field in lacking:
        log.warning("%s has no %s field: taken as %r", path.name, field, DEFAULTS[field][1])
    return tuple(word for field in lacking for word in DEFAULTS[field])
