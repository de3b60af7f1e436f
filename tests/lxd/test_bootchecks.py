"""What boot checks say of a snapshot's images: read strictly, and only a whole, passing report speaks for an image."""

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ArtifactError, CheckFailedError
from lxd.bootchecks import BootChecks, Checked
from lxd.report import Outcome, Report

PRODUCT = "debian:bookworm:amd64:default"
CHECKED = st.builds(
    Checked,
    tests=st.integers(0, 99),
    failures=st.integers(0, 9),
    skipped=st.integers(0, 9),
    sha256=st.text(max_size=64),
)
DOCUMENTS = st.builds(
    BootChecks, snapshot=st.text(), images=st.dictionaries(st.text(), st.none() | CHECKED, max_size=3)
)


def report(place: Path, *outcomes: Outcome) -> bytes:
    return Report(outcomes, 1.0).write(place).read_bytes()


def why(content: bytes | None) -> list[str]:
    checked = None if content is None else Checked.of(content)
    return list(BootChecks(snapshot="x", images={PRODUCT: checked}).why_not())


def test_only_a_passing_report_speaks_for_an_image(tmp_path: Path) -> None:
    passed, skipped = Outcome("bare", "a", 1.0), Outcome("bare", "b", skipped="no repository")
    failed = Outcome("host", "c", 1.0, CheckFailedError("it is broken"))
    assert why(report(tmp_path, passed, skipped)) == []
    assert why(report(tmp_path, passed, failed)) == [
        f"{PRODUCT}: 1 of 2 boot checks failed, or their report is damaged"
    ]
    assert why(report(tmp_path, skipped)) == [f"{PRODUCT}: none of 1 boot checks was done"]
    assert why(report(tmp_path)) == [f"{PRODUCT}: none of 0 boot checks was done"]
    assert why(None) == [f"{PRODUCT} was not booted"]
    assert list(BootChecks(snapshot="x", images={}).why_not()) == ["no image was booted"]


@given(st.data())
def test_a_damaged_report_never_does(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    good = report(tmp_path_factory.getbasetemp(), Outcome("bare", "a", 1.0), Outcome("bare", "b", 1.0))
    cut = data.draw(st.integers(0, len(good.rstrip()) - 1))
    assert why(good[:cut])
    assert why(data.draw(st.binary(max_size=100)))


@given(DOCUMENTS)
def test_what_is_written_is_read(document: BootChecks) -> None:
    assert BootChecks.read(document.write(), "it") == document


@given(DOCUMENTS, st.data())
def test_changed_bytes_are_refused_or_another_document(document: BootChecks, data: st.DataObject) -> None:
    content = bytearray(document.write())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    with contextlib.suppress(ArtifactError):
        assert BootChecks.read(bytes(content), "it") != document
