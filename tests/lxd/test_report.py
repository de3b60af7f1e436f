"""sponge_log.xml, whatever a journal holds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import JUnitXml

from common.errors import CheckFailedError
from lxd.report import FILE, Outcome, Report


def test_it_counts_and_times(tmp_path: Path) -> None:
    outcomes = (
        Outcome("bare", "one", 1.5),
        Outcome("host", "two", 2.25, CheckFailedError("it's <broken>", details="line 1\nline 2")),
        Outcome("host", "three", skipped="two failed"),
    )
    path = Report(outcomes, 3.0).write(tmp_path / "new")
    assert path == tmp_path / "new" / FILE
    suites = JUnitXml.fromfile(str(path))
    assert (suites.tests, suites.failures, suites.skipped, suites.time) == (3, 1, 1, 3.0)
    bare, host = list(suites)
    assert (bare.name, bare.tests, bare.time) == ("bare", 1, 1.5)
    two, three = list(host)
    assert (two.name, two.time) == ("two", 2.25)
    assert (two.result[0].message, two.result[0].type) == ("it's <broken>", "CheckFailedError")
    assert "line 1\n  line 2" in two.result[0].text
    assert three.is_skipped


@given(text=st.text(st.characters(codec="utf-8")))
def test_any_text_can_be_told(text: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    place = tmp_path_factory.mktemp("report")
    Report((Outcome("bare", "one", 1.0, CheckFailedError(f"<{text}>", details=text)),), 1.0).write(place)
    [suite] = JUnitXml.fromfile(str(place / FILE))
    [case] = suite
    assert case.result[0].message is not None


def test_all_failures_are_raised_as_one() -> None:
    failed = [Outcome("host", name, 1.0, CheckFailedError(f"{name} broke")) for name in ("one", "two")]
    with pytest.raises(CheckFailedError, match=r"2 of 3 boot checks failed: one \(host\), two \(host\)") as caught:
        Report((Outcome("bare", "fine", 1.0), *failed), 3.0).raise_failures()
    assert "two broke" in caught.value.details
    Report((Outcome("bare", "fine", 1.0),), 1.0).raise_failures()
