"""What a person sees of a run: one live line a job on a terminal, timed plain lines everywhere else."""

import time
from collections.abc import Mapping
from datetime import datetime
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from common.progress import Progress
from common.transfer import describe
from kokoro.flows import Job
from kokoro.results import Result, State

STYLES = {
    State.PASSED: "green",
    State.UNCHANGED: "dim green",
    State.FAILED: "bold red",
    State.TIMED_OUT: "bold red",
    State.INTERRUPTED: "yellow",
    State.SKIPPED: "yellow",
}
MARKS = {
    State.PASSED: "✔", State.UNCHANGED: "=", State.FAILED: "✘", State.TIMED_OUT: "✘",
    State.INTERRUPTED: "!", State.SKIPPED: "-",
}  # fmt: skip

AGAIN = 10.0  # seconds between two lines about how far a transfer is


class Display(Protocol):
    """Told what happens to the jobs, from the main thread alone."""

    def started(self, job: Job, expected: float) -> None:
        """A job begins; it took `expected` seconds last time, 0 for unknown."""

    def progressed(self, running: Mapping[str, Progress]) -> None:
        """Called several times a second with where the running jobs are."""

    def ended(self, result: Result) -> None:
        """A job is over."""


def size(count: float) -> str:
    """A number of bytes for people: `1.4 GB`."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def seconds(value: float) -> str:
    """A duration for people: `42.0 s`, `3:07`."""
    return f"{value:.1f} s" if value < 60 else f"{int(value) // 60}:{int(value) % 60:02d}"


def where(progress: Progress) -> str:
    """A step and how far it is."""
    if not progress.total:
        return progress.step
    if progress.unit == "bytes":
        return f"{progress.step}: {describe(progress.done, progress.total, progress.rate)}"
    return f"{progress.step}: {progress.done} of {progress.total} {progress.unit}"


class PlainDisplay:
    """A line with the time for each thing that happens; for CI, pipes and logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._steps: dict[str, str] = {}
        self._said: dict[str, float] = {}

    def _say(self, text: str) -> None:
        now = datetime.now().astimezone()
        self._console.print(f"{now:%H:%M:%S} {text}", markup=False, highlight=False, soft_wrap=True)

    def started(self, job: Job, expected: float) -> None:
        self._say(f"{job.short_name}: started{f', {seconds(expected)} last time' if expected else ''}")

    def progressed(self, running: Mapping[str, Progress]) -> None:
        for name, progress in running.items():
            now = time.monotonic()
            if self._steps.get(name) != progress.step:
                self._steps[name] = progress.step
                self._said[name] = now
                self._say(f"{name}: {progress.step}")
            elif progress.rate and now - self._said[name] >= AGAIN:
                self._said[name] = now
                self._say(f"{name}: {where(progress)}")

    def ended(self, result: Result) -> None:
        took = f" in {seconds(result.seconds)}" if result.state is State.PASSED else ""
        self._say(f"{result.short_name}: {result.state}{took}")


class LiveDisplay:
    """One line a job, redrawn in place; a context manager."""

    def __init__(self, console: Console, jobs: tuple[Job, ...]) -> None:
        self._jobs = jobs
        self._started: dict[str, float] = {}
        self._expected: dict[str, float] = {}
        self._progress: Mapping[str, Progress] = {}
        self._results: dict[str, Result] = {}
        self._live = Live(get_renderable=self._draw, console=console, refresh_per_second=5, transient=True)

    def __enter__(self) -> "LiveDisplay":
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def started(self, job: Job, expected: float) -> None:
        self._started[job.short_name] = time.monotonic()
        self._expected[job.short_name] = expected

    def progressed(self, running: Mapping[str, Progress]) -> None:
        self._progress = dict(running)

    def ended(self, result: Result) -> None:
        self._results[result.short_name] = result

    def _draw(self) -> Group:
        return Group(*(self._line(job.short_name) for job in self._jobs))

    def _line(self, name: str) -> Text:
        if name in self._results:
            result = self._results[name]
            took = "" if result.state is State.UNCHANGED else seconds(result.seconds)
            return Text(f" {MARKS[result.state]} {name:<32} {result.state:<12} {took}", style=STYLES[result.state])
        if name not in self._started:
            return Text(f"   {name:<32} waiting", style="dim")
        elapsed, expected = time.monotonic() - self._started[name], self._expected[name]
        clock = seconds(elapsed) + (f" of about {seconds(expected)}" if expected else "")
        step = where(self._progress[name]) if name in self._progress else ""
        return Text(f" ▶ {name:<32} {clock:<24} {step}", style="cyan", no_wrap=True, overflow="ellipsis")


def summary(results: Mapping[str, Result]) -> Table:
    """The table at the end of a run."""
    table = Table(box=None, pad_edge=False)
    table.add_column("job")
    table.add_column("result")
    for column in ("seconds", "artifacts", "size"):
        table.add_column(column, justify="right")
    for result in results.values():
        good = result.state.good
        table.add_row(
            result.short_name,
            Text(result.state, style=STYLES[result.state]),
            f"{result.seconds:.1f}" if result.seconds else "",
            str(result.artifacts) if good else "",
            size(result.size) if good else "",
        )
    return table
