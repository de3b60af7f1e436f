"""Evidence: each thing that keeps a run from being green has a sentence, and the document says the same later."""

import contextlib
import datetime as dt
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import ArtifactError, ReleaseError
from common.evidence import NOTE, Evidence, Note, judge, missing_for, read_note
from common.external import Pin
from common.files import sha256_of
from common.tast_results import RESULTS, STREAMED, read_results
from tests.common.tastparts import FILE, ID, NEVER, NOW, PFQ, PINS, SNAPSHOT, error, leave, note, record

OTHER = Pin(url="gs://cros-containers-staging/72/images/y/lxd.tar.xz", size=684, sha256="1" * 64)


def why(folder: Path) -> list[str]:
    return judge(read_results(folder), read_note(folder), suite=PFQ, snapshot=SNAPSHOT, pins=PINS, now=NOW)


def test_a_run_in_which_all_passed_is_green(tmp_path: Path) -> None:
    leave(tmp_path, [record(), record("crostini.Sync")])
    note(tmp_path)
    assert why(tmp_path) == []


def test_a_skipped_test_is_neither_good_nor_bad(tmp_path: Path) -> None:
    leave(tmp_path, [record(), record("crostini.Sync", skipReason="missing SoftwareDeps: dlc")])
    note(tmp_path)
    assert why(tmp_path) == []


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([], "no test was run"),
        ([record(errors=[error()])], "crostini.Basic failed: Failed to start"),
        ([record(end=NEVER)], "crostini.Basic did not finish"),
        ([record(), record("crostini.Sync", end=NEVER, errors=[error("lost SSH")])],
         "crostini.Sync did not finish: lost SSH"),
        ([record("crostini.Sync")], "the required test 'crostini.Basic*' is missing"),
        ([record(skipReason="no dlc"), record("crostini.Sync")],
         "the required test 'crostini.Basic*' was skipped: no dlc"),
        ([record(skipReason="no dlc")], "all 1 tests were skipped, crostini.Basic for: no dlc"),
        ([record(minute=-1)], "crostini.Basic began on 2026-11-26 08:59:00 UTC, before the snapshot was published"),
        ([record(start=NEVER)], "crostini.Basic began on 1-01-01"),
        ([record(), *[record(f"crostini.T{number}", errors=[error()]) for number in range(15)]], "5 more tests failed"),
    ],
)  # fmt: skip
def test_what_keeps_a_run_from_being_green(tmp_path: Path, records: list[dict[str, object]], said: str) -> None:
    leave(tmp_path, records)
    note(tmp_path)
    assert any(sentence.startswith(said) for sentence in why(tmp_path)), why(tmp_path)


def test_an_interrupted_run_is_not_green_whatever_passed(tmp_path: Path) -> None:
    leave(tmp_path, None)
    note(tmp_path)
    assert why(tmp_path) == ["results.json is missing: the run was interrupted"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"snapshot": "cd" * 32}, f"release_run.json: the run was of snapshot '{'cd' * 32}', not of '{ID}'"),
        ({"suite": "bvt-cq"}, "release_run.json: the run was of suite 'bvt-cq', not of 'pfq'"),
        ({"pins": {FILE: OTHER}}, f"{FILE} pinned {OTHER.url}, where the snapshot has {PINS[FILE].url}"),
        ({"pins": {FILE: replace(PINS[FILE], sha256="1" * 64)}}, f"{FILE} pinned {PINS[FILE].url}"),
        ({"pins": {}}, f"{FILE} pinned nothing, where the snapshot has {PINS[FILE].url}"),
        ({"pins": {**PINS, "more.external": OTHER}}, f"more.external pinned {OTHER.url}, where the snapshot has noth"),
    ],
)  # fmt: skip
def test_a_run_of_something_else(tmp_path: Path, changes: dict[str, object], said: str) -> None:
    leave(tmp_path, [record()])
    note(tmp_path, **changes)
    [sentence] = why(tmp_path)
    assert sentence.startswith(said)


def test_a_run_of_nobody_knows_what(tmp_path: Path) -> None:
    leave(tmp_path, [record()])
    assert why(tmp_path) == [
        "release_run.json is missing: nothing says which snapshot's static data the run used"
    ]  # fmt: skip


def test_a_note_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for content in (b"", b"{}", b'{"format": 1, "snapshot": "", "suite": "", "host": "", "pins": {"x": {}}}'):
        (tmp_path / NOTE).write_bytes(content)
        with pytest.raises(ArtifactError, match=r"release_run\.json"):
            read_note(tmp_path)
    (tmp_path / NOTE).write_bytes(note(tmp_path).write() + b"\n")
    with pytest.raises(ArtifactError, match="is not written as a note is"):
        read_note(tmp_path)


def evidence(folder: Path, records: list[dict[str, object]]) -> Evidence:
    leave(folder, records)
    return Evidence.of(read_results(folder), note(folder), suite=PFQ, snapshot=SNAPSHOT, pins=PINS, now=NOW)


def test_the_document_says_what_the_directory_said(tmp_path: Path) -> None:
    made = evidence(tmp_path, [record(), record("crostini.Sync", minute=70, errors=[error()])])
    document = made.write()
    read = Evidence.read(document, "it")
    assert read == made
    assert read.write() == document
    assert (read.snapshot, read.suite, read.host, read.green) == (ID, "pfq", "dut1", False)
    assert read.pins == PINS
    assert read.tests == (("crostini.Basic", "passed", ""), ("crostini.Sync", "failed", "Failed to start"))
    assert read.why == ("crostini.Sync failed: Failed to start",)
    assert read.name == "pfq-20261126T120000Z"
    assert set(read.files) == {RESULTS, STREAMED, NOTE}
    assert read.files[NOTE] == sha256_of(tmp_path / NOTE)
    assert b'"started":"2026-11-26T10:00:00.123456+00:00"' in document


def test_of_an_empty_directory_too(tmp_path: Path) -> None:
    made = Evidence.of(read_results(tmp_path), None, suite=PFQ, snapshot=SNAPSHOT, pins=PINS, now=NOW)
    assert Evidence.read(made.write(), "it") == made
    assert not made.green


def test_a_document_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    document = evidence(tmp_path, [record(errors=[error()])]).write()
    with pytest.raises(ArtifactError, match="it is not written as evidence is"):
        Evidence.read(document.replace(b'"green":false', b'"green":true'), "it")


@settings(deadline=None)
@given(st.data())
def test_a_changed_byte_is_our_error_or_another_document(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(evidence(tmp_path_factory.mktemp("run"), [record()]).write())
    position = data.draw(st.integers(0, len(content) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]))
    before = Evidence.read(bytes(content), "it")
    content[position] = other
    with contextlib.suppress(ReleaseError):
        assert Evidence.read(bytes(content), "it").write() != before.write()


def test_what_a_snapshot_still_misses(tmp_path: Path) -> None:
    bvt = replace(PFQ, name="bvt-cq", gates=False)
    green = evidence(tmp_path, [record()])
    red = replace(green, why=("crostini.Basic failed: x", "more"), recorded=NOW + dt.timedelta(days=1))
    later = NOW + dt.timedelta(days=2)

    def missing(*documents: Evidence, snapshot: str = ID) -> list[str]:
        return missing_for([bvt, PFQ], documents, snapshot, now=later)

    assert missing() == ["pfq: there is no evidence"]
    assert missing(green) == []
    assert missing(green, snapshot="cd" * 32) == ["pfq: there is no evidence"]
    assert missing(red, green) == ["pfq: not green on 2026-11-27 12:00 UTC: crostini.Basic failed: x"]
    assert missing(red, replace(green, recorded=later)) == []


@pytest.mark.parametrize(
    ("minutes", "said"),
    [
        (4, ""),
        (6, "crostini.Sync is of 2026-11-26 12:06:00 UTC, which is later than now (2026-11-26 12:00:00 UTC): "),
    ],
)
@pytest.mark.parametrize("what", ["start", "end"])
def test_a_run_that_claims_to_be_of_later_than_now(tmp_path: Path, what: str, minutes: int, said: str) -> None:
    when = (NOW + dt.timedelta(minutes=minutes)).isoformat()
    changes = {"start": when, "end": NEVER, "skipReason": "no dlc"} if what == "start" else {"end": when}
    leave(tmp_path, [record(), {**record("crostini.Sync"), **changes}])
    note(tmp_path)
    assert [sentence.startswith(said) for sentence in why(tmp_path)] == ([True] if said else []), why(tmp_path)


@pytest.mark.parametrize("is_green", [True, False])
def test_evidence_that_claims_to_be_of_later_than_now(tmp_path: Path, is_green: bool) -> None:
    green = evidence(tmp_path, [record()])
    ahead = replace(green, recorded=NOW + dt.timedelta(days=400), why=() if is_green else ("it failed",))
    ended = replace(green, ended=NOW + dt.timedelta(days=400))
    for others in ((), (green,)):  # whatever was recorded since
        [sentence] = missing_for([PFQ], [ahead, *others], ID, now=NOW)
        assert sentence == (
            "pfq: the evidence pfq-20271231T120000Z is of 2027-12-31 12:00:00 UTC, which is later than now "
            "(2026-11-26 12:00:00 UTC): a clock is wrong, or was; remove it, and record the run again"
        )
    [sentence] = missing_for([PFQ], [ended], ID, now=NOW)
    assert sentence.startswith(f"pfq: the tests of {ended.name} ended on 2027-12-31 12:00:00 UTC, which is later")
    assert missing_for([PFQ], [replace(green, recorded=NOW + dt.timedelta(minutes=4))], ID, now=NOW) == []
    # a day later than it claims to be, it counts as what it says
    assert missing_for([PFQ], [ahead], ID, now=NOW + dt.timedelta(days=401)) == (
        [] if is_green else ["pfq: not green on 2027-12-31 12:00 UTC: it failed"]
    )


def test_a_note_says_what_was_written(tmp_path: Path) -> None:
    assert Note.read(note(tmp_path).write(), "it") == read_note(tmp_path)
