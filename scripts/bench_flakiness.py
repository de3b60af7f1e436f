"""How often the boot checks of a good image fail, run after run: on an idle machine, and with every core busy."""

import contextlib
import os
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from common import tools
from common.errors import ReleaseError
from common.files import ROOT, workspace
from common.progress import step
from lxd.report import FILE

RUNS = 30
_ENDLESS = ("sh", "-c", "while :; do :; done")


@dataclass(frozen=True)
class Series:
    """Runs under one load: the wall seconds of each, and what those that failed said."""

    load: str
    seconds: tuple[float, ...]
    failures: tuple[str, ...]


def measure(metadata: Path, rootfs: Path, repository: Path, *, runs: int = RUNS) -> list[Series]:
    """Run the boot checks of an image so many times on the machine as it is, and as often with every core busy."""
    return [
        _series("idle", metadata, rootfs, repository, runs),
        _series("every core busy", metadata, rootfs, repository, runs),
    ]


def _series(load: str, metadata: Path, rootfs: Path, repository: Path, runs: int) -> Series:
    seconds, failures = [], []
    with workspace("bench-flakiness") as results, _busy(os.cpu_count() or 1 if load != "idle" else 0):
        argv: list[tools.Arg] = [
            sys.executable, ROOT / "lxd" / "test.py", results, metadata, rootfs, "--repository", repository,
        ]  # fmt: skip
        for number in range(1, runs + 1):
            (results / FILE).unlink(missing_ok=True)
            begun = time.monotonic()
            with contextlib.suppress(ReleaseError), step(f"Boot checks, {load}, {number} of {runs}"):
                try:
                    tools.run(argv, quiet=True, timeout=1800)
                except ReleaseError as err:
                    failures.append(reason(err, results / FILE))
                    raise
            seconds.append(time.monotonic() - begun)
    return Series(load, tuple(seconds), tuple(failures))


def reason(err: ReleaseError, report: Path) -> str:
    """Which checks failed, or what else went wrong."""
    if not report.exists():
        return next((line for line in err.details.splitlines() if line.startswith("error: ")), err.what)
    cases = [case for case in ElementTree.parse(report).iter("testcase") if case.find("failure") is not None]
    return ", ".join(f"{case.get('name')} ({case.get('classname')})" for case in cases)


@contextlib.contextmanager
def _busy(cores: int) -> Iterator[None]:
    """So many processes that compute without end."""
    with contextlib.ExitStack() as stack:
        for _ in range(cores):
            stack.enter_context(tools.started(_ENDLESS))
        yield


def table(series: list[Series]) -> str:
    """As docs/benchmarks.md has it, with what failed below."""
    lines = [
        "| machine | runs | failed | shortest, s | median, s | longest, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for each in series:
        times = f"{min(each.seconds):.1f} | {statistics.median(each.seconds):.1f} | {max(each.seconds):.1f}"
        lines.append(f"| {each.load} | {len(each.seconds)} | {len(each.failures)} | {times} |")
    failed = [f"- {each.load}: {failure}" for each in series for failure in each.failures]
    return "\n".join([*lines, *(["", *failed] if failed else [])])
