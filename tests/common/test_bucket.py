"""What every bucket promises, of each storage: whole objects, generations, immutable names, names that stay inside."""

import hashlib
import threading
from pathlib import Path

import pytest

from common.bucket import ABSENT, Bucket, Kind, Stat, content_type
from common.errors import ArtifactError, ConflictError, UsageError
from tests.common.buckets import Place, directories, strict

# What the emulator takes without a look: preconditions of deletions and copies (facts/apt.md, section 5).
LENIENT = "the emulator ignores this precondition"


def put(bucket: Bucket, name: str, content: bytes, *, generation: int | None = None, who: str = "") -> Stat:
    return bucket.upload(content, name, kind=Kind.POINTER, if_generation=generation, publisher=who).stat


@pytest.fixture
def strictly(place: Place) -> Place:
    """A storage that minds all preconditions."""
    if place.url and place.storage is None:
        pytest.skip(LENIENT)
    return place


def content_of(bucket: Bucket, name: str) -> bytes:
    held = bucket.read(name)
    assert held is not None
    return held.content


def test_what_was_uploaded_is_what_is_read(bucket: Bucket, tmp_path: Path) -> None:
    source = tmp_path / "a.deb"
    source.write_bytes(b"content")
    done = bucket.upload(source, "72/pool/a.deb", kind=Kind.IMMUTABLE, publisher="job 7")
    held = bucket.read("72/pool/a.deb")
    assert held is not None
    assert (held.content, held.stat) == (b"content", done.stat)
    assert done.changed
    assert done.stat == bucket.stat("72/pool/a.deb")
    assert (done.stat.size, done.stat.sha256) == (7, hashlib.sha256(b"content").hexdigest())
    assert (done.stat.publisher, done.stat.claimed) == ("job 7", False)


@pytest.mark.parametrize("size", [0, 1, 8 << 20, (8 << 20) + 1, (16 << 20) + 5])
def test_every_size(bucket: Bucket, tmp_path: Path, size: int) -> None:
    source = tmp_path / "image"
    source.write_bytes((bytes(range(251)) * (size // 251 + 1))[:size])
    seen: list[int] = []
    assert bucket.upload(source, "a", kind=Kind.IMMUTABLE, on_bytes=seen.append).stat.size == size
    assert content_of(bucket, "a") == source.read_bytes()
    assert sum(seen) == size


def test_an_empty_bucket_has_nothing(bucket: Bucket) -> None:
    assert bucket.stat("a") is None
    assert bucket.stats(["a", "b"]) == {}
    assert bucket.stats([]) == {}
    assert bucket.read("a") is None
    assert bucket.names() == []
    bucket.delete("a")


def test_the_same_content_again_changes_nothing(bucket: Bucket) -> None:
    first = bucket.upload(b"x", "a", kind=Kind.IMMUTABLE)
    for generation in (None, ABSENT, first.stat.generation, 5):
        again = bucket.upload(b"x", "a", kind=Kind.IMMUTABLE, if_generation=generation)
        assert (first.changed, again.changed) == (True, False)
        assert again.stat == first.stat


@pytest.mark.parametrize("generation", [None, ABSENT])
def test_an_immutable_object_keeps_its_content(bucket: Bucket, generation: int | None) -> None:
    put(bucket, "pool/a.deb", b"one")
    with pytest.raises(ConflictError, match=rf"{bucket.url}/pool/a\.deb exists with other") as caught:
        bucket.upload(b"two", "pool/a.deb", kind=Kind.IMMUTABLE, if_generation=generation)
    for content in (b"one", b"two"):
        assert hashlib.sha256(content).hexdigest() in caught.value.details
    assert caught.value.exit_code == 7
    assert content_of(bucket, "pool/a.deb") == b"one"


def test_a_generation_is_replaced_once(bucket: Bucket) -> None:
    first = put(bucket, "InRelease", b"1", generation=ABSENT)
    second = put(bucket, "InRelease", b"2", generation=first.generation, who="job 7")
    assert second.generation > first.generation
    with pytest.raises(ConflictError, match="was changed by 'job 7' while we published"):
        put(bucket, "InRelease", b"3", generation=first.generation)
    with pytest.raises(ConflictError, match="was changed by"):
        put(bucket, "InRelease", b"3", generation=ABSENT)
    with pytest.raises(ConflictError, match="was deleted"):
        put(bucket, "other", b"3", generation=first.generation)
    assert bucket.stat("InRelease") == second


def test_without_a_generation_the_last_one_wins(bucket: Bucket) -> None:
    for content in (b"1", b"2", b"1"):
        put(bucket, "a", content)
    assert content_of(bucket, "a") == b"1"


@pytest.mark.usefixtures("strictly")
def test_a_large_object_minds_its_generation_too(bucket: Bucket) -> None:
    first = put(bucket, "a", b"1")
    second = put(bucket, "a", b"2")
    with pytest.raises(ConflictError, match="was changed by"):
        put(bucket, "a", b"x" * (9 << 20), generation=first.generation)
    assert bucket.stat("a") == second


@pytest.mark.usefixtures("strictly")
def test_another_generation_is_not_deleted(bucket: Bucket) -> None:
    first = put(bucket, "a", b"1")
    second = put(bucket, "a", b"2", who="job 7")
    with pytest.raises(ConflictError, match="was changed by 'job 7'"):
        bucket.delete("a", if_generation=first.generation)
    assert bucket.stat("a") == second
    bucket.delete("a", if_generation=second.generation)
    assert bucket.stat("a") is None


def test_eight_swaps_of_one_object_and_one_succeeds(bucket: Bucket) -> None:
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
    assert content_of(bucket, "a") == b"%d" % won[0]


def test_names_are_sorted_and_by_prefix(bucket: Bucket) -> None:
    for name in ("72/b", "72/a/c", "71/a"):
        put(bucket, name, name.encode())
    assert bucket.names() == ["71/a", "72/a/c", "72/b"]
    assert bucket.names("72/") == ["72/a/c", "72/b"]
    assert bucket.names("72/a") == ["72/a/c"]
    assert bucket.names("73/") == []


@pytest.mark.parametrize("count", [3, 50])
def test_many_at_once(bucket: Bucket, count: int) -> None:
    wanted = {f"72/pool/{number:02}": put(bucket, f"72/pool/{number:02}", b"%d" % number) for number in range(4)}
    put(bucket, "72/dists/a", b"x")
    put(bucket, "72/zzz", b"x")
    asked = [f"72/pool/{number:02}" for number in range(count)]
    assert bucket.stats(asked) == {name: stat for name, stat in wanted.items() if name in asked}


def test_a_claim_leaves_the_content_and_takes_the_generation(bucket: Bucket) -> None:
    first = put(bucket, "InRelease", b"1", who="job 1")
    claimed = bucket.claim("InRelease", if_generation=first.generation, publisher="job 2")
    assert (claimed.publisher, claimed.claimed, claimed.sha256) == ("job 2", True, first.sha256)
    assert claimed.generation > first.generation
    assert bucket.stat("InRelease") == claimed
    assert content_of(bucket, "InRelease") == b"1"
    with pytest.raises(ConflictError, match="was changed by 'job 2'"):
        put(bucket, "InRelease", b"3", generation=first.generation)
    with pytest.raises(ConflictError, match="was changed by 'job 2'"):
        bucket.claim("InRelease", if_generation=first.generation, publisher="job 3")
    assert not put(bucket, "InRelease", b"2", generation=claimed.generation).claimed
    with pytest.raises(ConflictError, match="was deleted"):
        bucket.claim("nothing", if_generation=5, publisher="job 3")


@pytest.mark.parametrize("kind", list(Kind))
def test_a_copy_between_buckets(place: Place, bucket: Bucket, kind: Kind) -> None:
    content = b"x" * (3 << 20)
    stat = put(bucket, "72/pool/a.deb", content, who="job 1")
    with place.bucket() as live:
        done = live.copy_from(bucket, stat, "73/pool/a.deb", kind=kind, if_generation=ABSENT, publisher="me")
        assert done.changed
        assert (done.stat.size, done.stat.sha256) == (stat.size, stat.sha256)
        assert live.stat("73/pool/a.deb") == done.stat
        assert content_of(live, "73/pool/a.deb") == content
        again = live.copy_from(bucket, stat, "73/pool/a.deb", kind=kind)
        assert (again.changed, again.stat) == (False, done.stat)


def test_a_copy_over_other_content(place: Place, bucket: Bucket) -> None:
    stat = put(bucket, "a", b"new")
    with place.bucket() as live:
        old = put(live, "a", b"old", who="job 1")
        with pytest.raises(ConflictError, match="exists with other content"):
            live.copy_from(bucket, stat, "a", kind=Kind.IMMUTABLE)
        assert content_of(live, "a") == b"old"
        done = live.copy_from(bucket, stat, "a", kind=Kind.POINTER, if_generation=old.generation, publisher="me")
        assert (done.changed, done.stat.publisher) == (True, "me")
        assert done.stat.generation > old.generation
        assert content_of(live, "a") == b"new"
        assert content_of(bucket, "a") == b"new"


def test_a_copy_only_of_what_was_looked_at(place: Place, bucket: Bucket) -> None:
    stat = put(bucket, "a", b"one")
    put(bucket, "a", b"two")
    with place.bucket() as live:
        with pytest.raises(ConflictError, match=f"{bucket.url}/a is not what was to be copied"):
            live.copy_from(bucket, stat, "a", kind=Kind.POINTER)
        bucket.delete("a")
        with pytest.raises(ConflictError, match="is not what was to be copied"):
            live.copy_from(bucket, stat, "a", kind=Kind.POINTER)
        assert live.names() == []


@pytest.mark.usefixtures("strictly")
def test_a_copy_minds_the_generation_it_replaces(place: Place, bucket: Bucket) -> None:
    stat = put(bucket, "a", b"new")
    with place.bucket() as live:
        old = put(live, "a", b"old")
        newer = put(live, "a", b"newer", who="job 7")
        for generation in (old.generation, ABSENT):
            with pytest.raises(ConflictError, match="was changed by 'job 7'"):
                live.copy_from(bucket, stat, "a", kind=Kind.POINTER, if_generation=generation)
        assert live.stat("a") == newer
        same = put(live, "b", b"new")
        assert not live.copy_from(bucket, stat, "b", kind=Kind.POINTER, if_generation=ABSENT).changed
        assert live.stat("b") == same


def test_storages_do_not_mix(tmp_path: Path) -> None:
    with directories(tmp_path) as here, strict(tmp_path) as there, here.bucket() as ours, there.bucket() as theirs:
        for source, target in ((ours, theirs), (theirs, ours)):
            stat = put(source, "a", b"x")
            with pytest.raises(UsageError, match="are not in the same storage"):
                target.copy_from(source, stat, "b", kind=Kind.POINTER)


@pytest.mark.parametrize(
    "name", ["", "/etc/passwd", "../x", "a/../../x", "a//b", "a/", ".uploads/x", "a/.b", "a\nb", "a\\b"]
)
def test_a_name_that_leaves_or_hides_is_refused(bucket: Bucket, name: str) -> None:
    with pytest.raises(ArtifactError, match="is not a name for an object"):
        put(bucket, name, b"x")
    with pytest.raises(ArtifactError, match="is not a name for an object"):
        bucket.stat(name)
    assert bucket.names() == []


def test_a_missing_source_is_named(bucket: Bucket, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone\.deb cannot be read: No such file"):
        bucket.upload(tmp_path / "gone.deb", "a", kind=Kind.IMMUTABLE)


def test_a_source_that_has_changed_is_refused(bucket: Bucket, tmp_path: Path) -> None:
    source = tmp_path / "a.deb"
    source.write_bytes(b"changed")
    digest = hashlib.sha256(b"checked").hexdigest()
    with pytest.raises(ArtifactError, match=r"a\.deb' has changed since it was checked"):
        bucket.upload(source, "a.deb", kind=Kind.IMMUTABLE, sha256=digest)
    assert bucket.names() == []
    source.write_bytes(b"checked")
    assert bucket.upload(source, "a.deb", kind=Kind.IMMUTABLE, sha256=digest).stat.sha256 == digest


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("72/pool/main/s/sommelier_1_amd64.deb", "application/vnd.debian.binary-package"),
        ("72/streams/v1/images.json", "application/json"),
        ("72/images/debian/trixie/amd64/default/20260101_00:00/lxd.tar.xz", "application/x-xz"),
        ("72/dists/trixie/main/binary-amd64/Packages.gz", "application/gzip"),
        ("72/dists/trixie/InRelease", "text/plain; charset=utf-8"),
        ("72/dists/trixie/Release.gpg", "text/plain; charset=utf-8"),
        ("72/cros-archive-keyring.asc", "text/plain; charset=utf-8"),
        ("72/images/debian/trixie/amd64/default/20260101_00:00/rootfs.squashfs", "application/octet-stream"),
        ("72/NotARelease", "application/octet-stream"),
    ],
)
def test_content_types(name: str, wanted: str) -> None:
    assert content_type(name) == wanted


@pytest.mark.usefixtures("strictly")
def test_an_object_is_renewed(bucket: Bucket) -> None:
    """It stays as it is, but whoever would delete the generation seen before does not."""
    before = bucket.upload(b"one", "72/pool/a", kind=Kind.IMMUTABLE).stat
    after = bucket.renew("72/pool/a", if_generation=before.generation, publisher="her")
    assert after.generation > before.generation
    assert bucket.stat("72/pool/a") == after
    assert (after.sha256, after.size, after.claimed, after.publisher) == (before.sha256, before.size, False, "her")
    for stale in (before.generation, ABSENT):
        with pytest.raises(ConflictError, match="72/pool/a was changed by 'her'"):
            bucket.renew("72/pool/a", if_generation=stale, publisher="me")
    with pytest.raises(ConflictError, match="72/pool/a was changed by 'her'"):
        bucket.delete("72/pool/a", if_generation=before.generation)
    assert not bucket.upload(b"one", "72/pool/a", kind=Kind.IMMUTABLE).changed
    bucket.delete("72/pool/a", if_generation=after.generation)
    with pytest.raises(ConflictError, match="was deleted"):
        bucket.renew("72/pool/a", if_generation=after.generation, publisher="me")
