"""What flows.toml says: the builds and what each needs, the flows that join them, and the jobs of a branch."""

import functools
import graphlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from common.branches import JOB_PREFIX, Branch
from common.errors import ConfigError, UsageError
from common.settings import Table, nearest

FLOWS_TOML = Path(__file__).with_name("flows.toml")
CONTINUOUS = "continuous"


class Need(StrEnum):
    """What a build may have; it gets nothing else."""

    NETWORK = "network"
    ROOT = "root"
    LXD = "lxd"
    SIGNING_KEY = "signing-key"
    ATTESTATION_KEY = "attestation-key"
    BUCKET = "bucket"


class Axis(StrEnum):
    """What a build has one job each for."""

    ARCH = "arch"
    RELEASE = "release"


@dataclass(frozen=True, kw_only=True)
class Build:
    """One reusable step: kokoro/NAME.cfg + NAME.sh + NAME.py.

    Attributes:
        name: with underscores, as its files are called.
        summary: one line for `invoke --list`.
        sources: globs of the files it is built from.
        needs: what it may have.
        matrix: what it has one job each for.
    """

    name: str
    summary: str
    sources: tuple[str, ...]
    needs: frozenset[Need]
    matrix: tuple[Axis, ...]

    @property
    def task(self) -> str:
        """Its invoke task: `apt-repo`."""
        return self.name.replace("_", "-")


@dataclass(frozen=True, kw_only=True)
class Flow:
    """A graph of builds: each after those whose artifacts it gets."""

    name: str
    summary: str
    after: dict[str, tuple[str, ...]]

    def with_ancestors(self, build: str) -> frozenset[str]:
        """`build` and everything that has to run before it."""
        return frozenset({build}).union(*(self.with_ancestors(parent) for parent in self.after[build]))


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The part of a branch's matrix to build; every axis has at least one value."""

    branch: Branch
    releases: tuple[str, ...]
    arches: tuple[str, ...]
    image_arches: tuple[str, ...]
    image_types: tuple[str, ...]
    asked_arches: tuple[str, ...] = ()
    tarball: bool = False

    @classmethod
    def of(
        cls, branch: Branch, *, releases: Sequence[str] = (), arches: Sequence[str] = (),
        image_types: Sequence[str] = (), native_arch: str = "", tarball: bool = False,
    ) -> "Selection":  # fmt: skip
        """What a command line asked for. Without an architecture images are made for this machine's alone.

        Args:
            branch: an active branch.
            releases, arches, image_types: as given; nothing means all of the branch's.
            native_arch: this machine's architecture; "" makes images for all.
            tarball: whether images get a rootfs.tar.xz, too.

        Raises:
            UsageError: the branch does not have one of them.
        """
        branch.narrowed("arch", arches)
        images = tuple(arch for arch in branch.image_arches if arch in (arches or (native_arch or arch,)))
        without = [arch for arch in arches or (native_arch or images[0],) if arch not in images]
        if without:
            raise UsageError(
                f"branch {branch.name!r} has no images for {', '.join(without)}",
                hint=f"--arch {' or '.join(branch.image_arches)}",
            )
        return cls(
            branch=branch,
            releases=branch.narrowed("release", releases),
            # Whoever narrows the images still gets the whole repository: one that is missing an architecture
            # its clients ask for is a broken repository, not a smaller one.
            arches=branch.arches,
            image_arches=images,
            image_types=branch.narrowed("image type", image_types),
            asked_arches=tuple(arches),
            tarball=tarball,
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """A build for one branch, and where it has a matrix, for one value of each axis.

    Attributes:
        name: `cros-containers/crostini-guest/72/lxd_container_amd64_bookworm`.
        parents: the names of the jobs whose artifacts it gets.
        releases, arches, image_types: what it builds.
        asked_arches: the architectures of images that were asked for by name.
        tarball: whether images get a rootfs.tar.xz, too.
    """

    name: str
    build: Build
    parents: tuple[str, ...]
    branch: Branch
    releases: tuple[str, ...]
    arches: tuple[str, ...]
    image_types: tuple[str, ...]
    asked_arches: tuple[str, ...]
    tarball: bool = False

    @property
    def short_name(self) -> str:
        """The last field of its name, which its .cfg is called after."""
        return self.name.rsplit("/", 1)[-1]

    def command(self, *, out: Path | None = None) -> str:
        """What to type at a desk to run it again; `out` where that was not the usual one."""
        words = ["./run", "invoke", self.build.task, "--branch", self.branch.name]
        if self.releases != self.branch.releases:
            words += [word for release in self.releases for word in ("--release", release)]
        for arch in self.arches if Axis.ARCH in self.build.matrix else self.asked_arches:
            words += ["--arch", arch]
        if self.image_types != self.branch.image_types:
            words += [word for kind in self.image_types for word in ("--image-type", kind)]
        words += ["--tarball"] if self.tarball else []
        return shlex.join([*words, *(["--out", str(out)] if out else [])])


@dataclass(frozen=True, kw_only=True)
class Flows:
    """The whole of flows.toml."""

    builds: dict[str, Build]
    flows: dict[str, Flow]

    def flow(self, name: str) -> Flow:
        """The flow of that name. UsageError: there is none."""
        if name not in self.flows:
            raise UsageError(f"unknown flow {name!r}", hint=nearest(name, tuple(self.flows)))
        return self.flows[name]

    def flow_of(self, build: str) -> str:
        """The first flow that has a build. UsageError: none has."""
        for flow in self.flows.values():
            if build in flow.after:
                return flow.name
        raise UsageError(f"build {build!r} is in no flow", hint="add it to the jobs of a flow in kokoro/flows.toml")

    def build(self, name: str) -> Build:
        """The build of that name, with dashes or underscores. UsageError: there is none."""
        name = name.replace("-", "_")
        if name not in self.builds:
            raise UsageError(f"unknown build {name!r}", hint=nearest(name, tuple(self.builds)))
        return self.builds[name]

    def jobs(self, flow: str, selection: Selection, *, only: str = "") -> tuple[Job, ...]:
        """The jobs of a flow for a part of a branch's matrix, each after its parents.

        Args:
            flow: its name.
            selection: the branch and what of it.
            only: a build: then it and what it needs before it.
        """
        graph = self.flow(flow)
        wanted = graph.with_ancestors(only) if only else frozenset(graph.after)
        jobs: dict[str, tuple[Job, ...]] = {}
        for name in graphlib.TopologicalSorter(graph.after).static_order():
            if name in wanted:
                parents = [job for parent in graph.after[name] for job in jobs[parent]]
                jobs[name] = tuple(_expand(self.builds[name], parents, selection))
        return tuple(job for group in jobs.values() for job in group)


def _expand(build: Build, parents: Sequence[Job], selection: Selection) -> list[Job]:
    """One job for each value of the build's matrix."""
    milestone = selection.branch.milestone
    # A build of images has only the architectures images are made for.
    arches = selection.image_arches if Axis.ARCH in build.matrix else selection.arches
    jobs = []
    for arch_group in [(arch,) for arch in arches] if Axis.ARCH in build.matrix else [arches]:
        for release_group in (
            [(release,) for release in selection.releases] if Axis.RELEASE in build.matrix else [selection.releases]
        ):
            words = {Axis.ARCH: arch_group[0], Axis.RELEASE: release_group[0]}
            suffix = "".join(f"_{words[axis]}" for axis in build.matrix)
            jobs.append(
                Job(
                    name=f"{JOB_PREFIX}/{milestone}/{build.name}{suffix}",
                    build=build,
                    parents=tuple(parent.name for parent in parents),
                    branch=selection.branch,
                    releases=release_group,
                    arches=arch_group,
                    image_types=selection.image_types,
                    asked_arches=selection.asked_arches,
                    # Only what makes images has to do with it.
                    tarball=selection.tarball and Axis.ARCH in build.matrix,
                )
            )
    return jobs


@functools.cache
def read_flows(path: Path = FLOWS_TOML) -> Flows:
    """Read flows.toml.

    Raises:
        ConfigError: naming the table and key that is unknown, missing or does not fit another.
    """
    top = Table.of_file(path)
    top.refuse_unknown(("common", "builds", "flows"))
    common = top.table("common")
    common.refuse_unknown(("sources",))
    shared = common.texts("sources")
    tables = top.table("builds")
    builds = {name: _read_build(name, tables.table(name), shared) for name in tables.keys()}  # noqa: SIM118, not a dict
    flow_tables = top.table("flows")
    flows = {name: _read_flow(name, flow_tables.table(name), builds) for name in flow_tables.keys()}  # noqa: SIM118
    return Flows(builds=builds, flows=flows)


def _read_build(name: str, table: Table, shared: tuple[str, ...]) -> Build:
    table.refuse_unknown(("summary", "sources", "needs", "matrix"))
    return Build(
        name=name,
        summary=table.text("summary"),
        sources=shared + table.texts("sources"),
        needs=frozenset(Need(need) for need in _among(table, "needs", [need.value for need in Need])),
        matrix=tuple(Axis(axis) for axis in _among(table, "matrix", [axis.value for axis in Axis])),
    )


def _among(table: Table, key: str, choices: Sequence[str]) -> tuple[str, ...]:
    return table.words(key, choices=choices) if table.texts(key) else ()


def _read_flow(name: str, table: Table, builds: dict[str, Build]) -> Flow:
    table.refuse_unknown(("summary", "jobs"))
    jobs = table.table("jobs")
    jobs.refuse_unknown(tuple(builds))
    if not jobs.keys():
        raise ConfigError(f"{jobs.where}: a flow without jobs", hint="add a line BUILD = [] to it")
    after = {build: _among(jobs, build, tuple(builds)) for build in jobs.keys()}  # noqa: SIM118, not a dict
    for build, parents in after.items():
        for parent in parents:
            if parent not in after:
                raise ConfigError(f"{jobs.where}: {build!r} comes after {parent!r}, which is no job of this flow")
    try:
        graphlib.TopologicalSorter(after).prepare()
    except graphlib.CycleError as err:
        raise ConfigError(f"{jobs.where}: {' -> '.join(err.args[1])} is a circle", hint="take one edge out") from err
    return Flow(name=name, summary=table.text("summary"), after=after)
