"""Publishing: what goes first, who wins, what a reader sees meanwhile, and what a killed publisher leaves."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common import publication
from common.bucket import ABSENT, Bucket, Kind, Stat
from common.errors import ArtifactError, ConflictError
from common.publication import Item, Published
from tests.common.buckets import PLACES, Place

POINTER = "72/InRelease"
PLAIN = ("72/Packages", "72/Release")


@pytest.fixture(scope="module", params=["directory", "stand-in"])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The storages that mind every precondition."""
    with PLACES[request.param](tmp_path_factory.mktemp("gs")) as place:
        yield place


class Watched:
    """A bucket that has `before` called with the name of each object before it is written."""

    def __init__(self, bucket: Bucket, before: Callable[[str], None]) -> None:
        self._bucket, self._before = bucket, before

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401, whatever the bucket has
        return getattr(self._bucket, name)

    def upload(self, source: Any, name: str, **more: Any) -> Any:  # noqa: ANN401, as above
        self._before(name)
        return self._bucket.upload(source, name, **more)


def generation(bucket: Bucket) -> int:
    stat = bucket.stat(POINTER)
    return stat.generation if stat else ABSENT


def publish(bucket: Any, text: str, base: int | None = None, *, plain: str = "") -> Published:  # noqa: ANN401, Watched
    """Publish a state: everything in it says `text` (or the plain objects `plain`)."""
    return publication.publish(
        bucket,
        immutable=[Item(f"72/pool/{text}", text.encode()), Item(f"72/by-hash/{text}", text.encode() * 3, rank=1)],
        mutable=[Item(name, (plain or text).encode(), rank=2 + number) for number, name in enumerate(PLAIN)],
        pointer=Item(POINTER, text.encode()),
        if_generation=generation(bucket) if base is None else base,
        publisher=f"job {text}",
        milestone=72,
    )


def state(bucket: Bucket) -> list[bytes]:
    """What is under the names that change."""
    held = [bucket.read(name) for name in (*PLAIN, POINTER)]
    return [each.content for each in held if each]


def test_it_uploads_what_is_new_and_counts(bucket: Bucket) -> None:
    assert publish(bucket, "one") == Published(uploaded=5, kept=0, size=21)
    assert publish(bucket, "one") == Published(uploaded=0, kept=5, size=0)
    assert str(publish(bucket, "two")) == "5 objects uploaded (0.0 MB), 0 were there already"
    stat = bucket.stat(POINTER)
    assert stat is not None
    assert (stat.publisher, stat.claimed) == ("job two", False)


def test_what_was_changed_by_others_comes_back(bucket: Bucket) -> None:
    publish(bucket, "one")
    bucket.upload(b"broken", PLAIN[0], kind=Kind.POINTER)
    assert publish(bucket, "one").uploaded == 1
    stat = bucket.stat(POINTER)
    assert stat is not None
    assert not stat.claimed
    assert state(bucket) == [b"one"] * 3


def test_the_order(bucket: Bucket) -> None:
    for text in ("one", "two"):
        order: list[str] = []
        publish(Watched(bucket, order.append), text)
        assert order == [f"72/pool/{text}", f"72/by-hash/{text}", *PLAIN, POINTER]


def test_many_objects_go_at_once_where_that_helps(bucket: Bucket) -> None:
    together = threading.Barrier(min(bucket.threads, 8))

    def before(name: str) -> None:
        if name.startswith("72/pool/"):
            together.wait(timeout=30)

    items = [Item(f"72/pool/{number}", b"x") for number in range(16)]
    done = publication.publish(
        Watched(bucket, before), immutable=items, pointer=Item(POINTER, b"x"), if_generation=ABSENT, publisher="me",
        milestone=72,
    )  # fmt: skip
    assert done.uploaded == 17


def test_the_second_publisher_changes_nothing(bucket: Bucket) -> None:
    for text, base in (("one", ABSENT), ("two", None)):
        base = generation(bucket) if base is None else base
        publish(bucket, text, base)
        with pytest.raises(ConflictError, match=f"InRelease was changed by 'job {text}' while we published"):
            publish(bucket, "late", base)
        assert state(bucket) == [text.encode()] * 3


def test_a_taken_name_is_found_before_anything_is_uploaded(bucket: Bucket) -> None:
    for name in ("72/pool/two", "72/by-hash/two"):
        bucket.upload(b"other", name, kind=Kind.IMMUTABLE)
    with pytest.raises(ConflictError, match="72/pool/two exists with other content") as caught:
        publish(bucket, "two")
    assert "72/by-hash/two exists with other content" in caught.value.details
    assert state(bucket) == []


def test_a_missing_or_changed_file_is_found_before_anything_is_seen(bucket: Bucket, tmp_path: Path) -> None:
    items = [Item("72/pool/a", b"a"), Item("72/pool/b", tmp_path / "gone")]
    with pytest.raises(ArtifactError, match="gone cannot be read"):
        publication.publish(
            bucket, immutable=items, pointer=Item(POINTER, b"p"), if_generation=ABSENT, publisher="me", milestone=72
        )
    assert bucket.names() == []
    (tmp_path / "gone").write_bytes(b"b")
    items[1] = Item("72/pool/b", tmp_path / "gone", sha256="0" * 64)
    with pytest.raises(ArtifactError, match="has changed since it was checked"):
        publication.publish(
            bucket, immutable=items, pointer=Item(POINTER, b"p"), if_generation=ABSENT, publisher="me", milestone=72
        )
    assert bucket.stat(POINTER) is None


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("at", ["72/pool/one", *PLAIN, POINTER])
def test_a_rival_at_any_moment_who_began_with_the_same_pointer(bucket: Bucket, at: str, first: bool) -> None:
    """He runs to his end before we write the object `at`: one of us wins, and everything is of that one."""
    if not first:
        publish(bucket, "before")
    base, ends = generation(bucket), list[str]()

    def before(name: str) -> None:
        if name == at and not ends:
            ends.append("begun")
            try:
                publish(bucket, "rival", base)
                ends.append("rival")
            except ConflictError:
                pass

    said = ""
    try:
        publish(Watched(bucket, before), "one", base)
        ends.append("one")
    except ConflictError as err:
        said = err.what
    assert len(ends) == 2
    assert ("job rival" in said) == (ends[1] == "rival")
    assert state(bucket) == [ends[1].encode()] * 3


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("at", ["72/pool/one", *PLAIN, POINTER])
def test_a_rival_at_any_moment_who_begins_then(
    bucket: Bucket, at: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He begins with the pointer as it is by then, claimed by us who are slow: he overtakes, and we stop."""
    monkeypatch.setattr(publication, "CLAIM", 0.1)
    if not first:
        publish(bucket, "before")
    begun: list[str] = []

    def before(name: str) -> None:
        if name == at and not begun:
            begun.append(name)
            publish(bucket, "rival")

    with pytest.raises(ConflictError, match="was changed by 'job rival'"):
        publish(Watched(bucket, before), "one")
    assert state(bucket) == [b"rival"] * 3
    stat = bucket.stat(POINTER)
    assert stat is not None
    assert not stat.claimed


@pytest.mark.parametrize("at", PLAIN)
def test_what_is_written_too_late_is_refused(bucket: Bucket, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rival takes over and finishes while a write of ours is under way, of an object that he leaves as it is."""
    monkeypatch.setattr(publication, "CLAIM", 0.1)
    publish(bucket, "before")
    begun: list[str] = []

    def before(name: str) -> None:
        if name == at and not begun:
            begun.append(name)
            publish(bucket, "rival", plain="before" if at == PLAIN[0] else "")

    with pytest.raises(ConflictError, match="was changed by 'job rival'"):
        publish(Watched(bucket, before), "one")
    assert state(bucket) == [b"before" if at == PLAIN[0] else b"rival"] * 2 + [b"rival"]
    assert not any(stat.claimed for stat in bucket.stats([*PLAIN, POINTER]).values())


def test_a_rival_waits_for_who_is_about_to_finish(bucket: Bucket) -> None:
    publish(bucket, "before")
    errors: list[str] = []

    def second() -> None:
        try:
            publish(bucket, "rival")
        except ConflictError as err:
            errors.append(err.what)

    rival = threading.Thread(target=second)

    def before(name: str) -> None:
        if name == PLAIN[0]:
            rival.start()

    publish(Watched(bucket, before), "one")
    rival.join(timeout=60)
    assert errors == [f"{bucket.url}/{POINTER} was changed by 'job one' while we published"]
    assert state(bucket) == [b"one"] * 3


class Killed(BaseException):
    """What stands for SIGKILL: nothing of ours handles it."""


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("at", ["72/pool/one", "72/by-hash/one", *PLAIN, POINTER])
@pytest.mark.parametrize("again", ["one", "before"])
def test_killed_at_any_moment(
    bucket: Bucket, at: str, first: bool, again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is visible is as it was, and the next publication completes, of the same or of what was there before."""
    monkeypatch.setattr(publication, "CLAIM", 0.1)
    if not first:
        publish(bucket, "before")

    def before(name: str) -> None:
        if name == at:
            raise Killed

    with pytest.raises(Killed):
        publish(Watched(bucket, before), "one")
    assert publication.seen(bucket, POINTER)[0] == (b"" if first else b"before")
    publish(bucket, again)
    assert state(bucket) == [again.encode()] * 3
    stat = bucket.stat(POINTER)
    assert stat is not None
    assert not stat.claimed


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("his", [*PLAIN, POINTER])
@pytest.mark.parametrize("ours", [*PLAIN, POINTER])
def test_a_rival_who_overtakes_and_is_killed_on_the_way(
    bucket: Bucket, ours: str, his: str, first: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """He begins when we are about to write `ours`, and ends before he writes `his`: nothing of him is among ours."""
    monkeypatch.setattr(publication, "CLAIM", 0.1)
    if not first:
        publish(bucket, "before")
    begun: list[str] = []

    def end(name: str) -> None:
        if name == his:
            raise Killed

    def before(name: str) -> None:
        if name == ours and not begun:
            begun.append(name)
            with pytest.raises(Killed):
                publish(Watched(bucket, end), "rival")

    with pytest.raises(ConflictError, match="was changed by 'job rival'"):
        publish(Watched(bucket, before), "one")
    assert publication.seen(bucket, POINTER)[0] == (b"" if first else b"before")
    publish(bucket, "next")
    assert state(bucket) == [b"next"] * 3


@pytest.mark.parametrize("first", [True, False])
def test_eight_publishers_at_once_and_one_wins(bucket: Bucket, first: bool) -> None:
    if not first:
        publish(bucket, "before")
    base, together, won = generation(bucket), threading.Barrier(8), list[str]()

    def run(text: str) -> None:
        together.wait(timeout=60)
        try:
            publish(bucket, text, base)
        except ConflictError:
            return
        won.append(text)

    threads = [threading.Thread(target=run, args=(f"state {number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert len(won) == 1
    assert state(bucket) == [won[0].encode()] * 3


def test_a_note_tells_what_became_visible(bucket: Bucket) -> None:
    publish(bucket, "one")
    stat = bucket.stat(POINTER)
    assert isinstance(stat, Stat)
    said = publication.note(bucket, [POINTER, "72/gone"], {"72/pool/one": 3}, {"done": 1})
    name = bucket.url.removeprefix("gs://")
    assert f'"{name}/{POINTER}": "{stat.sha256}"' in said
    assert f'"{name}/72/pool/one": 3' in said
    assert "gone" not in said
