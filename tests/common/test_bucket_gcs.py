"""Google Cloud Storage when it fails: what is tried again, what is refused, and that no wrong byte is ever kept."""

import gc
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from common.bucket import ABSENT, Kind
from common.bucket_gcs import THREADS, GcsBucket
from common.errors import ArtifactError, ConfigError, ConflictError, NetworkError
from common.store import Store, open_bucket
from tests.common.buckets import EMULATOR_VARIABLE, IN_A_HURRY, Place, strict
from tests.common.gcs_stand_in import Fault, Object, Storage

# The library leaves the connection of a download it tries again to the garbage collector; `place` calls it.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

LARGE = bytes(range(256)) * (9 << 12)  # 9 MiB: two requests of a resumable upload
SIZES = {"small": b"content", "large": LARGE}
ACTIONS = {"small": "upload", "large": "chunk"}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with strict(tmp_path_factory.mktemp("gs")) as place:
        yield place
    gc.collect()


@pytest.fixture
def storage(place: Place) -> Iterator[Storage]:
    assert place.storage is not None
    yield place.storage
    assert place.storage.faults == [], "a fault that nobody ran into"
    place.storage.requests.clear()


@pytest.fixture
def bucket(place: Place, storage: Storage) -> Iterator[GcsBucket]:
    with place.bucket() as bucket:
        assert isinstance(bucket, GcsBucket)
        yield bucket


def there(storage: Storage, bucket: GcsBucket, name: str) -> Object:
    return storage.buckets[bucket.url.removeprefix("gs://")][name]


PASSING = {
    "503": {"status": 503}, "500 twice": {"status": 500, "times": 2}, "429": {"status": 429}, "408": {"status": 408},
    "a reset": {"reset": True}, "a lost answer": {"lost": True}, "half an answer": {"truncated": True},
    "a byte changed on the way": {"flipped": True}, "a wrong checksum in the answer": {"lying": True},
}  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("fault", PASSING)
@pytest.mark.parametrize("kind", list(Kind))
def test_an_upload_gets_through(bucket: GcsBucket, storage: Storage, size: str, fault: str, kind: Kind) -> None:
    storage.faults.append(Fault(ACTIONS[size], **PASSING[fault]))  # type: ignore[arg-type]
    content = SIZES[size]
    done = bucket.upload(content, "a", kind=kind, if_generation=ABSENT, publisher="job 7")
    assert done.changed
    assert done.stat.sha256 == hashlib.sha256(content).hexdigest()
    assert there(storage, bucket, "a").content == content
    assert bucket.stat("a") == done.stat


@pytest.mark.parametrize("fault", [name for name in PASSING if name != "a byte changed on the way"])
def test_a_resumable_upload_is_begun_again(bucket: GcsBucket, storage: Storage, fault: str) -> None:
    storage.faults.append(Fault("start", **PASSING[fault]))  # type: ignore[arg-type]
    assert bucket.upload(LARGE, "a", kind=Kind.IMMUTABLE).changed
    assert there(storage, bucket, "a").content == LARGE


def test_a_lost_piece_is_sent_again_and_no_other(bucket: GcsBucket, storage: Storage) -> None:
    storage.faults.append(Fault("chunk", lost=True))
    bucket.upload(LARGE, "a", kind=Kind.IMMUTABLE)
    sizes = [len(request.body) for request in storage.requests if request.action == "chunk"]
    assert sizes == [8 << 20, 8 << 20, 1 << 20]


def test_an_expired_session_is_begun_again(bucket: GcsBucket, storage: Storage) -> None:
    storage.faults.append(Fault("chunk", status=410))
    bucket.upload(LARGE, "a", kind=Kind.IMMUTABLE)
    assert storage.actions().count("start") == 2


def test_bytes_that_change_every_time_are_never_kept(bucket: GcsBucket, storage: Storage) -> None:
    before = bucket.upload(b"before", "a", kind=Kind.POINTER).stat
    for size, content in SIZES.items():
        storage.faults.append(Fault(ACTIONS[size], flipped=True, times=4 if size == "small" else 8))
        with pytest.raises(NetworkError, match="cannot be written: 4 times other bytes arrived"):
            bucket.upload(content, "a", kind=Kind.POINTER, if_generation=before.generation)
        storage.faults.clear()
        assert bucket.stat("a") == before


def test_nothing_of_a_refused_upload_is_kept(bucket: GcsBucket, storage: Storage) -> None:
    storage.faults.append(Fault("upload", lying=True, times=4))
    with pytest.raises(NetworkError, match="cannot be written"):
        bucket.upload(b"x", "a", kind=Kind.IMMUTABLE)
    assert bucket.names() == []


@pytest.mark.parametrize("action", ["get", "media"])
@pytest.mark.parametrize("fault", [name for name in PASSING if name != "a wrong checksum in the answer"])
def test_a_read_gets_through(bucket: GcsBucket, storage: Storage, action: str, fault: str) -> None:
    stat = bucket.upload(LARGE, "a", kind=Kind.IMMUTABLE).stat
    storage.faults.append(Fault(action, **PASSING[fault]))  # type: ignore[arg-type]
    held = bucket.read("a")
    assert held is not None
    assert (held.content, held.stat) == (LARGE, stat)


def test_bytes_that_come_wrong_every_time_are_refused(bucket: GcsBucket, storage: Storage) -> None:
    bucket.upload(b"content", "a", kind=Kind.IMMUTABLE)
    storage.faults.append(Fault("media", flipped=True, times=4))
    with pytest.raises(NetworkError, match="cannot be read: 4 times it came with wrong bytes"):
        bucket.read("a")


def test_an_object_replaced_while_it_is_read(bucket: GcsBucket, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.upload(b"old", "a", kind=Kind.POINTER)
    download = GcsBucket._download
    newer: list[bytes] = [b"new"]

    def replaced(self: GcsBucket, name: str, generation: int) -> bytes:
        if newer:
            self.upload(newer.pop(), name, kind=Kind.POINTER)
        return download(self, name, generation)

    monkeypatch.setattr(GcsBucket, "_download", replaced)
    held = bucket.read("a")
    assert held is not None
    assert (held.content, held.stat.sha256) == (b"new", hashlib.sha256(b"new").hexdigest())


def test_an_object_somebody_changed_by_other_means(bucket: GcsBucket, storage: Storage) -> None:
    bucket.upload(b"content", "a", kind=Kind.IMMUTABLE)
    have = there(storage, bucket, "a")
    storage.buckets[bucket.url.removeprefix("gs://")]["a"] = Object(b"cont3nt", have.generation, have.about)
    with pytest.raises(ArtifactError, match="is not what was published there"):
        bucket.read("a")


def test_an_object_without_our_metadata(bucket: GcsBucket, storage: Storage) -> None:
    storage.buckets[bucket.url.removeprefix("gs://")]["a"] = Object(b"content", 5, {})
    digest = hashlib.sha256(b"content").hexdigest()
    stat = bucket.stat("a")
    assert stat is not None
    assert (stat.sha256, stat.publisher) == (digest, "")
    assert not bucket.upload(b"content", "a", kind=Kind.IMMUTABLE).changed


def test_a_slow_answer_is_not_waited_for(place: Place, storage: Storage) -> None:
    with place.bucket(patience=replace(IN_A_HURRY, request=0.1)) as bucket:
        storage.faults += [Fault("upload", slow=0.5), Fault("get", slow=0.5), Fault("media", slow=0.5)]
        assert bucket.upload(b"content", "a", kind=Kind.IMMUTABLE, if_generation=ABSENT).changed
        held = bucket.read("a")
        assert held is not None
        assert held.content == b"content"


@pytest.mark.parametrize("action", ["upload", "get", "list", "delete"])
def test_a_storage_that_stays_away_is_named(place: Place, storage: Storage, action: str) -> None:
    with place.bucket(patience=replace(IN_A_HURRY, deadline=0.3)) as bucket:
        storage.faults.append(Fault(action, status=503, times=1000))
        calls: dict[str, Callable[[], object]] = {
            "upload": lambda: bucket.upload(b"x", "a", kind=Kind.IMMUTABLE, if_generation=ABSENT),
            "get": lambda: bucket.stat("a"), "list": lambda: bucket.names(), "delete": lambda: bucket.delete("a"),
        }  # fmt: skip
        with pytest.raises(NetworkError, match=f"{bucket.url}.*does not answer as it should") as caught:
            calls[action]()
        assert "503" in caught.value.details
        storage.faults.clear()


def test_a_lost_swap_is_ours_and_a_refused_one_is_not(bucket: GcsBucket, storage: Storage) -> None:
    first = bucket.upload(b"1", "InRelease", kind=Kind.POINTER).stat
    storage.faults.append(Fault("upload", lost=True))
    done = bucket.upload(b"2", "InRelease", kind=Kind.POINTER, if_generation=first.generation, publisher="me")
    assert done.changed
    storage.faults.append(Fault("upload", status=412))
    with pytest.raises(ConflictError, match="was changed by 'me'"):
        bucket.upload(b"3", "InRelease", kind=Kind.POINTER, if_generation=done.stat.generation, publisher="you")
    storage.faults.append(Fault("rewrite", lost=True))
    claimed = bucket.claim("InRelease", if_generation=done.stat.generation, publisher="you")
    assert claimed == bucket.stat("InRelease")


@pytest.mark.parametrize("fault", ["503", "429", "a reset", "a lost answer", "half an answer"])
def test_a_copy_gets_through(place: Place, bucket: GcsBucket, storage: Storage, fault: str) -> None:
    stat = bucket.upload(b"x" * (5 << 20), "a", kind=Kind.IMMUTABLE).stat
    with place.bucket() as live:
        storage.faults.append(Fault("rewrite", **PASSING[fault], name="a"))  # type: ignore[arg-type]
        done = live.copy_from(bucket, stat, "b", kind=Kind.IMMUTABLE, if_generation=ABSENT)
        assert (done.changed, done.stat.sha256, done.stat.crc32c) == (True, stat.sha256, stat.crc32c)


@pytest.mark.parametrize("fault", ["503", "a reset", "a lost answer"])
def test_a_deletion_gets_through(bucket: GcsBucket, storage: Storage, fault: str) -> None:
    stat = bucket.upload(b"x", "a", kind=Kind.IMMUTABLE).stat
    storage.faults.append(Fault("delete", **PASSING[fault]))  # type: ignore[arg-type]
    bucket.delete("a", if_generation=stat.generation)
    assert bucket.names() == []


def test_headers_and_metadata_by_kind(bucket: GcsBucket, storage: Storage) -> None:
    bucket.upload(b"x", "72/pool/a.deb", kind=Kind.IMMUTABLE, publisher="job 7")
    stat = bucket.upload(b"x", "72/dists/trixie/InRelease", kind=Kind.POINTER).stat
    deb, pointer = (there(storage, bucket, name).about for name in ("72/pool/a.deb", "72/dists/trixie/InRelease"))
    assert deb["cacheControl"] == "public, max-age=31536000, immutable"
    assert deb["contentType"] == "application/vnd.debian.binary-package"
    assert (deb["metadata"]["sha256"], deb["metadata"]["publisher"]) == (hashlib.sha256(b"x").hexdigest(), "job 7")
    assert (pointer["cacheControl"], pointer["contentType"]) == ("public, max-age=30", "text/plain; charset=utf-8")
    bucket.claim("72/dists/trixie/InRelease", if_generation=stat.generation, publisher="me")
    claimed = there(storage, bucket, "72/dists/trixie/InRelease").about
    assert (claimed["cacheControl"], claimed["contentType"]) == ("public, max-age=30", "text/plain; charset=utf-8")


def test_one_listing_tells_about_many(bucket: GcsBucket, storage: Storage) -> None:
    names = [f"72/pool/{number:04}" for number in range(1500)]
    objects = storage.buckets[bucket.url.removeprefix("gs://")]
    for name in [*names, "71/pool/0", "73/pool/0"]:
        objects[name] = Object(b"x", 5, {"metadata": {"sha256": "0" * 64}})
    storage.requests.clear()
    assert sorted(bucket.stats(names)) == names
    assert storage.actions() == ["list", "list"]
    storage.requests.clear()
    assert sorted(bucket.stats(names[:THREADS])) == names[:THREADS]
    assert storage.actions() == ["get"] * THREADS


def test_a_bucket_that_is_not_there(place: Place, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(EMULATOR_VARIABLE, place.url)
    bucket = open_bucket(Store.parse("gs://"), "cros-nowhere")
    assert isinstance(bucket, GcsBucket)
    try:
        for call in (lambda: bucket.upload(b"x", "a", kind=Kind.IMMUTABLE), bucket.names):
            with pytest.raises(ConfigError, match=r"gs://cros-nowhere.*there is no such bucket"):
                call()
    finally:
        bucket.close()


def test_no_credentials_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(EMULATOR_VARIABLE, raising=False)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "gone.json"))
    with pytest.raises(ConfigError, match="no credentials for gs://cros-packages") as caught:
        open_bucket(Store.parse("gs://"), "cros-packages")
    assert "application-default login" in caught.value.hint
