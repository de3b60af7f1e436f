"""Buckets: whole objects, generations, immutable names, and names that stay inside."""

import hashlib
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import publication
from common.bucket import ABSENT, DirectoryBucket, Kind, Stat
from common.errors import ArtifactError, ConflictError
from common.publication import Item


@pytest.fixture
def bucket(tmp_path: Path) -> DirectoryBucket:
    return DirectoryBucket(tmp_path / "gs" / "cros-packages-staging")


def put(bucket: DirectoryBucket, name: str, content: bytes, *, generation: int | None = None, who: str = "") -> Stat:
    return bucket.upload(content, name, kind=Kind.POINTER, if_generation=generation, publisher=who).stat


def test_what_was_uploaded_is_what_is_read(bucket: DirectoryBucket, tmp_path: Path) -> None:
    source = tmp_path / "a.deb"
    source.write_bytes(b"content")
    done = bucket.upload(source, "72/pool/a.deb", kind=Kind.IMMUTABLE)
    held = bucket.read("72/pool/a.deb")
    assert held is not None
    assert (held.content, held.stat) == (b"content", done.stat)
    assert done.changed
    assert done.stat == bucket.stat("72/pool/a.deb")
    assert (done.stat.size, done.stat.sha256) == (7, hashlib.sha256(b"content").hexdigest())
    assert (bucket.root / "72/pool/a.deb").stat().st_mode & 0o777 == 0o644


def test_an_empty_bucket_has_nothing(bucket: DirectoryBucket) -> None:
    assert bucket.stat("a") is None
    assert bucket.read("a") is None
    assert bucket.names() == []
    bucket.delete("a")


def test_the_same_content_again_changes_nothing(bucket: DirectoryBucket) -> None:
    first = bucket.upload(b"x", "a", kind=Kind.IMMUTABLE)
    again = bucket.upload(b"x", "a", kind=Kind.IMMUTABLE)
    assert (first.changed, again.changed) == (True, False)
    assert again.stat == first.stat


def test_an_immutable_object_keeps_its_content(bucket: DirectoryBucket) -> None:
    put(bucket, "pool/a.deb", b"one")
    with pytest.raises(ConflictError, match=r"gs://cros-packages-staging/pool/a\.deb exists with other") as caught:
        bucket.upload(b"two", "pool/a.deb", kind=Kind.IMMUTABLE)
    for content in (b"one", b"two"):
        assert hashlib.sha256(content).hexdigest() in caught.value.details
    assert caught.value.exit_code == 7
    assert (bucket.root / "pool/a.deb").read_bytes() == b"one"


def test_a_generation_is_replaced_once(bucket: DirectoryBucket) -> None:
    first = put(bucket, "InRelease", b"1", generation=ABSENT)
    second = put(bucket, "InRelease", b"2", generation=first.generation, who="job 7")
    assert second.generation > first.generation
    with pytest.raises(ConflictError, match="was changed by 'job 7' while we published"):
        put(bucket, "InRelease", b"3", generation=first.generation)
    with pytest.raises(ConflictError, match="was changed by"):
        put(bucket, "InRelease", b"3", generation=ABSENT)
    with pytest.raises(ConflictError, match="was deleted"):
        put(bucket, "other", b"3", generation=first.generation)
    with pytest.raises(ConflictError, match="was changed by"):
        bucket.delete("InRelease", if_generation=first.generation)
    assert bucket.stat("InRelease") == second


def test_generations_grow_even_when_the_clock_does_not(
    bucket: DirectoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.bucket.time.time_ns", lambda: 10**18)
    generations = [put(bucket, "a", content).generation for content in (b"1", b"2", b"1", b"2")]
    assert generations == sorted(set(generations))


def test_eight_swaps_of_one_object_and_one_succeeds(bucket: DirectoryBucket) -> None:
    start = put(bucket, "a", b"start").generation
    barrier = threading.Barrier(8)
    won: list[int] = []

    def swap(number: int) -> None:
        barrier.wait(timeout=60)
        try:
            put(bucket, "a", b"%d" % number, generation=start)
        except ConflictError:
            return
        won.append(number)

    threads = [threading.Thread(target=swap, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert len(won) == 1
    held = bucket.read("a")
    assert held is not None
    assert held.content == b"%d" % won[0]


def test_names_are_sorted_and_by_prefix(bucket: DirectoryBucket) -> None:
    for name in ("72/b", "72/a/c", "71/a"):
        put(bucket, name, name.encode())
    assert bucket.names() == ["71/a", "72/a/c", "72/b"]
    assert bucket.names("72/") == ["72/a/c", "72/b"]


def test_delete_takes_the_empty_folders_along(bucket: DirectoryBucket) -> None:
    put(bucket, "72/a/b/c", b"1")
    put(bucket, "72/d", b"1")
    bucket.delete("72/a/b/c")
    assert bucket.names() == ["72/d"]
    assert not (bucket.root / "72/a").exists()


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".uploads/x", "a/.b", "a\nb", "a\\b"]
)
def test_a_name_that_leaves_or_hides_is_refused(bucket: DirectoryBucket, name: str, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is not a name for an object"):
        put(bucket, name, b"x")
    assert list(tmp_path.rglob("*")) == []


@given(st.text(max_size=20))
def test_no_name_leaves_the_root(name: str) -> None:
    root = Path("/nowhere/bucket")
    try:
        path = DirectoryBucket(root)._path(name)
    except ArtifactError:
        return
    assert path.is_relative_to(root)
    assert ".." not in path.parts


def test_a_symlink_out_of_the_bucket_is_refused(bucket: DirectoryBucket, tmp_path: Path) -> None:
    put(bucket, "a", b"x")
    (bucket.root / "out").symlink_to(tmp_path)
    with pytest.raises(ArtifactError, match="through a symlink"):
        put(bucket, "out/x", b"x")
    assert not (tmp_path / "x").exists()


def test_an_object_is_not_a_folder(bucket: DirectoryBucket) -> None:
    put(bucket, "a/b", b"x")
    for name in ("a", "a/b/c"):
        with pytest.raises(ConflictError, match="cannot hold an object"):
            put(bucket, name, b"x")
    assert bucket.names() == ["a/b"]


def test_a_missing_source_is_named(bucket: DirectoryBucket, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone\.deb cannot be read: No such file"):
        bucket.upload(tmp_path / "gone.deb", "a", kind=Kind.IMMUTABLE)


def test_what_a_killed_writer_left_is_swept_out(bucket: DirectoryBucket) -> None:
    left = bucket.root / ".uploads" / "half"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    assert bucket.names() == []
    put(bucket, "a", b"x")
    assert not left.exists()
    assert [path.name for path in bucket.root.iterdir() if path.is_file()] == ["a"]


def test_a_full_disk_leaves_the_bucket_as_it_was(bucket: DirectoryBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    before = put(bucket, "a", b"x")

    def full(content: object, file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("common.bucket._copy", full)
    with pytest.raises(Exception, match="no space left") as caught:
        put(bucket, "a", b"yy")
    assert getattr(caught.value, "exit_code", None) == 10
    assert bucket.stat("a") == before
    assert list((bucket.root / ".uploads").iterdir()) == []


def publish(bucket: DirectoryBucket, text: str, generation: int, **more: tuple[Item, ...]) -> publication.Published:
    immutable = (Item(f"72/pool/{text}", text.encode()),)
    pointer = Item("72/InRelease", text.encode())
    return publication.publish(
        bucket, immutable=immutable, pointer=pointer, if_generation=generation, publisher=f"job {text}", **more
    )


def test_publish_uploads_what_is_new_and_counts(bucket: DirectoryBucket) -> None:
    assert publish(bucket, "one", ABSENT) == publication.Published(uploaded=2, kept=0, size=6)
    stat = bucket.stat("72/InRelease")
    assert stat is not None
    assert publish(bucket, "one", stat.generation) == publication.Published(uploaded=0, kept=2, size=0)
    assert str(publish(bucket, "two", stat.generation)) == "2 objects uploaded (0.0 MB), 0 were there already"


def test_the_second_of_two_publishers_changes_nothing_readers_see(bucket: DirectoryBucket) -> None:
    publish(bucket, "one", ABSENT, mutable=(Item("72/Packages", b"one"),))
    with pytest.raises(ConflictError, match="by 'job one'"):
        publish(bucket, "two", ABSENT, mutable=(Item("72/Packages", b"two"),))
    assert (bucket.root / "72/Packages").read_bytes() == b"one"
    assert (bucket.root / "72/InRelease").read_bytes() == b"one"


def test_a_missing_file_is_found_before_anything_is_uploaded(bucket: DirectoryBucket, tmp_path: Path) -> None:
    items = [Item("72/pool/a", b"a"), Item("72/pool/b", tmp_path / "gone")]
    with pytest.raises(ArtifactError, match="gone cannot be read"):
        publication.publish(bucket, immutable=items, pointer=Item("72/P", b"p"), if_generation=ABSENT, publisher="me")
    assert bucket.names() == []


def test_the_pointer_comes_last(bucket: DirectoryBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    real = DirectoryBucket._replace

    def noting(self: DirectoryBucket, path: Path, name: str, *rest: object) -> object:
        order.append(name)
        return real(self, path, name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(DirectoryBucket, "_replace", noting)
    publish(bucket, "one", ABSENT, mutable=(Item("72/Packages", b"one"),))
    assert order == ["72/pool/one", "72/Packages", "72/InRelease"]
