"""The local runner: a flow's jobs on this machine, in parallel where they can be, as Kokoro would run them."""

import concurrent.futures
import contextlib
import fcntl
import graphlib
import os
import signal
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console

from common import progress
from common.errors import BusyError, CommandError, ConfigError, NotRootError, ReleaseError
from common.files import ROOT
from common.milestones import url_of
from common.store import Storage
from kokoro import job as one_job
from kokoro import report
from kokoro.buckets import Access
from kokoro.config import BuildConfig, load
from kokoro.display import Display, LiveDisplay, PlainDisplay, summary
from kokoro.flows import Job, Need, Selection, read_flows
from kokoro.results import Out, Result, State
from kokoro.sources import Tree

LOCK = ".lock"


@dataclass(frozen=True, kw_only=True)
class Request:
    """What somebody at a desk asked for.

    Attributes:
        flow: which flow.
        selection: the branch, and what of it.
        only: a build, to run it and what it needs; "" for the whole flow.
        deps: whether `only` may first make what it misses.
        force: run even what has not changed.
        parallel: how many jobs at once.
        out: where everything goes.
        access: the store of buckets; the directory under `out` without it.
    """

    flow: str
    selection: Selection
    only: str = ""
    deps: bool = True
    force: bool = False
    parallel: int = 2
    out: Path = ROOT / "out"
    access: Access | None = None


def run(request: Request, console: Console) -> None:
    """Run it, show it, and sum it up.

    Raises:
        ReleaseError: something is wrong before any work, or a job failed: with that job's exit code.
    """
    jobs = read_flows().jobs(request.flow, request.selection, only=request.only)
    out = Out(request.out.absolute())
    if not request.deps:
        jobs = _alone(jobs, request, out)
    configs = preflight(jobs)
    with locked(out.root), _stoppable() as stopping:
        one_job.sweep(out)
        tree = Tree(ROOT)
        globs = {glob for job in jobs for glob in job.build.sources}
        tree.freeze(out.root / "work" / "sources", tree.select(sorted(globs)))
        if tree.shallow():
            console.print(
                "this clone is shallow: versions and dates may differ from a whole one's (git fetch --unshallow)"
            )
        access = request.access or Access.of(Storage.DIRECTORY, out, {})
        runner = one_job.Runner(
            tree=tree, out=out, access=access, root=os.geteuid() == 0, force=request.force, stopping=stopping
        )
        with _display(console, jobs) as display:
            results = _run_all(jobs, configs, runner, display, request.parallel)
        one_job.sweep(out)
        _sum_up(request, jobs, results, out, access, console)
    if stopping.is_set():
        raise KeyboardInterrupt
    _raise_first_failure(results)


def _alone(jobs: tuple[Job, ...], request: Request, out: Out) -> tuple[Job, ...]:
    """The jobs of the one build asked for. ArtifactError: something it needs is not there."""
    alone = tuple(job for job in jobs if job.build.name == request.only)
    for job in alone:
        parents = [parent for parent in jobs if parent.name in job.parents]
        if missing := one_job.artifacts_missing(job, parents, out):
            raise missing
    return alone


def preflight(jobs: tuple[Job, ...]) -> dict[str, BuildConfig]:
    """Every job's .cfg, read; all that is wrong is said at once, before any work.

    Raises:
        ConfigError: a .cfg is missing or does not parse.
        NotRootError: a job needs root and we are not.
    """
    wrong, configs = [], {}
    for job in jobs:
        try:
            configs[job.name] = load(ROOT / "kokoro" / f"{job.short_name}.cfg")
        except ConfigError as err:
            wrong.append(err)
    if wrong:
        rest = "\n".join(err.what for err in wrong[1:])
        raise ConfigError(wrong[0].what, details="\n".join(filter(None, [wrong[0].details, rest])), hint=wrong[0].hint)
    need_root = sorted({job.short_name for job in jobs if Need.ROOT in job.build.needs})
    if need_root and os.geteuid() != 0:
        raise NotRootError(
            f"{', '.join(need_root)}: only root can make file systems", hint="run the same command with sudo"
        )
    return configs


def _run_all(
    jobs: tuple[Job, ...], configs: Mapping[str, BuildConfig], runner: one_job.Runner, display: Display, parallel: int
) -> dict[str, Result]:
    """Run every job after its parents; whose parent failed is skipped."""
    by_name = {job.name: job for job in jobs}
    order = graphlib.TopologicalSorter(
        {job.name: [parent for parent in job.parents if parent in by_name] for job in jobs}
    )
    order.prepare()
    results: dict[str, Result] = {}
    running: dict[concurrent.futures.Future[Result], Job] = {}
    ready: list[Job] = []
    with concurrent.futures.ThreadPoolExecutor(parallel) as pool:
        while order.is_active():
            ready += [by_name[name] for name in order.get_ready()]
            for job in list(ready):
                if skipped := _skipped(job, results, runner.stopping):
                    ready.remove(job)
                    _note(skipped, results, order, display)
                elif len(running) < parallel:
                    ready.remove(job)
                    before = runner.out.place(job.name).read_result()
                    display.started(job, before.seconds if before and before.state.good else 0.0)
                    running[pool.submit(runner.run, job, configs[job.name])] = job
            done, _ = concurrent.futures.wait(running, timeout=0.2, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in done:
                del running[future]
                _note(future.result(), results, order, display)
            display.progressed(dict(_where(running.values(), runner.out)))
    return {job.name: results[job.name] for job in jobs}


def _note(
    result: Result, results: dict[str, Result], order: "graphlib.TopologicalSorter[str]", display: Display
) -> None:
    results[result.job] = result
    order.done(result.job)
    display.ended(result)


def _skipped(job: Job, results: Mapping[str, Result], stopping: threading.Event) -> Result | None:
    bad = [results[parent].short_name for parent in job.parents if parent in results and not results[parent].state.good]
    if bad or stopping.is_set():
        why = f"{', '.join(bad)} did not pass" if bad else "the run was interrupted"
        return Result(job=job.name, state=State.SKIPPED, message=why, command=job.command())
    return None


def _where(jobs: Iterable[Job], out: Out) -> Iterator[tuple[str, progress.Progress]]:
    for job in jobs:
        if now := progress.read(out.work(job) / "progress.json"):
            yield job.short_name, now


@contextlib.contextmanager
def _display(console: Console, jobs: tuple[Job, ...]) -> Iterator[Display]:
    if console.is_terminal:
        with LiveDisplay(console, jobs) as live:
            yield live
    else:
        yield PlainDisplay(console)


def _sum_up(
    request: Request, jobs: tuple[Job, ...], results: Mapping[str, Result], out: Out, access: Access, console: Console
) -> None:
    branch = request.selection.branch
    good = [out.place(job.name) for job in jobs if results[job.name].state.good]
    buckets = {name.split("/")[0] for place in good for name in place.published().pointers}
    urls = sorted(url_of(f"gs://{bucket}", branch.milestone) for bucket in buckets)
    console.print()
    console.print(summary(results))
    for url in urls:
        where = f"  ->  {access.store.root / url.removeprefix('gs://')}" if access.store.root else ""
        console.print(f"{url}{where}", soft_wrap=True, highlight=False)
    page = report.write(f"{request.only or request.flow} of {branch.name}", jobs, results, urls, out)
    console.print(f"report: {page}", soft_wrap=True, highlight=False)


def _raise_first_failure(results: Mapping[str, Result]) -> None:
    """A run fails with the exit code of its first failed job, so that a caller can tell kinds apart."""
    bad = [result for result in results.values() if result.state in (State.FAILED, State.TIMED_OUT)]
    if bad:
        first, *others = bad
        rest = [f"\n{other.short_name} {other.state}\n{other.message}\nagain: {other.command}" for other in others]
        err = ReleaseError(
            f"{first.short_name} {first.state}",
            details="\n".join([first.message, *rest]),
            hint=f"again: {first.command}",
        )
        err.exit_code = first.exit_code if first.exit_code > 0 else CommandError.exit_code
        raise err


@contextlib.contextmanager
def locked(directory: Path) -> Iterator[None]:
    """Only one run at a time in one out/. BusyError names the other."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / LOCK).open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            lock.seek(0)
            raise BusyError(
                f"process {lock.read().strip() or '?'} already works in {str(directory)!r}",
                hint="wait for it, or use another directory: --out DIR",
            ) from err
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@contextlib.contextmanager
def _stoppable() -> Iterator[threading.Event]:
    """SIGINT, SIGTERM and SIGHUP set the event; the jobs end themselves cleanly and the run is summed up."""
    stopping = threading.Event()

    def stop(_signum: int, _frame: FrameType | None) -> None:
        stopping.set()

    signums = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {signum: signal.signal(signum, stop) for signum in signums}
    try:
        yield stopping
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
