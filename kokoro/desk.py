"""What the tasks do at a desk: parse what was asked for, and hand it to the runner, the server or the doctor."""

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from common.branches import find_branch, jobs_table
from common.errors import UsageError
from common.files import ROOT, write_atomically
from common.store import GCS, Storage, Store, parse_storage
from kokoro import env
from kokoro.flows import Build, Flow, Selection, read_flows


@dataclass(frozen=True)
class Matrix:
    """The words of a command line that choose a branch and narrow its matrix."""

    branch: str
    releases: Sequence[str]
    arches: Sequence[str]
    image_types: Sequence[str]
    tarball: bool = False

    @classmethod
    def of(
        cls,
        branch: str,
        releases: Sequence[str] | None,
        arches: Sequence[str] | None,
        image_types: Sequence[str] | None,
        *,
        tarball: bool = False,
    ) -> "Matrix":
        """As a command line gives them: None for a flag that was not given."""
        return cls(branch, releases or (), arches or (), image_types or (), tarball)

    def selection(self) -> Selection:
        """What they mean. UsageError: no branch, or one of them is unknown."""
        from common.mirror import native_arch

        if not self.branch:
            raise UsageError(
                "no branch is named", hint="--branch release-R72-11316.B (./run invoke branches lists them)"
            )
        return Selection.of(
            find_branch(self.branch), releases=self.releases, arches=self.arches,
            image_types=self.image_types, native_arch=native_arch(), tarball=self.tarball,
        )  # fmt: skip


def build(build: Build, *, matrix: Matrix, deps: bool, force: bool, parallel: int, out: str, storage: str = "") -> None:
    """Run one build: as itself where Kokoro's environment says so, else through the local runner."""
    environ = env.environment()
    if env.is_kokoro(environ):
        from kokoro.entry import run_build

        if force or parallel or out or not deps:
            raise UsageError(
                "--force, --jobs, --out and --no-deps are for the local runner, and KOKORO_ARTIFACTS_DIR is set",
                hint="unset KOKORO_ARTIFACTS_DIR, or leave the flags out",
            )
        if storage and parse_storage(storage) is not Storage.GCS:
            raise UsageError(
                f"--storage {storage} is for the local runner, and KOKORO_ARTIFACTS_DIR is set",
                hint=f"CROS_STORE in the .cfg says where the buckets are ({GCS}, or a directory)",
            )
        said = {
            "BRANCH": matrix.branch, "RELEASES": " ".join(matrix.releases), "ARCHES": " ".join(matrix.arches),
            "IMAGE_TYPES": " ".join(matrix.image_types),
            "TARBALL": "1" if matrix.tarball else "",
            env.STORE_VARIABLE: GCS if storage else "",
        }  # fmt: skip
        run_build(build.name, {**environ, **{name: value for name, value in said.items() if value}})
        return
    _run(read_flows().flow_of(build.name), matrix, only=build.name, deps=deps, force=force, parallel=parallel, out=out,
         storage=storage)  # fmt: skip


def flow(flow: Flow, *, matrix: Matrix, force: bool, parallel: int, out: str, storage: str = "") -> None:
    """Run a whole flow through the local runner."""
    _run(flow.name, matrix, only="", deps=True, force=force, parallel=parallel, out=out, storage=storage)


def _run(
    name: str, matrix: Matrix, *, only: str, deps: bool, force: bool, parallel: int, out: str, storage: str
) -> None:
    from kokoro import runner  # not at the top: it brings in what a build's own process has no use for
    from kokoro.buckets import Access
    from kokoro.results import Out

    if parallel < 0:
        raise UsageError(f"--jobs {parallel} is below 0", hint="0 means as many as there are processors")
    request = runner.Request(
        flow=name, selection=matrix.selection(), only=only, deps=deps, force=force,
        parallel=parallel or os.cpu_count() or 1, out=out_directory(out),
        access=Access.of(storage or Storage.DIRECTORY, Out(out_directory(out)), env.environment()),
    )  # fmt: skip
    runner.run(request, Console())


def out_directory(text: str) -> Path:
    """What --out means: out/ of the checkout without it."""
    return Path(text).absolute() if text else ROOT / "out"


def store_of(storage: str, out: str) -> Store:
    """What --storage and --out mean. UsageError: an unknown storage."""
    return Store() if parse_storage(storage) is Storage.GCS else Store(out_directory(out) / "gs")


def print_branches(builds: Sequence[str]) -> None:
    """Print the table of jobs of the active branches."""
    flows = read_flows()
    wanted = [flows.build(name).name for name in builds] or list(flows.builds)
    table = Table(box=box.MARKDOWN)
    for title in ("Kokoro job", "Milestone", "Chrome OS Branch"):
        table.add_column(title, no_wrap=True)
    for job, milestone, name in jobs_table(wanted):
        table.add_row(job, str(milestone), name)
    Console(width=160).print(table)


def print_graph(output: Path | None) -> None:
    """Draw every flow into a file, or to stdout."""
    from kokoro import graph

    svg = graph.of_flows(read_flows())
    if output is None:
        sys.stdout.write(svg)
    else:
        write_atomically(output, svg)


def serve(out: str, *, http: int, https: int) -> None:
    """Serve the buckets until interrupted."""
    from common import serve as server

    store = out_directory(out) / "gs"
    if not store.is_dir():
        raise UsageError(
            f"there is nothing to serve in {str(store)!r}", hint="./run invoke continuous --branch ... first"
        )
    server.serve_forever(store, state=store.parent / "keys" / "serve", http_port=http, https_port=https)


def clean(out: str, *, keys: bool) -> None:
    """Remove what runs made."""
    from kokoro.runner import LOCK, locked

    directory = out_directory(out)
    if not (directory / LOCK).exists():
        raise UsageError(f"{str(directory)!r} is no directory that a run has made", hint="--out DIR names another one")
    with locked(directory):
        for name in ("work", "jobs", "gs", "cache", "report", "lxd_test", *(["keys"] if keys else [])):
            if (directory / name).exists():
                shutil.rmtree(directory / name)
    print(f"removed what was made in {directory}" + ("" if keys else "; its keys stay (--keys removes them too)"))
