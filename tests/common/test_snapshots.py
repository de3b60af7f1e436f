"""Snapshots: the statement's one form of bytes, and what is refused."""

import contextlib
import datetime as dt
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bucket import Kind, Source, Uploaded
from common.bucket_directory import DirectoryBucket
from common.documents import sign_document, verify_document
from common.errors import ArtifactError, ConflictError, UsageError
from common.keyring import ATTESTATION, throwaway_key
from common.shown import Object, Pointer, State, settled
from common.signing import Signer, homedir, import_secret_keys
from common.snapshots import Origin, Part, Snapshot, Snapshots, current

DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
TEXTS = st.text(max_size=20)
OBJECTS = st.builds(Object, size=st.integers(0, 1 << 40), sha256=DIGESTS)
WORDS = st.dictionaries(TEXTS.filter(lambda name: name not in ("source", "snapshot")), DIGESTS, max_size=3)


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """Any snapshot."""
    objects = draw(st.dictionaries(st.text(min_size=1, max_size=30), OBJECTS, min_size=1, max_size=6))
    paths = st.lists(st.sampled_from(sorted(objects)), min_size=1, unique=True).map(tuple)
    return Snapshot(
        part=draw(st.sampled_from(Part)), milestone=draw(st.integers(69, 300)), bucket=draw(TEXTS),
        created=draw(st.datetimes(timezones=st.just(dt.UTC))),
        state=State(objects=objects, pointers=draw(paths), replaced=draw(paths)),
        origin=Origin(
            job=draw(TEXTS), branch=draw(TEXTS), commit=draw(TEXTS), inputs=draw(WORDS),
            keys=tuple(draw(st.lists(TEXTS, max_size=2))), tools=draw(st.dictionaries(TEXTS, TEXTS, max_size=2)),
            source=draw(st.one_of(st.just(""), DIGESTS)),
        ),
    )  # fmt: skip


@given(snapshots())
def test_what_is_written_is_read(snapshot: Snapshot) -> None:
    assert Snapshot.read(snapshot.write(), "it") == snapshot
    statement = json.loads(snapshot.write())
    assert statement["_type"] == "https://in-toto.io/Statement/v1"
    assert statement["predicateType"] == "https://slsa.dev/provenance/v1"


@given(snapshots(), st.data())
def test_damaged_bytes_are_refused_or_another_snapshot(snapshot: Snapshot, data: st.DataObject) -> None:
    content = bytearray(snapshot.write())
    at = data.draw(st.integers(0, len(content) - 1))
    content[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[at]))
    with contextlib.suppress(ArtifactError):
        assert Snapshot.read(bytes(content), "it").id != snapshot.id


@given(st.one_of(st.binary(max_size=200), st.recursive(st.none() | st.integers() | TEXTS, lambda inner: st.lists(inner)
                 | st.dictionaries(TEXTS, inner)).map(lambda value: json.dumps(value).encode())))  # fmt: skip
def test_whatever_else_is_refused(content: bytes) -> None:
    with pytest.raises(ArtifactError):
        Snapshot.read(content, "it")


STATE = State(objects={"a": Object(size=1, sha256="0" * 64)}, pointers=("a",), replaced=("a",))


def made(minute: int, state: State = STATE) -> Snapshot:
    when = dt.datetime(2026, 11, 26, 10, minute, tzinfo=dt.UTC)
    return Snapshot(part=Part.APT, milestone=72, bucket="gs://b", created=when, state=state, origin=Origin(job="test"))


def shown(bucket: DirectoryBucket, text: bytes) -> State:
    bucket.upload(text, "72/a", kind=Kind.POINTER)
    stat = bucket.stat("72/a")
    assert stat is not None
    return State(objects={"a": Object.of(stat)}, pointers=("a",), replaced=("a",))


def test_snapshots_in_a_bucket(tmp_path: Path) -> None:
    bucket = DirectoryBucket(tmp_path / "b")
    store = Snapshots(bucket, 72)
    assert store.all() == []
    with homedir() as home:
        signer = Signer(home, import_secret_keys(home, [throwaway_key(tmp_path / "keys", ATTESTATION).secret]))
        first = made(1, shown(bucket, b"one"))
        assert store.add(first, signer, publisher="me") == first.id
        assert store.add(first, signer, publisher="me") == first.id, "twice is once"
        second = made(2, shown(bucket, b"two"))
        with pytest.raises(ConflictError, match="was replaced while it was recorded"):
            store.add(made(3, first.state.__class__(objects={"a": Object(size=9, sha256="1" * 64)}, pointers=("a",),
                                                    replaced=("a",))), signer, publisher="me")  # fmt: skip
        store.add(second, signer, publisher="me")
    assert [each.id for each in store.all()] == [second.id, first.id]
    assert store.find(first.short) == first
    assert store.read_kept(first.objects["a"].sha256).content == b"one"
    assert current(store.all(), first.state) == first
    for name in ("", "abc", "0" * 64):
        with pytest.raises(UsageError, match="names no snapshot" if len(name) < 4 else "has no snapshot"):
            store.find(name)
    (tmp_path / f"b/72/snapshots/{first.id}.json").write_text("{}")
    damaged: list[ArtifactError] = []
    assert [each.id for each in store.all(damaged.append)] == [second.id]
    assert "not what its name says" in damaged[0].what


def test_a_snapshot_that_was_copied_from_elsewhere_is_none(tmp_path: Path) -> None:
    """Its signature is good: it says what was tested there."""
    bucket = DirectoryBucket(tmp_path / "b")
    with homedir() as home:
        signer = Signer(home, import_secret_keys(home, [throwaway_key(tmp_path / "keys", ATTESTATION).secret]))
        snapshot = made(1, shown(bucket, b"one"))
        Snapshots(bucket, 72).add(snapshot, signer, publisher="me")
    shutil.copytree(tmp_path / "b/72", tmp_path / "b/73")
    shutil.copytree(tmp_path / "b", tmp_path / "other")
    for place in (Snapshots(bucket, 73), Snapshots(DirectoryBucket(tmp_path / "other"), 72)):
        damaged: list[ArtifactError] = []
        assert place.all(damaged.append) == []
        assert "was made for milestone 72 of gs://b: its signature says nothing here" in damaged[0].what
        with pytest.raises(ArtifactError, match="was made for milestone 72 of gs://b"):
            place.find(snapshot.id)


class Meanwhile(DirectoryBucket):
    """A bucket into which somebody else uploads something just before we do, so many times."""

    def __init__(self, root: Path, others: list[Callable[[], None]]) -> None:
        super().__init__(root)
        self.others = others

    def upload(self, source: Source, name: str, **more: Any) -> Uploaded:  # noqa: ANN401
        if self.others:
            self.others.pop()()
        return super().upload(source, name, **more)


def test_keys_that_are_added_at_once_are_all_published(tmp_path: Path) -> None:
    with ExitStack() as stack:
        homes = [stack.enter_context(homedir()) for _ in range(2)]
        keys = [throwaway_key(tmp_path / f"keys{number}", ATTESTATION) for number in range(2)]
        ours, theirs = (
            Signer(home, import_secret_keys(home, [key.secret])) for home, key in zip(homes, keys, strict=True)
        )
        plain = Snapshots(DirectoryBucket(tmp_path / "b"), 72)
        others = [lambda: plain.publish_keyring(theirs, publisher="them")]
        Snapshots(Meanwhile(tmp_path / "b", others), 72).publish_keyring(ours, publisher="us")
        for signer in (theirs, ours):  # again, and nothing changes
            before = plain.bucket.stat("72/snapshots/keyring.asc")
            plain.publish_keyring(signer, publisher="them")
            assert plain.bucket.stat("72/snapshots/keyring.asc") == before
            verify_document(b"{}", sign_document(b"{}", signer), plain.keyring(), where="it")
        plain.bucket.delete("72/snapshots/keyring.asc")
        plain.publish_keyring(theirs, publisher="them")

        def renew() -> None:
            have = plain.bucket.stat("72/snapshots/keyring.asc")
            assert have is not None
            plain.bucket.renew(have.name, if_generation=have.generation, publisher="them")

        others += [renew] * 5
        with pytest.raises(ConflictError, match="'them'"):
            Snapshots(Meanwhile(tmp_path / "b", others), 72).publish_keyring(ours, publisher="us")


def at(generation: int, claimed_by: str = "") -> dict[str, Pointer]:
    return {"InRelease": Pointer(b"x", generation, claimed_by)}


def test_a_state_is_one_of_pointers_that_have_not_moved() -> None:
    moves = iter([at(1), at(2), at(2), at(2)])
    assert settled(lambda: next(moves), lambda _pointers: STATE, "b/72") == STATE
    assert settled(dict, lambda _pointers: STATE, "b/72") is None
    numbers = iter(range(1, 100))
    with pytest.raises(ConflictError, match="5 times while it was looked at"):
        settled(lambda: at(next(numbers)), lambda _pointers: STATE, "b/72")


def test_what_is_not_whole_is_an_error_only_where_nothing_moved() -> None:
    def broken(_pointers: Mapping[str, Pointer]) -> State:
        raise ArtifactError("it is not whole")

    with pytest.raises(ArtifactError, match="not whole"):
        settled(lambda: at(1), broken, "b/72")
    moves = iter([at(1), at(2), at(2), at(2)])
    with pytest.raises(ArtifactError, match="not whole"):
        settled(lambda: next(moves), broken, "b/72")


def test_who_has_claimed_a_pointer_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("common.publication.CLAIM", 0.3)
    moves = iter([at(1, "job 7"), at(1, "job 7"), *[at(2)] * 9])
    assert settled(lambda: next(moves), lambda _pointers: STATE, "b/72") == STATE
    with pytest.raises(ArtifactError, match=r"b/72: the publication of 'job 7' was interrupted \(run it again\)"):
        settled(lambda: at(1, "job 7"), lambda _pointers: STATE, "b/72")
