"""Result directories of Tast: whole ones, interrupted ones, damaged ones."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.errors import ArtifactError, ReleaseError, UsageError
from common.evidence import judge
from common.tast_results import RESULTS, RUN_ERROR, STREAMED, Outcome, read_results
from tests.common.tastparts import NEVER, NOW, PFQ, PINS, SNAPSHOT, error, leave, note, record

WHOLE = [record(), record("crostini.Sync", skipReason="missing SoftwareDeps: dlc", minute=61)]
UNHURRIED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)


def green(folder: Path) -> bool:
    return not judge(read_results(folder), note(folder), suite=PFQ, snapshot=SNAPSHOT, pins=PINS, now=NOW)


def test_a_whole_run(tmp_path: Path) -> None:
    results = read_results(leave(tmp_path, WHOLE))
    assert results.complete
    assert results.problems == ()
    assert [(test.name, test.outcome) for test in results.tests] == [
        ("crostini.Basic", Outcome.PASSED),
        ("crostini.Sync", Outcome.SKIPPED),
    ]
    assert results.tests[0].start.isoformat() == "2026-11-26T10:00:00.123456+00:00"
    assert results.tests[1].skip_reason == "missing SoftwareDeps: dlc"
    digests = {name: hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in (RESULTS, STREAMED)}
    assert results.files == digests
    assert green(tmp_path)


@pytest.mark.parametrize(
    ("changes", "outcome"),
    [
        ({}, Outcome.PASSED), ({"errors": []}, Outcome.PASSED), ({"errors": [error()]}, Outcome.FAILED),
        ({"errors": [error()], "end": NEVER}, Outcome.UNFINISHED), ({"end": NEVER}, Outcome.UNFINISHED),
        ({"skipReason": "x"}, Outcome.SKIPPED), ({"skipReason": " "}, Outcome.SKIPPED),
        ({"skipReason": "x", "end": NEVER}, Outcome.SKIPPED),
        ({"skipReason": "x", "errors": [error()]}, Outcome.FAILED),
        ({"errors": [{}]}, Outcome.FAILED), ({"errors": [None]}, Outcome.FAILED),
    ],
)  # fmt: skip
def test_how_a_test_ended(tmp_path: Path, changes: dict[str, Any], outcome: Outcome) -> None:
    [test] = read_results(leave(tmp_path, [record(**changes)])).tests
    assert test.outcome is outcome


def test_the_first_line_of_an_error_is_enough(tmp_path: Path) -> None:
    [test] = read_results(leave(tmp_path, [record(errors=[error("Failed to start\nstack"), {"reason": ""}])])).tests
    assert test.errors == ("Failed to start", "an error without a reason")


@UNHURRIED
@given(st.text(st.characters()), st.text(st.characters()))
def test_what_a_test_printed_can_be_shown(tmp_path: Path, reason: str, why: str) -> None:
    leave(tmp_path, [record(errors=[error(reason)]), record("crostini.Sync", skipReason=why)], streamed=False)
    failed, skipped = read_results(tmp_path).tests
    assert failed.errors[0].isprintable()
    assert failed.errors[0]
    assert skipped.skip_reason.isprintable()
    assert bool(skipped.skip_reason) == bool(why)


ENDS: dict[Outcome, dict[str, Any]] = {
    Outcome.PASSED: {}, Outcome.FAILED: {"errors": [error()]}, Outcome.SKIPPED: {"skipReason": "no dlc"},
    Outcome.UNFINISHED: {"end": NEVER, "errors": [error("lost")]},
}  # fmt: skip


@UNHURRIED
@given(
    st.dictionaries(
        st.sampled_from(["crostini.Basic", "crostini.Basic.bookworm_stable", "crostini.Sync", "vm.Boot"]),
        st.sampled_from(list(Outcome)),
    )
)
def test_green_is_what_the_rules_say(tmp_path: Path, ends: dict[str, Outcome]) -> None:
    leave(tmp_path, [record(name, **ENDS[end]) for name, end in ends.items()])
    bad = {Outcome.FAILED, Outcome.UNFINISHED} & set(ends.values())
    basic = any(end is Outcome.PASSED for name, end in ends.items() if name.startswith("crostini.Basic"))
    assert green(tmp_path) == (basic and not bad)


def test_an_interrupted_run_is_read_as_far_as_it_came(tmp_path: Path) -> None:
    results = read_results(leave(tmp_path, None))
    assert not results.complete
    assert results.problems == ("results.json is missing: the run was interrupted",)
    assert [test.name for test in results.tests] == ["crostini.Basic"]
    assert not green(tmp_path)


def test_a_line_that_was_cut_off_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    leave(tmp_path, None)
    with (tmp_path / STREAMED).open("a") as file:
        file.write(json.dumps(record("crostini.Sync"))[:-40])
    results = read_results(tmp_path)
    assert [test.name for test in results.tests] == ["crostini.Basic"]
    assert any("streamed_results.jsonl, line 2, is not JSON" in problem for problem in results.problems)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "results.json is empty"), ("\n", "results.json is empty"), ("{}", "results.json is no list of tests"),
        ("[", "results.json is not JSON"), ("[1]", "results.json, test 1 is no result of a test"),
        (json.dumps([record(start="noon")]), "results.json, test 1: 'noon' is no time"),
        (json.dumps([record(start="2026-11-26T10:00:00")]), "has no time zone"),
        (json.dumps([record(end="9999-12-31T23:59:59-12:00")]), "'9999-12-31T23:59:59-12:00' is no time"),
        (json.dumps([record("Basic")]), "'Basic' is no name of a test"),
        (json.dumps([record(errors={})]), "errors is {}, not a list"),
        (json.dumps([record(skipReason=None)]), "test 1 is no result of a test"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named(tmp_path: Path, content: str, said: str) -> None:
    leave(tmp_path, WHOLE)
    (tmp_path / RESULTS).write_text(content)
    results = read_results(tmp_path)
    assert any(said in problem for problem in results.problems), results.problems
    assert not results.complete
    assert not green(tmp_path)


def test_without_any_file(tmp_path: Path) -> None:
    assert read_results(tmp_path).problems == (
        "results.json is missing: the run was interrupted",
        "streamed_results.jsonl is missing, too",
    )
    (tmp_path / STREAMED).touch()
    assert read_results(tmp_path).problems[1] == "streamed_results.jsonl is empty, too"


def test_the_error_of_a_whole_run_counts(tmp_path: Path) -> None:
    leave(tmp_path, WHOLE)
    (tmp_path / RUN_ERROR).write_text("Lost SSH connection\nmore\n")
    assert read_results(tmp_path).problems == ("run_error.txt says: Lost SSH connection",)
    assert not green(tmp_path)


def test_two_runs_into_one_directory(tmp_path: Path) -> None:
    """The second one was interrupted, so that results.json is of the first."""
    leave(tmp_path, WHOLE)
    leave(tmp_path, None)
    (tmp_path / STREAMED).write_text(json.dumps(record(minute=90)) + "\n")
    [problem] = read_results(tmp_path).problems
    assert problem.endswith("they are of two runs")
    assert not green(tmp_path)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'/nowhere' is no result directory of Tast"):
        read_results(Path("/nowhere"))
    (tmp_path / RESULTS).mkdir()
    with pytest.raises(ArtifactError, match=r"results\.json' cannot be read: Is a directory"):
        read_results(tmp_path)


@UNHURRIED
@given(st.data())
def test_a_truncated_file_is_never_green(tmp_path: Path, data: st.DataObject) -> None:
    leave(tmp_path, WHOLE)
    assert green(tmp_path)
    whole = (tmp_path / RESULTS).read_bytes()
    (tmp_path / RESULTS).write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    assert not green(tmp_path)
    (tmp_path / RESULTS).unlink()
    assert not green(tmp_path)


@UNHURRIED
@given(st.data())
def test_a_changed_byte_raises_nothing_but_our_errors(tmp_path: Path, data: st.DataObject) -> None:
    leave(tmp_path, [record(errors=[error()]), record("crostini.Sync", minute=61, skipReason="x")])
    name = data.draw(st.sampled_from([RESULTS, STREAMED]))
    if name == STREAMED:
        (tmp_path / RESULTS).unlink()
    content = bytearray((tmp_path / name).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / name).write_bytes(bytes(content))
    try:
        assert not green(tmp_path), "a test failed, and no single byte changes that"
    except ReleaseError:
        pytest.fail("what is wrong with a file is a problem of the run, no error of ours")


@UNHURRIED
@given(st.binary(max_size=200))
def test_any_bytes_are_no_green_run(tmp_path: Path, content: bytes) -> None:
    leave(tmp_path, [], streamed=False)
    (tmp_path / RESULTS).write_bytes(content)
    (tmp_path / STREAMED).write_bytes(content)
    assert not green(tmp_path)
