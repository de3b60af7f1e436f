"""How far a transfer is: what the runner, a terminal and a log are told."""

import io
import logging
import sys
from pathlib import Path

import pytest

from common import transfer as module
from common.progress import FILE_VARIABLE, read
from common.transfer import describe, transfer


@pytest.mark.parametrize(
    ("done", "total", "rate", "wanted"),
    [
        (0, 2_000_000_000, 0.0, "0 bytes of 2.0 GB"),
        (800_000_000, 2_000_000_000, 80_000_000.0, "800.0 MB of 2.0 GB, 80.0 MB/s, 15 s left"),
        (0, 1_000_000, 1000.0, "0 bytes of 1.0 MB, 1.0 kB/s, 16:40 left"),
        (5, 5, 10.0, "5 bytes of 5 bytes, 10 bytes/s, 0 s left"),
    ],
)
def test_in_words(done: int, total: int, rate: float, wanted: str) -> None:
    assert describe(done, total, rate) == wanted


def test_a_runner_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FILE_VARIABLE, str(tmp_path / "p"))
    with transfer("Publish", 100) as told:
        told(40)
        told(60)
    progress = read(tmp_path / "p")
    assert progress is not None
    assert (progress.step, progress.done, progress.total, progress.unit) == ("Publish", 100, 100, "bytes")
    assert progress.rate > 0


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    clock = iter([0.0, 1.0, 9.0, 11.0, 12.0, 22.0])
    monkeypatch.setattr("common.transfer.time.monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), transfer("Publish", 1000) as told:
        for _ in range(5):
            told(100)
    assert [record.getMessage() for record in caplog.records] == [
        "Publish: 300 bytes of 1.0 kB, 27 bytes/s, 26 s left",
        "Publish: 500 bytes of 1.0 kB, 23 bytes/s, 22 s left",
    ]


def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(module, "_TOLD", 0.0)
    with transfer("Publish to gs://b", 2_000_000) as told:
        told(1_000_000)
        told(1_000_000)
    drawn = terminal.getvalue()
    assert "Publish to gs://b" in drawn
    assert "━" in drawn
    assert "2.0/2.0 MB" in drawn
