"""The benchmark of false failures counts every run, and every one that failed."""

from pathlib import Path

from common.errors import CheckFailedError, CommandError
from lxd.report import FILE, Outcome, Report
from scripts.bench_flakiness import Series, measure, reason, table


def test_runs_that_fail_are_counted(tmp_path: Path) -> None:
    idle, busy = measure(tmp_path / "no.tar", tmp_path / "no.squashfs", tmp_path, runs=2)
    assert (idle.load, busy.load) == ("idle", "every core busy")
    for series in (idle, busy):
        assert len(series.seconds) == len(series.failures) == 2
        assert all("no.tar" in failure for failure in series.failures)


def test_the_checks_that_failed_are_named(tmp_path: Path) -> None:
    err = CommandError("lxd/test.py exited with 14", details="a journal\nerror: no such image\nhint: none")
    assert reason(err, tmp_path / FILE) == "error: no such image"
    outcomes = Outcome("bare", "one"), Outcome("gpu", "two", failure=CheckFailedError("it is broken"))
    Report(outcomes, 1.0).write(tmp_path)
    assert reason(err, tmp_path / FILE) == "two (boot.gpu)"


def test_the_table() -> None:
    said = table([Series("idle", (3.0, 1.0, 2.0), ()), Series("every core busy", (4.0,), ("sftp-serves (gpu)",))])
    assert said.splitlines()[2:] == [
        "| idle | 3 | 0 | 1.0 | 2.0 | 3.0 |",
        "| every core busy | 1 | 1 | 4.0 | 4.0 | 4.0 |",
        "",
        "- every core busy: sftp-serves (gpu)",
    ]
