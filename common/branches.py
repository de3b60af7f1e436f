"""The Chrome OS branches we build for: what their names say, and branches.toml, which lists the active ones."""

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from common.errors import ConfigError, UsageError
from common.files import ROOT
from common.milestones import FIRST
from common.settings import Table, nearest

BRANCHES_TOML = ROOT / "branches.toml"
MAIN = "main"
JOB_PREFIX = "cros-containers/crostini-guest"
RELEASES = ("bullseye", "bookworm", "trixie")
ARCHES = ("amd64", "arm64", "armhf", "i386")
IMAGE_TYPES = ("default", "test", "app_test")
# The keys that say what is built.
_AXES = ("releases", "arches", "image_arches", "image_types", "more_image_types")
Axis = Literal["release", "arch", "image arch", "image type"]

# release-R<milestone>-<build>.B, as Chrome OS's own branch tool makes it: "R72" of a branch cut at 11316.0.0.
_RELEASE_BRANCH = re.compile(r"release-R(?P<milestone>[1-9][0-9]*)-(?P<build>[1-9][0-9]*)\.B")
_REFUSED = {
    "factory": "a factory branch makes the image a device is tested with on its assembly line",
    "firmware": "a firmware branch makes the boot firmware of a board",
    "stabilize": "a stabilize branch tries one build out and has neither a milestone nor users of its own",
}


class Channel(StrEnum):
    """Where a branch is on its way to users; each channel has one branch at a time."""

    STABLE = "stable"
    BETA = "beta"
    DEV = "dev"
    CANARY = "canary"


@dataclass(frozen=True)
class BranchName:
    """What the name of a branch we can build says; both None for `main`, whose milestone moves."""

    name: str
    milestone: int | None = None
    build: int | None = None


@dataclass(frozen=True, kw_only=True)
class Branch:
    """An active branch and what is built from it.

    Attributes:
        name: `main` or `release-R72-11316.B`.
        channel: where it is today.
        milestone: the sub-directory of every bucket, and field 3 of its jobs' names.
        build: the Chrome OS build it was cut at (11316); None on main.
        releases: Debian releases.
        arches: architectures of the apt repository.
        image_arches: architectures images are made for, a part of `arches`.
        image_types: image types, each made on top of the one before.
        more_image_types: those that are made only when they are asked for by name.
    """

    name: str
    channel: Channel
    milestone: int
    build: int | None
    releases: tuple[str, ...]
    arches: tuple[str, ...]
    image_arches: tuple[str, ...]
    image_types: tuple[str, ...]
    more_image_types: tuple[str, ...] = ()

    @property
    def all_image_types(self) -> tuple[str, ...]:
        """Every image type it may have, those on request last."""
        return (*self.image_types, *self.more_image_types)

    def narrowed(self, axis: Axis, wanted: Sequence[str]) -> tuple[str, ...]:
        """The part of one axis of the matrix somebody asked for, in the order of branches.toml; all for nothing.

        Image types that are made on request are no part of that.

        Raises:
            UsageError: this branch does not have one of the values.
        """
        have = {
            "release": self.releases,
            "arch": self.arches,
            "image arch": self.image_arches,
            "image type": self.all_image_types,
        }[axis]
        for value in wanted:
            if value not in have:
                raise UsageError(f"unknown {axis} {value!r} for branch {self.name!r}", hint=nearest(value, have))
        if not wanted:
            return self.image_types if axis == "image type" else have
        return tuple(value for value in have if value in wanted)


def parse_name(text: str) -> BranchName:
    """Read the name of a branch that guests can be built from; `master` is main's older name.

    Raises:
        UsageError: a factory, firmware or stabilize branch, or no branch name at all.
    """
    if text in (MAIN, "master"):
        return BranchName(MAIN)
    if match := _RELEASE_BRANCH.fullmatch(text):
        return BranchName(text, int(match["milestone"]), int(match["build"]))
    kind = text.partition("-")[0]
    if "-" in text and kind in _REFUSED:
        raise UsageError(
            f"no guest is built from branch {text!r}: {_REFUSED[kind]}",
            hint=f"Chrome OS downloads its guests by milestone; {_active()}",
        )
    raise UsageError(f"unknown branch {text!r}", hint=_near(text))


def find_branch(name: str) -> Branch:
    """The active branch of that name.

    Raises:
        UsageError: it is not a branch we build from, or it is not active.
    """
    parsed = parse_name(name)
    for branch in active_branches():
        if branch.name == parsed.name:
            return branch
    raise UsageError(f"branch {name!r} is not active: branches.toml does not list it", hint=_near(name))


def branch_of_milestone(milestone: int) -> Branch:
    """The active branch of a milestone.

    Raises:
        UsageError: none is.
    """
    for branch in active_branches():
        if branch.milestone == milestone:
            return branch
    raise UsageError(f"no active branch has milestone {milestone!r}", hint=_active())


def active_branches() -> tuple[Branch, ...]:
    """What this checkout's branches.toml lists, oldest milestone first."""
    return _load_once(BRANCHES_TOML)


def jobs_table(builds: Sequence[str]) -> list[tuple[str, int, str]]:
    """One row for each job of the active branches: Kokoro job, milestone, Chrome OS branch."""
    return [
        (f"{JOB_PREFIX}/{branch.milestone}/{build}", branch.milestone, branch.name)
        for branch in active_branches()
        for build in builds
    ]


def load(path: Path) -> tuple[Branch, ...]:
    """Read a branches.toml.

    Raises:
        ConfigError: naming the file, table and key that is unknown, missing or contradicts another.
    """
    top = Table.of_file(path)
    top.refuse_unknown(("defaults", "branches"))
    defaults = top.table("defaults")
    defaults.refuse_unknown((*_AXES,))
    tables = top.table("branches")
    if not tables.keys():
        raise ConfigError(f"{path.name} lists no branch", hint="add a table [branches.main]")
    branches = [_read_branch(name, tables.table(name), defaults) for name in tables.keys()]  # noqa: SIM118, not a dict
    _refuse_twice(path.name, [(branch.name, "channel", branch.channel.value) for branch in branches])
    _refuse_twice(path.name, [(branch.name, "milestone", str(branch.milestone)) for branch in branches])
    return tuple(sorted(branches, key=lambda branch: branch.milestone))


@functools.cache
def _load_once(path: Path) -> tuple[Branch, ...]:
    return load(path)


def _read_branch(name: str, table: Table, defaults: Table) -> Branch:
    table.refuse_unknown(("channel", "milestone", *_AXES))
    match = _RELEASE_BRANCH.fullmatch(name)
    if name != MAIN and match is None:
        raise ConfigError(
            f"{table.where}: {name!r} is not a branch guests are built from",
            hint=f"{MAIN}, or like release-R72-11316.B",
        )
    milestone = table.number("milestone")
    if match and int(match["milestone"]) != milestone:
        raise ConfigError(
            f"{table.where}: milestone is {milestone}, but the name says {match['milestone']}",
            hint="correct one of the two",
        )

    if milestone < FIRST:
        raise ConfigError(
            f"{table.where}: milestone {milestone} has no containers", hint=f"{FIRST} was the first; remove the branch"
        )

    def words(key: str, choices: Sequence[str]) -> tuple[str, ...]:
        return (table if key in table else defaults).words(key, choices=choices)

    arches, image_types = words("arches", ARCHES), words("image_types", IMAGE_TYPES)
    on_request = "more_image_types"
    more = words(on_request, IMAGE_TYPES) if on_request in table or on_request in defaults else ()
    return Branch(
        name=name,
        channel=Channel(table.word("channel", choices=[channel.value for channel in Channel])),
        milestone=milestone,
        build=int(match["build"]) if match else None,
        releases=words("releases", RELEASES),
        arches=arches,
        image_arches=words("image_arches", arches),
        image_types=image_types,
        more_image_types=tuple(kind for kind in more if kind not in image_types),
    )


def _refuse_twice(file: str, values: Sequence[tuple[str, str, str]]) -> None:
    seen: dict[str, str] = {}
    for name, key, value in values:
        if value in seen:
            raise ConfigError(
                f"{file}: branches {seen[value]!r} and {name!r} both have {key} {value!r}",
                hint="correct one of the two",
            )
        seen[value] = name


def _active() -> str:
    return "active: " + ", ".join(f"{branch.name} ({branch.channel})" for branch in active_branches())


def _near(name: str) -> str:
    known = [branch.name for branch in active_branches()]
    guess = nearest(name, known).partition("known:")[0]
    return f"{guess}{_active()}"
