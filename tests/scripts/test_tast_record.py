"""`invoke tast-record`: what is attached, that anybody can verify it, and when nothing is attached."""

import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.bucket import Kind
from common.bucket_directory import DirectoryBucket
from common.documents import verify_document
from common.errors import ArtifactError, SigningError, UsageError
from common.evidence import Evidence, Note, missing_for
from common.keyring import ATTESTATION, throwaway_key
from common.snapshot_store import SnapshotStore
from common.tast_suites import find_suite
from lxd.tast_data import pins_of
from scripts.gate import evidence_of
from scripts.tast_record import run
from tests.common.aptparts import make_key
from tests.common.tastparts import error, leave, record
from tests.scripts.tastchecks import publish, snapshot
from tests.support import Checkout

KEYRING = "72/snapshots/keyring.asc"
ED25519 = ("Key-Type: EDDSA", "Key-Curve: ed25519", "Key-Usage: sign")
Recorded = Callable[..., None]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A bucket with images of milestone 72, and the keyring of the desk's key for records."""
    out = tmp_path / "out"
    images = publish(out)
    images.upload(throwaway_key(out / "keys", ATTESTATION).public.read_bytes(), KEYRING, kind=Kind.POINTER)
    return out


@pytest.fixture
def store(out: Path) -> SnapshotStore:
    return SnapshotStore(DirectoryBucket(out / "gs" / "cros-containers-staging"), 72)


@pytest.fixture
def made(store: SnapshotStore) -> str:
    """A snapshot of an hour before the tests of a result directory."""
    assert isinstance(store.bucket, DirectoryBucket)
    return snapshot(store.bucket, created=dt.datetime(2026, 11, 26, 9, 0, tzinfo=dt.UTC))


@pytest.fixture
def recorded(out: Path, made: str, tmp_path: Path) -> Recorded:
    def recorded(**arguments: object) -> None:
        usual = {"suite": "", "snapshot": made, "results": str(tmp_path / "results"), "keys": "", "milestone": 0,
                 "plan": False, "out": str(out), "storage": "directory"}  # fmt: skip
        run(**{**usual, **arguments})  # type: ignore[arg-type]

    return recorded


def results(folder: Path, store: SnapshotStore, made: str, *records: dict[str, object]) -> None:
    """Leave what `invoke tast-run` would."""
    leave(folder, records or (record(),))
    note = Note(snapshot=made, suite="pfq", host="dut1", pins=pins_of(store.get(made).objects, store.url))
    (folder / "release_run.json").write_bytes(note.write())


def only_evidence(store: SnapshotStore, made: str) -> Evidence:
    """What is attached, verified with what is published."""
    [(url, signed)] = store.evidence(made).items()
    keyring = (store.bucket.root / KEYRING).read_bytes()  # type: ignore[attr-defined]
    verify_document(signed.content, signed.signature, keyring, where=url)
    return Evidence.read(signed.content, url)


def test_a_green_run_is_attached_and_anybody_can_verify_it(
    recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results(tmp_path / "results", store, made, record(), record("crostini.Sync", skipReason="no dlc"))
    recorded()
    said = capsys.readouterr().out.splitlines()
    evidence = only_evidence(store, made)
    assert said == [
        "pfq: green (1 passed, 1 skipped)",
        f"attached as gs://cros-containers-staging/72/snapshots/{made}/evidence/{evidence.name}.json",
    ]
    assert evidence.green
    assert (evidence.snapshot, evidence.suite, evidence.host) == (made, "pfq", "dut1")
    assert set(evidence.files) == {"results.json", "streamed_results.jsonl", "release_run.json"}


def test_a_red_run_is_attached_too(
    recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results(tmp_path / "results", store, made, record(errors=[error()]))
    recorded()
    assert "pfq: not green (1 failed)\n  crostini.Basic failed: Failed to start\n" in capsys.readouterr().out
    evidence = only_evidence(store, made)
    assert not evidence.green
    assert evidence.why == ("crostini.Basic failed: Failed to start",)


def test_an_interrupted_run_is_attached_as_what_it_is(
    recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str
) -> None:
    results(tmp_path / "results", store, made)
    (tmp_path / "results" / "results.json").unlink()
    recorded()
    assert only_evidence(store, made).why == ("results.json is missing: the run was interrupted",)


def test_a_device_whose_clock_is_ahead(
    recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tomorrow = (dt.datetime.now(dt.UTC) + dt.timedelta(days=1)).isoformat()
    results(tmp_path / "results", store, made, record(start=tomorrow, end=tomorrow))
    recorded()
    assert "pfq: not green (1 passed)\n  crostini.Basic is of 2" in capsys.readouterr().out
    [sentence] = only_evidence(store, made).why
    assert "later than now" in sentence


def test_results_of_another_snapshot_are_not_green(
    recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str, out: Path
) -> None:
    results(tmp_path / "results", store, made)
    newer = snapshot(publish(out, day=1), created=dt.datetime(2026, 11, 26, 9, 30, tzinfo=dt.UTC))
    recorded(snapshot=newer)
    why = only_evidence(store, newer).why
    assert why[0] == f"release_run.json: the run was of snapshot {made!r}, not of {newer!r}"
    assert any("/20261126_10:00/lxd.tar.xz, where the snapshot has gs://" in sentence for sentence in why)


def test_results_that_nobody_knows_the_snapshot_of(
    recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str
) -> None:
    leave(tmp_path / "results", [record()])
    with pytest.raises(UsageError, match="no suite is named"):
        recorded()
    assert store.evidence(made) == {}
    recorded(suite="pfq")
    assert only_evidence(store, made).why[0].startswith("release_run.json is missing")


def test_a_directory_without_any_results(recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str) -> None:
    (tmp_path / "results").mkdir()
    with pytest.raises(UsageError, match="has nothing that Tast writes"):
        recorded(suite="pfq")
    assert store.evidence(made) == {}


def test_a_plan_attaches_nothing(
    recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    results(tmp_path / "results", store, made)
    recorded(plan=True)
    assert capsys.readouterr().out == "pfq: green (1 passed)\n"
    assert store.evidence(made) == {}


def test_a_key_of_the_keystore(recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str, out: Path) -> None:
    results(tmp_path / "results", store, made)
    key = make_key(tmp_path / "keystore", *ED25519)
    key.rename(key.with_name("73103_cros-attestation-key"))
    with pytest.raises(SigningError, match="'the evidence' has no good signature by a key of 'keyring.asc'"):
        recorded(keys=str(tmp_path / "keystore"))
    assert store.evidence(made) == {}, "a key that nobody knows signs nothing"
    with pytest.raises(SigningError, match="no key"):
        recorded(keys=str(tmp_path))


def test_without_a_published_keyring(
    recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str, out: Path
) -> None:
    results(tmp_path / "results", store, made)
    store.bucket.delete(KEYRING)
    with pytest.raises(SigningError, match=r"snapshots/keyring\.asc is missing: nobody can verify"):
        recorded()
    assert store.evidence(made) == {}


def test_what_makes_no_sense(recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str) -> None:
    with pytest.raises(UsageError, match="is no result directory of Tast"):
        recorded()
    results(tmp_path / "results", store, made)
    with pytest.raises(UsageError, match="unknown suite 'x'"):
        recorded(suite="x")
    with pytest.raises(UsageError, match="no active milestone"):
        recorded(snapshot="0" * 64)


def test_evidence_is_verified_and_of_this_snapshot(
    recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str, out: Path
) -> None:
    results(tmp_path / "results", store, made)
    recorded()
    keyring = (out / "gs" / "cros-containers-staging" / KEYRING).read_bytes()
    [evidence] = evidence_of(store, made, keyring)
    assert isinstance(evidence, Evidence)
    assert missing_for([find_suite("pfq")], [evidence], made, now=evidence.recorded) == []
    [signed] = store.evidence(made).values()
    other = snapshot(publish(out, day=1))
    store.attach_evidence(other, evidence.name, signed.content, signed.signature)
    with pytest.raises(ArtifactError, match=f"is '{evidence.name}' of snapshot '{made}'"):
        evidence_of(store, other, keyring)
    store.attach_evidence(made, "pfq-later", signed.content, signed.signature)
    with pytest.raises(ArtifactError, match=r"pfq-later\.json is"):
        evidence_of(store, made, keyring)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=15)
@given(st.data())
def test_a_changed_byte_of_evidence_is_found(
    recorded: Recorded, tmp_path: Path, store: SnapshotStore, made: str, out: Path, data: st.DataObject
) -> None:
    if not store.evidence(made):
        results(tmp_path / "results", store, made)
        recorded()
    keyring = (out / "gs" / "cros-containers-staging" / KEYRING).read_bytes()
    [(url, signed)] = store.evidence(made).items()
    name = url.removeprefix(f"{store.bucket.url}/")
    content = bytearray(signed.content)
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != content[position]))
    store.bucket.upload(bytes(content), name, kind=Kind.POINTER)
    with pytest.raises(SigningError, match="is damaged"):
        evidence_of(store, made, keyring)
    store.bucket.upload(signed.content, name, kind=Kind.POINTER)
    assert len(evidence_of(store, made, keyring)) == 1


def test_the_task(pristine: Checkout, tmp_path: Path, store: SnapshotStore, made: str, out: Path) -> None:
    results(tmp_path / "results", store, made)
    finished = pristine.run("invoke", "tast-record", "--snapshot", made, "--results", str(tmp_path / "results"),
                            "--out", str(out))  # fmt: skip
    assert finished.code == 0, finished.output
    [signed] = store.evidence(made).values()
    assert json.loads(signed.content)["green"] is True
