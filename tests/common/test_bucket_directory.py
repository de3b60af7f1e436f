"""What only a bucket that is a directory has: files of its own, links, killed writers, a full disk."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.bucket import ABSENT, Kind, Stat
from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, ConflictError, DiskFullError


@pytest.fixture
def bucket(tmp_path: Path) -> DirectoryBucket:
    return DirectoryBucket(tmp_path / "gs" / "cros-packages-staging")


def put(bucket: DirectoryBucket, name: str, content: bytes) -> Stat:
    return bucket.upload(content, name, kind=Kind.POINTER).stat


def test_everybody_may_read_an_object(bucket: DirectoryBucket, tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"x")
    source.chmod(0o600)
    bucket.upload(source, "72/a", kind=Kind.IMMUTABLE)
    assert (bucket.root / "72/a").stat().st_mode & 0o777 == 0o644


def test_generations_grow_even_when_the_clock_does_not(
    bucket: DirectoryBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("common.bucket_directory.time.time_ns", lambda: 10**18)
    generations = [put(bucket, "a", content).generation for content in (b"1", b"2", b"1", b"2")]
    generations.append(bucket.claim("a", if_generation=generations[-1], publisher="me").generation)
    assert generations == sorted(set(generations))


def test_delete_takes_the_empty_folders_along(bucket: DirectoryBucket) -> None:
    put(bucket, "72/a/b/c", b"1")
    put(bucket, "72/d", b"1")
    bucket.delete("72/a/b/c")
    assert bucket.names() == ["72/d"]
    assert not (bucket.root / "72/a").exists()


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

    def full(content: object, file: object, on_bytes: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("common.bucket_directory._copy", full)
    with pytest.raises(DiskFullError, match="no space left"):
        put(bucket, "a", b"yy")
    assert bucket.stat("a") == before
    assert list((bucket.root / ".uploads").iterdir()) == []


def test_an_immutable_copy_is_the_same_file_and_a_pointer_is_not(bucket: DirectoryBucket, tmp_path: Path) -> None:
    live = DirectoryBucket(tmp_path / "gs" / "cros-packages")
    stat = put(bucket, "a", b"x")
    for name, kind in (("same", Kind.IMMUTABLE), ("other", Kind.POINTER)):
        live.copy_from(bucket, stat, name, kind=kind, if_generation=ABSENT)
    assert (live.root / "same").samefile(bucket.root / "a")
    assert not (live.root / "other").samefile(bucket.root / "a")
    put(bucket, "a", b"newer")
    assert (live.root / "same").read_bytes() == b"x"


def test_an_immutable_copy_where_there_are_no_links(
    bucket: DirectoryBucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_args: object, **_more: object) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr("common.bucket_directory.os.link", refused)
    live = DirectoryBucket(tmp_path / "gs" / "cros-packages")
    stat = put(bucket, "a", b"x")
    assert live.copy_from(bucket, stat, "a", kind=Kind.IMMUTABLE, publisher="me").stat.publisher == "me"
    assert not (live.root / "a").samefile(bucket.root / "a")


def test_a_renewed_object_leaves_the_one_it_is_linked_to_alone(tmp_path: Path) -> None:
    """Promotion links what never changes: staging's object is another one."""
    staging, live = DirectoryBucket(tmp_path / "staging"), DirectoryBucket(tmp_path / "live")
    source = staging.upload(b"image", "72/image", kind=Kind.IMMUTABLE, publisher="job").stat
    copied = live.copy_from(staging, source, "72/image", kind=Kind.IMMUTABLE, publisher="her").stat
    renewed = live.renew("72/image", if_generation=copied.generation, publisher="me")
    assert staging.stat("72/image") == source
    assert live.stat("72/image") == renewed
    assert renewed.generation > copied.generation
    assert (renewed.sha256, renewed.publisher) == (source.sha256, "me")
    again = live.renew("72/image", if_generation=renewed.generation, publisher="me")
    with pytest.raises(ConflictError, match="was changed by 'me'"):
        live.renew("72/image", if_generation=renewed.generation, publisher="late")
    assert live.stat("72/image") == again
