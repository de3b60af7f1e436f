"""`invoke tast-run`: the command line Tast gets, the static data it sees, and how each of its ends is told."""

import datetime as dt
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import (
    CheckFailedError,
    CommandError,
    ConfigError,
    DeadlineError,
    NetworkError,
    ReleaseError,
    ToolMissingError,
    UsageError,
)
from common.evidence import read_note
from common.external import Pin
from common.tast_suites import find_suite
from scripts import tast_run
from scripts.tast_run import check_host, command, failure, run
from tests.common.tastparts import PFQ
from tests.scripts.tastchecks import DATA, OLD_PIN, fake_tast, git, publish, snapshot, tast_tests

LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)  # what the program `tast` leaves is from now
Run = Callable[..., None]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def tast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory first on PATH with a program `tast`."""
    bindir = fake_tast(tmp_path / "bin")
    monkeypatch.setenv("PATH", f"{bindir}:{os.environ['PATH']}")
    return bindir


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    return tast_tests(tmp_path)


@pytest.fixture
def tried(out: Path, checkout: Path, tmp_path: Path) -> Run:
    """Run the pfq suite with a snapshot of the images that are published, unless told otherwise."""
    made = snapshot(publish(out), created=LONG_AGO)

    def tried(**arguments: object) -> None:
        usual = {"suite": "pfq", "snapshot": made, "host": "root@dut1:22", "tast_tests": str(checkout),
                 "results": str(tmp_path / "results"), "milestone": 0, "plan": False, "out": str(out),
                 "storage": "directory"}  # fmt: skip
        run(**{**usual, **arguments})  # type: ignore[arg-type]

    return tried


def test_a_green_run(
    tried: Run, tast: Path, tmp_path: Path, checkout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tried()
    assert "pfq is green; to attach it: ./run invoke tast-record --suite pfq --snapshot" in capsys.readouterr().out
    words = json.loads((tast / "calls").read_text())
    suite = find_suite("pfq")
    workspace = words[3].removeprefix("-buildworkspace=")
    assert words == [
        "run", f"-resultsdir={tmp_path / 'results'}", f"-timeout={suite.deadline_mins * 60}",
        f"-buildworkspace={workspace}",
        "-extraallowedbuckets=termina-component-testing,cros-containers-staging",
        "root@dut1:22", suite.expression,
    ]  # fmt: skip
    assert not Path(workspace).exists()
    assert git(checkout, "worktree", "list").count("\n") == 1
    assert git(checkout, "status", "--porcelain") == ""
    assert git(checkout, "log", "--format=%s") == "first\n"


def test_tast_sees_the_static_data_of_the_snapshot_and_no_other(
    tried: Run, tast: Path, tmp_path: Path, out: Path
) -> None:
    publish(out, day=1)
    tried()
    seen = json.loads((tast / "seen").read_text())
    note = read_note(tmp_path / "results")
    assert note is not None
    assert set(seen) == set(note.pins)
    assert OLD_PIN not in seen, "an image the snapshot does not have is tested by nobody"
    for name, pin in note.pins.items():
        assert Pin.read(json.dumps(seen[name]).encode(), name) == pin
        assert "/20261126_10:00/" in pin.url
    assert (note.suite, note.host) == ("pfq", "root@dut1:22")


def test_the_other_suite_is_of_the_live_bucket(tried: Run, tast: Path, out: Path) -> None:
    with pytest.raises(UsageError, match="no active milestone of gs://cros-containers has a snapshot"):
        tried(suite="bvt-cq")
    made = snapshot(publish(out, bucket="cros-containers"), created=LONG_AGO)
    tried(suite="bvt-cq", snapshot=made)
    words = json.loads((tast / "calls").read_text())
    assert "-extraallowedbuckets=chrome-component-termina,cros-containers" in words
    assert all("gs://cros-containers/72/" in pin["url"] for pin in json.loads((tast / "seen").read_text()).values())


def test_a_plan_runs_nothing(tried: Run, tast: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tried(plan=True)
    said = capsys.readouterr().out
    assert (
        "would pin crostini_test_container_metadata_bookworm_arm.tar.xz.external: gs://cros-containers-staging/72/"
        in said
    )
    assert said.splitlines()[-1].startswith(f"tast run -resultsdir={tmp_path / 'results'} -timeout=21600 ")
    assert not (tast / "calls").exists()
    assert not (tmp_path / "results").exists()


def test_results_go_below_out_unless_told(tried: Run, tast: Path, out: Path) -> None:
    tried(results="")
    [place] = (out / "tast").iterdir()
    assert place.name.startswith("pfq-")
    assert (place / "results.json").is_file()


def test_results_of_two_runs_do_not_mix(tried: Run, tast: Path, tmp_path: Path) -> None:
    tried()
    (tast / "calls").unlink()
    with pytest.raises(UsageError, match="is not empty"):
        tried()
    assert not (tast / "calls").exists()


@pytest.mark.parametrize(
    ("mode", "kind", "said"),
    [
        ("fail", CheckFailedError, "suite 'pfq' is not green"),
        ("unmatched", UsageError, "suite 'pfq': no test of this checkout matches"),
        ("lost", NetworkError, "suite 'pfq': tast lost the device"),
        ("broken", CommandError, "suite 'pfq': tast exited with 1, not every test was run"),
    ],
)
def test_every_end_is_told(
    tried: Run, tast: Path, mode: str, kind: type[ReleaseError], said: str, checkout: Path
) -> None:
    (tast / "mode").write_text(mode)
    with pytest.raises(kind, match=said) as caught:
        tried()
    assert caught.value.hint
    assert mode != "fail" or caught.value.details == "crostini.Basic failed: no prompt"
    assert git(checkout, "worktree", "list").count("\n") == 1


def test_a_run_that_hangs_is_ended(tried: Run, tast: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tast / "mode").write_text("hang")
    monkeypatch.setattr(tast_run, "_GRACE", 1.5 - find_suite("pfq").deadline_mins * 60)
    with pytest.raises(DeadlineError, match=r"suite 'pfq' to end") as caught:
        tried()
    assert f"--results {tmp_path / 'results'}" in caught.value.hint
    assert read_note(tmp_path / "results") is not None


def test_what_a_killed_run_left_is_removed(
    tried: Run, tast: Path, tmp_path: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left = tmp_path / "tast-run-killed" / "tast-tests"
    git(checkout, "worktree", "add", "--quiet", "--detach", str(left), "HEAD")
    tried()
    assert not left.parent.exists()
    assert git(checkout, "worktree", "list").count("\n") == 1


def test_a_command_line_that_tast_does_not_take(tast: Path, tmp_path: Path) -> None:
    argv = command(PFQ, "dut1", results=tmp_path / "results", workspace=str(tmp_path))
    with pytest.raises(ConfigError, match="tast does not take our command line") as caught:
        tast_run.run_tast([*argv[:2], "-nosuchflag=1", *argv[2:]], PFQ, "hint")
    assert "flag provided but not defined: -nosuchflag" in caught.value.details


def test_without_tast(tried: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ToolMissingError, match="'tast' is not installed") as caught:
        tried()
    assert "cros_sdk" in caught.value.hint


@pytest.mark.parametrize("host", ["", "-build=false", "--", "dut 1", "a@b@c", "dut:x", "dut/1", "dut\n"])
def test_what_is_no_device(host: str, tried: Run) -> None:
    with pytest.raises(UsageError, match="is no device"):
        tried(host=host)


@pytest.mark.parametrize(
    "host", ["dut1", "chromeos2-row3.cros", "root@192.168.1.2:2222", "[::1]:22", "root@[fe80::1%eth0]"]
)
def test_what_is_a_device(host: str) -> None:
    check_host(host)


@given(st.text())
def test_no_device_is_a_flag(host: str) -> None:
    try:
        check_host(host)
    except UsageError:
        return
    assert not host.startswith("-")
    assert not any(letter.isspace() for letter in host)


def test_a_checkout_with_changes_is_refused(tried: Run, tast: Path, checkout: Path) -> None:
    """They would not be in the work tree."""
    (checkout / DATA / "OWNERS").write_text("x")
    with pytest.raises(UsageError, match="has changes"):
        tried()
    assert not (tast / "calls").exists()


def test_unknown_suites_and_snapshots(tried: Run) -> None:
    with pytest.raises(UsageError, match="unknown suite 'pfp'"):
        tried(suite="pfp")
    with pytest.raises(UsageError, match="has no snapshot"):
        tried(snapshot="0" * 64, milestone=72)


@given(st.integers(1, 255), st.text())
def test_any_failure_has_an_error(code: int, said: str) -> None:
    assert failure(code, said, PFQ, "hint").hint
