"""Which superseded by-hash copies go: a pure decision."""

import datetime as dt
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.aptpublish import KEPT, SUPERSEDED, Target, prune_by_hash, superseded
from common.bucket import Kind
from common.bucket_directory import DirectoryBucket

NOW = dt.datetime(2026, 1, 10, tzinfo=dt.UTC)


def ago(hours: float) -> str:
    return (NOW - dt.timedelta(hours=hours)).isoformat()


def test_what_goes() -> None:
    there = ["current", "fresh", "young", "old"]
    gone, since = superseded(there, {"current"}, {"young": ago(47), "old": ago(49), "vanished": ago(99)}, now=NOW)
    assert gone == ["old"]
    assert since == {"fresh": ago(0), "young": ago(47)}


def test_what_comes_back_is_not_superseded() -> None:
    assert superseded(["back"], {"back"}, {"back": ago(1000)}, now=NOW) == ([], {})


NAMES = st.sampled_from("abcdef")


@given(st.lists(NAMES, unique=True), st.sets(NAMES), st.dictionaries(NAMES, st.floats(0, 100).map(ago)))
def test_nothing_current_or_young_goes(there: list[str], current: set[str], known: dict[str, str]) -> None:
    gone, since = superseded(there, current, known, now=NOW)
    assert not set(gone) & current
    assert set(gone) <= set(there)
    assert all(name in known and NOW - dt.datetime.fromisoformat(known[name]) > KEPT for name in gone)
    assert set(gone) | set(since) | current >= set(there)
    assert superseded([name for name in there if name not in gone], current, since, now=NOW) == ([], since)


INDEX = f"SHA256:\n {'0' * 64} 1 main/binary-amd64/Packages\n"


@given(
    note=st.binary(max_size=40)
    | st.dictionaries(st.text(max_size=3), st.text(max_size=3) | st.none() | st.just("2026-01-01T00:00:00")).map(
        lambda known: json.dumps(known).encode()
    )
)
def test_a_damaged_note_is_begun_anew(tmp_path_factory: pytest.TempPathFactory, note: bytes) -> None:
    """Whatever it says: nothing that was superseded just now goes, and the next note can be read."""
    bucket = DirectoryBucket(tmp_path_factory.mktemp("gs") / "cros-packages")
    target = Target(bucket, 72)
    copy, path = "dists/bookworm/main/binary-amd64/by-hash/SHA256/" + "1" * 64, f"dists/bookworm/{SUPERSEDED}"
    bucket.upload(b"x", target.name(copy), kind=Kind.IMMUTABLE)
    bucket.upload(note, target.name(path), kind=Kind.POINTER)
    assert prune_by_hash(target, "bookworm", INDEX, now=NOW) == []
    assert bucket.names(target.name(copy)) == [target.name(copy)]
    assert json.loads(target.text(path) or "") == {target.name(copy): NOW.isoformat()}
