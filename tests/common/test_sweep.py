"""Marks and sweeps: what goes, when, and what never does, whoever publishes or is killed meanwhile."""

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.bucket import Bucket, Kind
from common.bucket_directory import DirectoryBucket
from common.errors import ConflictError
from common.publication import Item, publish
from common.sweep import GRACE, NOTES, Sweep, Swept, read_marks, spare
from tests.common.buckets import Place

NOW = dt.datetime(2026, 11, 24, 12, 10, tzinfo=dt.UTC)
SECOND = dt.timedelta(seconds=1)


@pytest.fixture
def strict(place: Place, bucket: Bucket) -> Bucket:
    if place.url and place.storage is None:
        pytest.skip("the emulator ignores this precondition")
    return bucket


def put(bucket: Bucket, *names: str) -> None:
    for name in names:
        bucket.upload(name.encode(), f"72/pool/{name}", kind=Kind.IMMUTABLE, publisher="job")


def there(bucket: Bucket) -> list[str]:
    return [name.removeprefix("72/pool/") for name in bucket.names("72/pool/")]


def sweep(bucket: Bucket, *needed: str, now: dt.datetime = NOW, plan: bool = False) -> Swept:
    return swept(needed).run(bucket, 72, now=now, plan=plan)


def swept(needed: tuple[str, ...] = ()) -> Sweep:
    return Sweep(
        below=["72/pool/"], ours=lambda name: not name.endswith("README"), grace=lambda _name: GRACE,
        needed={f"72/pool/{name}" for name in needed}, first=lambda name: name.endswith("first"),
        publisher="prune by me",
    )  # fmt: skip


def test_what_nobody_needs_is_marked_and_goes_an_hour_later(bucket: Bucket) -> None:
    put(bucket, "a", "bb", "README")
    assert sweep(bucket, "a") == Swept(deleted={}, waiting={"72/pool/bb": (2, NOW + GRACE)})
    assert sweep(bucket, "a", now=NOW + GRACE - SECOND).deleted == {}
    assert sweep(bucket, "a", now=NOW + GRACE) == Swept(deleted={"72/pool/bb": 2}, waiting={})
    assert there(bucket) == ["README", "a"]
    assert read_marks(bucket, 72)[0] == {}


def test_with_nothing_to_do_nothing_is_written(bucket: Bucket) -> None:
    put(bucket, "a")
    sweep(bucket, "a")
    assert bucket.stat(f"72/{NOTES}") is None
    sweep(bucket)
    before = bucket.stat(f"72/{NOTES}")
    sweep(bucket, now=NOW + SECOND)
    assert bucket.stat(f"72/{NOTES}") == before


def test_a_plan_says_the_same_and_changes_nothing(bucket: Bucket) -> None:
    put(bucket, "a")
    said = sweep(bucket, plan=True)
    assert bucket.stat(f"72/{NOTES}") is None
    assert sweep(bucket) == said
    assert sweep(bucket, now=NOW + GRACE, plan=True).deleted == {"72/pool/a": 1}
    assert there(bucket) == ["a"]


def test_what_was_needed_in_between_waits_again(bucket: Bucket) -> None:
    put(bucket, "a")
    sweep(bucket)
    sweep(bucket, "a", now=NOW + GRACE)
    assert sweep(bucket, now=NOW + 2 * GRACE).deleted == {}


def test_what_was_written_again_since_waits_again(bucket: Bucket) -> None:
    put(bucket, "a")
    sweep(bucket)
    bucket.delete("72/pool/a")
    put(bucket, "a")
    assert sweep(bucket, now=NOW + GRACE) == Swept(deleted={}, waiting={"72/pool/a": (1, NOW + 2 * GRACE)})


def test_what_is_spared_waits_again_though_it_was_never_needed(bucket: Bucket) -> None:
    put(bucket, "a", "b")
    sweep(bucket, "b")
    before = bucket.stat("72/pool/b")
    assert spare(bucket, 72, ["72/pool/a", "72/pool/b"], publisher="job") == []
    assert bucket.stat("72/pool/b") == before  # was not marked
    assert sweep(bucket, "b", now=NOW + GRACE).deleted == {}
    bucket.delete("72/pool/a")
    assert spare(bucket, 72, ["72/pool/a"], publisher="job") == ["72/pool/a"]


def test_who_takes_something_into_use_is_named(strict: Bucket) -> None:
    put(strict, "a", "b", "first")
    sweep(strict)
    late = swept()

    def taken() -> None:
        spare(strict, 72, ["72/pool/b"], publisher="promote by her")

    with pytest.raises(ConflictError, match="72/pool/b was taken into use by 'promote by her' while it was to be del"):
        late.run(strict, 72, now=NOW + GRACE, still=taken)
    assert "b" in there(strict)
    assert "first" not in there(strict)
    sweep(strict, "b", now=NOW + GRACE)
    assert there(strict) == ["b"]


def test_of_two_sweeps_one_stops(bucket: Bucket) -> None:
    put(bucket, "a")
    sweep(bucket)

    def rival() -> None:
        sweep(bucket, "a", now=NOW + GRACE)

    with pytest.raises(ConflictError, match=r"72/unreferenced\.json was changed by 'prune by me' meanwhile"):
        swept().run(bucket, 72, now=NOW + GRACE, still=rival)


def test_marks_of_others_stay(bucket: Bucket) -> None:
    put(bucket, "a")
    bucket.upload(b"x", "72/images/x", kind=Kind.IMMUTABLE)
    sweep(bucket)
    other = Sweep(below=["72/images/"], ours=lambda _name: True, needed=(), grace=lambda _name: GRACE, publisher="me")
    other.run(bucket, 72, now=NOW + SECOND)
    assert {name: mark.since for name, mark in read_marks(bucket, 72)[0].items()} == {
        "72/pool/a": NOW, "72/images/x": NOW + SECOND,
    }  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [b"x", b"[]", b"{}", b'{"objects": {"a": {"since": "x"}}}', b'{"objects": []}', b"[" * 100_000, b"\xff",
     b'{"objects": {"a": {"since": "2026-11-24T12:10:00", "generation": 1, "size": 1}}}'],
)  # fmt: skip
def test_marks_that_are_damaged_are_begun_anew(tmp_path: Path, content: bytes) -> None:
    bucket = DirectoryBucket(tmp_path / "bucket")
    put(bucket, "a")
    sweep(bucket)
    bucket.upload(content, f"72/{NOTES}", kind=Kind.POINTER)
    assert sweep(bucket, now=NOW + GRACE) == Swept(deleted={}, waiting={"72/pool/a": (1, NOW + 2 * GRACE)})
    bucket.upload(content, f"72/{NOTES}", kind=Kind.POINTER)
    assert spare(bucket, 72, ["72/pool/a", "72/pool/b"], publisher="me") == ["72/pool/b"]


def published(bucket: Bucket, *names: str) -> None:
    """Publish a pointer that names these."""
    stat = bucket.stat("72/InRelease")
    publish(
        bucket, immutable=[Item(f"72/pool/{name}", name.encode()) for name in names],
        pointer=Item("72/InRelease", json.dumps(names).encode()), if_generation=stat.generation if stat else 0,
        publisher="job", milestone=72,
    )  # fmt: skip


def test_a_publication_keeps_what_it_found_there(strict: Bucket) -> None:
    """It saw the package; the sweep had looked before that, and deletes only now."""
    put(strict, "a", "b")
    sweep(strict)
    with pytest.raises(ConflictError, match="72/pool/a was taken into use by 'job'"):
        swept().run(strict, 72, now=NOW + GRACE, still=lambda: published(strict, "a"))
    assert "a" in there(strict)


@pytest.mark.parametrize("killed", [False, True])
def test_a_publication_brings_back_what_went_while_it_published(bucket: Bucket, killed: bool) -> None:
    """It saw the package, too; the sweep deletes it before the pointer moves, and may be killed just after that."""
    put(bucket, "a")
    sweep(bucket)
    notes = bucket.read(f"72/{NOTES}")

    class Slow:
        """The sweep comes with the first upload."""

        ready = True

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401, whatever the bucket has
            return getattr(bucket, name)

        def upload(self, source: bytes, name: str, **more: Any) -> Any:  # noqa: ANN401, as above
            if self.ready:
                self.ready = False
                sweep(bucket, now=NOW + GRACE)
                assert there(bucket) == []
                if killed and notes:  # before it wrote down that the mark is of nothing any more
                    bucket.upload(notes.content, f"72/{NOTES}", kind=Kind.POINTER)
            return bucket.upload(source, name, **more)

    published(Slow(), "a", "b")  # type: ignore[arg-type]
    assert there(bucket) == ["a", "b"]
    sweep(bucket, "b", now=NOW + GRACE)
    assert there(bucket) == ["a", "b"]  # what was seen until now has its hour


names_of = st.sets(st.sampled_from("abcdef"), max_size=4)
steps = st.lists(
    st.tuples(st.sampled_from(["publish", "sweep", "sweep", "spare"]), names_of, st.integers(0, 45)), max_size=12
)


@settings(max_examples=40)
@given(history=steps)
def test_whatever_happens_nothing_goes_that_was_needed_within_the_hour(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[str, set[str], int]]
) -> None:
    """Times are minutes after each other; what a pointer names is needed, and an hour longer."""
    bucket = DirectoryBucket(tmp_path_factory.mktemp("gs") / "bucket")
    now, shown, last_needed = NOW, set[str](), dict[str, dt.datetime]()
    for what, names, minutes in history:
        now += dt.timedelta(minutes=minutes)
        last_needed |= dict.fromkeys(shown, now)
        if what == "publish" and names:
            published(bucket, *sorted(names))
            shown = names
        elif what == "spare":
            spare(bucket, 72, [f"72/pool/{name}" for name in names], publisher="job")
        elif what == "sweep":
            before = set(there(bucket))
            sweep(bucket, *shown, now=now)
            for name in before - set(there(bucket)):
                assert now - last_needed[name] >= GRACE
        assert shown <= set(there(bucket))
    sweep(bucket, *shown, now=now)
    sweep(bucket, *shown, now=now + GRACE)
    assert set(there(bucket)) == shown
