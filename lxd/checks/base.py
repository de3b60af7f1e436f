"""The list of checks, and what a check gets: a container in its situation, with what the run knows of it."""

import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from common.errors import CheckFailedError
from lxd import host
from lxd.about import About
from lxd.container import Container


class Situation(StrEnum):
    """What the container has: nothing of the host's; its mounts and a user; a GPU besides."""

    BARE = "bare"
    HOST = "host"
    GPU = "gpu"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What all containers of a run share.

    Attributes:
        about: what the image says of itself.
        repository: whether the signed apt repository of its milestone is served.
        url: of the server for the containers (lxd/repository.py), without a final slash.
        gateway: the host's address on the containers' bridge.
        machine_ids: the machine-id of each container so far, by its name.
        lock: to be held while machine_ids is used; each container has its own thread.
    """

    about: About = field(default_factory=About)
    repository: bool = False
    url: str = ""
    gateway: str = ""
    machine_ids: dict[str, str] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class Guest:
    """A container that has been started, as the checks see it."""

    root: Container
    situation: Situation
    run: Run = field(default_factory=Run)

    @property
    def user(self) -> Container:
        """The same container, its programs run by the host's user."""
        return self.root.as_user(host.UID)

    @property
    def about(self) -> About:
        """What the image says of itself."""
        return self.run.about


# What a check returns, if anything, is noted in the report.
Function = Callable[[Guest], str | None]


@dataclass(frozen=True, kw_only=True)
class Check:
    """A named check.

    Attributes:
        name: on the command line and in reports.
        summary: one sentence that says what the image has to do.
        situations: where it is run.
        function: raises CheckFailedError.
        needed: the checks after it are run after it, and skipped where it fails.
        alone: it is run while no other check is, after those before it in the list.
        after: names of checks that have to be run before it and to pass.
        releases, types: for which images it is; for all when empty.
        lacking: says why it cannot be done in this run, for which it is reported as skipped; empty when it can.
    """

    name: str
    summary: str
    situations: tuple[Situation, ...]
    function: Function
    needed: bool = False
    alone: bool = False
    after: tuple[str, ...] = ()
    releases: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    lacking: Callable[[Guest], str] = lambda _guest: ""

    def is_for(self, about: About) -> bool:
        """Whether it is for such an image. One that does not say what it is gets every check."""
        fits = not self.releases or not about.release or about.release in self.releases
        return fits and (not self.types or about.type in self.types)


CHECKS: list[Check] = []


def check(
    *situations: Situation,
    needed: bool = False,
    alone: bool = False,
    after: Collection[str] = (),
    releases: Collection[str] = (),
    types: Collection[str] = (),
    lacking: Callable[[Guest], str] = lambda _guest: "",
) -> Callable[[Function], Function]:
    """List a function as a check, run in these situations in the order of the list; its docstring is the summary."""

    def listed(function: Function) -> Function:
        CHECKS.append(
            Check(
                name=function.__name__.replace("_", "-"),
                summary=(function.__doc__ or "").strip().splitlines()[0],
                situations=situations,
                function=function,
                needed=needed,
                alone=alone,
                after=tuple(after),
                releases=tuple(releases),
                types=tuple(types),
                lacking=lacking,
            )
        )
        return function

    return listed


def fail_for(wrong: Collection[str], *, details: str = "", hint: str = "") -> None:
    """CheckFailedError that names everything that is wrong; nothing where nothing is."""
    if wrong:
        raise CheckFailedError("; ".join(wrong), details=details, hint=hint)


def difference(found: Mapping[str, str], wanted: Mapping[str, str]) -> list[str]:
    """What is not as it should be, one phrase each: `LANG is 'C', not 'en_US.UTF-8'`."""
    return [
        f"{name} is not set" if name not in found else f"{name} is {found[name]!r}, not {value!r}"
        for name, value in wanted.items()
        if found.get(name) != value
    ]
