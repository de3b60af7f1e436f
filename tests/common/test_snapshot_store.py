"""Snapshots and evidence in a directory bucket."""

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.bucket import Kind
from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, ConflictError, UsageError
from common.evidence import Snapshot, Snapshots
from common.shown import Object
from common.snapshot_store import STATEMENT, Signed, SnapshotStore
from tests.common.tastparts import CREATED

PATH = "images/debian/bookworm/amd64/test/20261126_10:00/lxd.tar.xz"


def statement(**changes: object) -> bytes:
    usual = {
        "_type": STATEMENT,
        "subject": [{"name": PATH, "digest": {"sha256": "a" * 64}, "annotations": {"size": 7}}],
        "predicate": {"runDetails": {"metadata": {"finishedOn": CREATED.isoformat()}}},
    }
    return json.dumps({**usual, **changes}).encode()


@pytest.fixture
def bucket(tmp_path: Path) -> DirectoryBucket:
    return DirectoryBucket(tmp_path / "cros-containers-staging")


def put(bucket: DirectoryBucket, content: bytes, *, folder: str = "72/") -> str:
    made = hashlib.sha256(content).hexdigest()
    bucket.upload(content, f"{folder}snapshots/{made}.json", kind=Kind.IMMUTABLE)
    return made


def test_a_snapshot_is_read(bucket: DirectoryBucket) -> None:
    made = put(bucket, statement())
    store: Snapshots = SnapshotStore(bucket, 72)
    assert store.get(made) == Snapshot(
        id=made, milestone=72, created=CREATED, objects={PATH: Object(size=7, sha256="a" * 64)}
    )
    assert SnapshotStore(bucket, 72).has(made)
    assert not SnapshotStore(bucket, 73).has(made)
    assert not SnapshotStore(bucket, 72).has("../72")


def test_69_is_at_the_top(bucket: DirectoryBucket) -> None:
    made = put(bucket, statement(), folder="")
    store = SnapshotStore(bucket, 69)
    assert store.get(made).milestone == 69
    assert store.url == "gs://cros-containers-staging"
    assert SnapshotStore(bucket, 72).url == "gs://cros-containers-staging/72"


@pytest.mark.parametrize("snapshot", ["", "x", "../../etc", "0" * 63, "A" * 64])
def test_what_is_no_id(bucket: DirectoryBucket, snapshot: str) -> None:
    with pytest.raises(UsageError, match="is no id of a snapshot"):
        SnapshotStore(bucket, 72).get(snapshot)


def test_what_is_not_there(bucket: DirectoryBucket) -> None:
    store = SnapshotStore(bucket, 72)
    with pytest.raises(UsageError, match=f"gs://cros-containers-staging/72 has no snapshot '{'0' * 64}'"):
        store.get("0" * 64)
    with pytest.raises(UsageError, match="has no snapshot"):
        store.attach_evidence("0" * 64, "pfq-1", b"{}", b"s")
    assert bucket.names() == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(st.data())
def test_a_changed_byte_is_found(bucket: DirectoryBucket, data: st.DataObject) -> None:
    content = bytearray(statement())
    made = hashlib.sha256(content).hexdigest()
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]))
    bucket.upload(bytes(content), f"72/snapshots/{made}.json", kind=Kind.POINTER)
    with pytest.raises(ArtifactError, match="is not what its name says"):
        SnapshotStore(bucket, 72).get(made)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{}", "is no manifest of a snapshot"), (b"", "is not JSON"), (statement(_type="x"), "is no manifest"),
        (statement(subject=[{"name": "x"}]), "is no object with size and SHA-256"),
        (statement(predicate={"runDetails": {"metadata": {"finishedOn": "noon"}}}), "'noon' is no time"),
    ],
)  # fmt: skip
def test_what_is_no_manifest(bucket: DirectoryBucket, content: bytes, said: str) -> None:
    with pytest.raises(ArtifactError, match=said):
        SnapshotStore(bucket, 72).get(put(bucket, content))


def test_evidence_is_kept_beside_it_and_never_replaced(bucket: DirectoryBucket) -> None:
    made = put(bucket, statement())
    store = SnapshotStore(bucket, 72)
    assert store.evidence(made) == {}
    url = store.attach_evidence(made, "pfq-1", b"{}", b"signature")
    assert url == f"gs://cros-containers-staging/72/snapshots/{made}/evidence/pfq-1.json"
    assert store.evidence(made) == {url: Signed(b"{}", b"signature")}
    store.attach_evidence(made, "pfq-1", b"{}", b"signature")
    with pytest.raises(ConflictError, match="exists with other content"):
        store.attach_evidence(made, "pfq-1", b"[]", b"signature")
    store.attach_evidence(made, "pfq-2", b"{}", b"signature")
    assert len(store.evidence(made)) == 2


def test_evidence_without_a_signature_is_found(bucket: DirectoryBucket) -> None:
    made = put(bucket, statement())
    bucket.upload(b"{}", f"72/snapshots/{made}/evidence/pfq-1.json", kind=Kind.IMMUTABLE)
    with pytest.raises(ArtifactError, match=r"evidence/pfq-1\.json has no signature"):
        SnapshotStore(bucket, 72).evidence(made)
