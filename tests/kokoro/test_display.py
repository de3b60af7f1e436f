import io
import re

import pytest
from rich.console import Console

from common.branches import find_branch
from common.progress import Progress
from kokoro.display import LiveDisplay, PlainDisplay, seconds, size, summary, where
from kokoro.flows import CONTINUOUS, Job, Selection, read_flows
from kokoro.results import Result, State


def jobs() -> tuple[Job, ...]:
    selection = Selection.of(find_branch("main"), releases=["bookworm"], native_arch="amd64")
    return read_flows().jobs(CONTINUOUS, selection, only="apt_repo")


def result(job: Job, state: State) -> Result:
    return Result(job=job.name, state=state, seconds=12.5, artifacts=3, size=1_500_000)


def test_plain_lines_carry_the_time_and_a_step_is_said_once() -> None:
    out = io.StringIO()
    display = PlainDisplay(Console(file=out))
    first = jobs()[0]
    display.started(first, 90)
    for done in (1, 2, 3):
        display.progressed({first.short_name: Progress("Build bookworm", done, 3, "packages")})
    display.ended(result(first, State.PASSED))
    lines = out.getvalue().splitlines()
    assert [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in lines] == [
        "guest_tools: started, 1:30 last time",
        "guest_tools: Build bookworm",
        "guest_tools: passed in 12.5 s",
    ]
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines)


def test_a_transfer_is_said_again_every_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    display = PlainDisplay(Console(file=out))
    clock = [0.0]
    monkeypatch.setattr("kokoro.display.time.monotonic", lambda: clock[0])
    for now, done in ((0.0, 0), (5.0, 500), (10.0, 1000), (19.0, 1500)):
        clock[0] = now
        display.progressed({"publish": Progress("Publish", done, 4000, "bytes", rate=100.0)})
    lines = [re.sub(r"^\d\d:\d\d:\d\d ", "", line) for line in out.getvalue().splitlines()]
    assert lines == ["publish: Publish", "publish: Publish: 1.0 kB of 4.0 kB, 100 bytes/s, 30 s left"]


def test_a_terminal_has_one_line_a_job() -> None:
    out = io.StringIO()
    first, second = jobs()
    with LiveDisplay(Console(file=out, force_terminal=True, width=100), jobs()) as display:
        display.started(first, 60)
        display.progressed({first.short_name: Progress("Fetch packages", 5_000_000, 20_000_000, "bytes")})
        drawn = [str(line) for line in display._draw().renderables]
        display.ended(result(first, State.PASSED))
        later = [str(line) for line in display._draw().renderables]
    assert len(drawn) == 2
    assert "of about 1:00" in drawn[0]
    assert "Fetch packages: 5.0 MB of 20.0 MB" in drawn[0]
    assert drawn[1].split() == [second.short_name, "waiting"]
    assert later[0].split() == ["✔", "guest_tools", "passed", "12.5", "s"]


def test_the_summary_has_a_row_a_job() -> None:
    out = io.StringIO()
    first, second = jobs()
    results = {first.name: result(first, State.PASSED), second.name: result(second, State.FAILED)}
    Console(file=out, width=100).print(summary(results))
    rows = [line.split() for line in out.getvalue().splitlines()]
    assert rows == [
        ["job", "result", "seconds", "artifacts", "size"],
        ["guest_tools", "passed", "12.5", "3", "1.5", "MB"],
        ["apt_repo", "failed", "12.5"],
    ]


def test_numbers_for_people() -> None:
    assert [size(value) for value in (0, 999, 1500, 360_000_000, 1.2e9)] == [
        "0 B", "999 B", "1.5 kB", "360.0 MB", "1.2 GB",
    ]  # fmt: skip
    assert [seconds(value) for value in (0.04, 59.9, 60, 3601)] == ["0.0 s", "59.9 s", "1:00", "60:01"]
    assert where(Progress("Wait")) == "Wait"
    assert where(Progress("Include", 3, 60, "packages")) == "Include: 3 of 60 packages"
