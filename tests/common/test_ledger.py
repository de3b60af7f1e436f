"""The ledger: lines follow from each other, and a changed byte anywhere is found."""

import contextlib
import datetime as dt
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.bucket import Bucket
from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError
from common.keyring import throwaway_key
from common.ledger import LEDGER, Action, Entry, Ledger, check_signatures
from common.signing import Signer, homedir, import_secret_keys

NOW = dt.datetime(2026, 11, 26, 10, 0, tzinfo=dt.UTC)
ENTRY = Entry(action=Action.PROMOTE, who="me", source="a" * 64, before="", after="b" * 64, why='so "it" is\n')


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    with homedir() as home:
        key = throwaway_key(tmp_path_factory.mktemp("keys"))
        yield Signer(home, import_secret_keys(home, [key.secret]))


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(DirectoryBucket(tmp_path / "cros-packages"), 72)


def file(ledger: Ledger) -> Path:
    bucket = ledger.bucket
    assert isinstance(bucket, DirectoryBucket)
    return bucket.root / "72" / LEDGER


def problems(ledger: Ledger, signer: Signer) -> list[str]:
    return check_signatures(ledger.lines(), signer.public_keys().encode(), "it")


def test_lines_are_numbered_chained_and_signed(ledger: Ledger, signer: Signer) -> None:
    assert ledger.lines() == []
    first = ledger.append(ENTRY, signer, now=NOW)
    second = ledger.append(ENTRY, signer, now=NOW)
    lines = ledger.lines()
    assert [line.entry for line in lines] == [first, second]
    assert (first.number, first.previous, first.when) == (1, "", "2026-11-26T10:00:00+00:00")
    assert (second.number, second.previous) == (2, lines[0].sha256)
    assert problems(ledger, signer) == []


def test_two_at_once_are_one_after_the_other(ledger: Ledger, signer: Signer) -> None:
    def append(who: str) -> None:
        ledger.append(replace(ENTRY, who=who), signer, now=NOW)

    threads = [threading.Thread(target=append, args=(f"job {number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert [line.entry.number for line in ledger.lines()] == [1, 2, 3, 4]


class Late:
    """A bucket in which somebody else appends just before we do."""

    def __init__(self, bucket: Bucket, other: Ledger, signer: Signer) -> None:
        self._bucket, self._other, self._signer, self._done = bucket, other, signer, False

    def __getattr__(self, name: str) -> object:
        return getattr(self._bucket, name)

    def upload(self, *args: object, **more: object) -> object:
        if not self._done:
            self._done = True
            self._other.append(replace(ENTRY, who="he"), self._signer, now=NOW)
        return self._bucket.upload(*args, **more)  # type: ignore[arg-type]


def test_who_comes_second_appends_after_the_first(ledger: Ledger, signer: Signer) -> None:
    late = Ledger(Late(ledger.bucket, ledger, signer), 72)  # type: ignore[arg-type]
    assert late.append(ENTRY, signer, now=NOW).number == 2
    assert problems(ledger, signer) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.data())
def test_a_changed_byte_is_found(ledger: Ledger, signer: Signer, data: st.DataObject) -> None:
    path = file(ledger)
    while len(ledger.lines()) < 2:
        ledger.append(ENTRY, signer, now=NOW)
    good = path.read_bytes()
    at = data.draw(st.integers(0, len(good) - 1))
    byte = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[at]))
    path.write_bytes(good[:at] + bytes([byte]) + good[at + 1 :])
    found = ["it cannot be read"]
    with contextlib.suppress(ArtifactError):
        found = problems(ledger, signer)
    path.write_bytes(good)
    assert found


@pytest.mark.parametrize("text", ["x\n", "{}\n", '{"entry":{},"signature":""}\n', '{"entry":1,"signature":"","x":1}\n'])
def test_what_is_no_ledger(ledger: Ledger, text: str) -> None:
    path = file(ledger)
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(ArtifactError):
        ledger.lines()


def test_a_line_that_was_taken_out(ledger: Ledger, signer: Signer) -> None:
    for _ in range(3):
        ledger.append(ENTRY, signer, now=NOW)
    path = file(ledger)
    lines = path.read_bytes().splitlines(keepends=True)
    for left in (lines[1:], [lines[0], lines[2]], lines[::-1]):
        path.write_bytes(b"".join(left))
        with pytest.raises(ArtifactError, match="does not follow from the line before"):
            ledger.lines()
