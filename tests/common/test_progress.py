"""Steps in the log, and the file a runner reads."""

import logging
from pathlib import Path

import pytest

from common.progress import FILE_VARIABLE, Progress, read, report, step


def test_a_step_says_what_begins_and_how_long_it_took(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), step("Make the root"):
        assert caplog.messages == ["Make the root ..."]
    assert caplog.messages[1].startswith("Make the root: 0.")


def test_a_step_that_fails_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO), pytest.raises(ZeroDivisionError), step("Divide"):
        _ = 1 / 0
    assert caplog.messages[1].startswith("Divide: failed after 0.")


def test_a_runner_reads_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress.json"
    assert read(file) is None
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    with step("Fetch"):
        assert read(file) == Progress("Fetch")
        report("Fetch", 3, 10, "packages")
        assert read(file) == Progress("Fetch", 3, 10, "packages")
    assert [path.name for path in tmp_path.iterdir()] == ["progress.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": "x", "colour": "red"}'])
def test_half_a_report_is_none(tmp_path: Path, content: str) -> None:
    (tmp_path / "p").write_text(content)
    assert read(tmp_path / "p") is None


def test_nobody_listens(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(FILE_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    report("Fetch", 1, 2)
    assert list(tmp_path.iterdir()) == []
