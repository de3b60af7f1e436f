"""Another attestation key: what the one before signed stays good, and whose word counts is up to who promotes."""

from pathlib import Path

import pytest

from common.bucket import Kind
from common.documents import sign_document
from common.errors import ArtifactError, GateError
from common.evidence import Evidence
from common.keyring import ATTESTATION, fingerprints, throwaway_key
from common.signing import Signer, homedir, import_secret_keys, united_keyrings
from common.snapshots import Part
from kokoro.attest import KEY
from scripts import history, promote, rollback, staged, verify
from scripts.promote import How
from tests.scripts.releaseparts import half, make_green, publish
from tests.scripts.releaseparts import staged as shown

BUCKETS = ("cros-packages-staging", "cros-containers-staging", "cros-packages", "cros-containers")


def rotate(desk: Path, name: str) -> Path:
    """Take the attestation key away, so that the next run makes another one; where it is now."""
    return (desk / "keys" / ATTESTATION).rename(desk / name)


def go_live(desk: Path, *, keys: str = "") -> None:
    for part in Part:
        promote.run(part, milestone=72, snapshot="", how=How(out=str(desk), who="me", keys=keys))


def check(desk: Path) -> None:
    history.run(milestone=72, out=str(desk), storage="directory")
    for live in (False, True):
        verify.run(milestone=72, live=live, out=str(desk), storage="directory")


def keyring(desk: Path, bucket: str) -> Path:
    return desk / "gs" / bucket / "72/snapshots/keyring.asc"


def stage(desk: Path, version: str) -> None:
    publish(desk, version)
    make_green(desk)


def both(desk: Path, name: str) -> str:
    """A directory as the keystore has it, with the key that was taken away and the one of now."""
    folder = desk / "both"
    folder.mkdir()
    (folder / f"73103_{KEY}").write_bytes((desk / name / "secret.asc").read_bytes())
    (folder / f"73103_{KEY}-next").write_bytes((desk / "keys" / ATTESTATION / "secret.asc").read_bytes())
    return str(folder)


def test_what_the_old_key_signed_is_promoted_verified_and_put_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage(tmp_path, "72.1")
    go_live(tmp_path)
    first = {part: half(tmp_path, part).shown_live() for part in Part}
    stage(tmp_path, "72.2")
    old = rotate(tmp_path, "old")
    throwaway_key(tmp_path / "keys", ATTESTATION)
    go_live(tmp_path)  # its tests were recorded with the old key
    check(tmp_path)
    stage(tmp_path, "72.3")
    go_live(tmp_path)
    check(tmp_path)
    capsys.readouterr()
    for part, snapshot in first.items():
        assert snapshot is not None
        rollback.run(part, milestone=72, to=snapshot.id, how=How(out=str(tmp_path), who="me"))
    check(tmp_path)
    keys = [*fingerprints(old / "public.asc"), *fingerprints(tmp_path / "keys" / ATTESTATION / "public.asc")]
    assert capsys.readouterr().out.count(f"; signed with {', '.join(keys)}\n") == len(BUCKETS)
    staged.run(milestone=72, diff="", out=str(tmp_path), storage="directory")
    assert capsys.readouterr().out.count("    may go live\n") == 6


def test_a_first_promotion_needs_the_old_key_too(tmp_path: Path) -> None:
    stage(tmp_path, "72.1")
    rotate(tmp_path, "old")
    throwaway_key(tmp_path / "keys", ATTESTATION)
    with pytest.raises(GateError, match="may not go live") as refused:
        go_live(tmp_path)
    assert "no good signature by a key of" in refused.value.details
    go_live(tmp_path, keys=both(tmp_path, "old"))
    verify.run(milestone=72, live=True, out=str(tmp_path), storage="directory")


def test_a_key_that_somebody_adds_to_staging_lets_nothing_go_live(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(tmp_path, "72.1")
    stranger = throwaway_key(tmp_path / "stranger", ATTESTATION)
    images, snapshot = half(tmp_path, Part.CONTAINER).staging, shown(tmp_path, Part.CONTAINER)
    with homedir() as home:
        signer = Signer(home, import_secret_keys(home, [stranger.secret]))
        images.publish_keyring(signer, publisher="stranger")
        make_green(tmp_path)
        go_live(tmp_path)  # as long as nothing of it is signed with that key
        [(name, signed)] = [each for each in images.evidence(snapshot.id).items() if "/pfq-" in each[0]]
        said = Evidence.read(signed.content, name)
        images.bucket.upload(
            sign_document(said.write(), signer), name.removeprefix(f"{images.bucket.url}/") + ".sig", kind=Kind.POINTER
        )
    verify.run(milestone=72, live=False, out=str(tmp_path), storage="directory")
    for part in Part:
        with pytest.raises(GateError, match="may not go live") as refused:
            promote.run(part, milestone=72, snapshot="", how=How(out=str(tmp_path), who="me"))
        assert f"{said.name}.json' has no good signature by a key of" in refused.value.details
    # who only looks, without a key, takes what is published
    rotate(tmp_path, "away")
    capsys.readouterr()
    staged.run(milestone=72, diff="", out=str(tmp_path), storage="directory")
    assert capsys.readouterr().out.count("    may go live\n") == len(Part)


def test_a_damaged_keyring_holds_nothing_up_and_stays_for_who_can_restore_it(tmp_path: Path) -> None:
    stage(tmp_path, "72.1")
    path = keyring(tmp_path, "cros-packages-staging")
    whole = path.read_bytes()
    path.unlink()
    path.write_bytes(whole.replace(b"BLOCK-----\n\n", b"BLOCK-----\nComment: mine\n\n"))
    stage(tmp_path, "72.2")
    go_live(tmp_path)
    with pytest.raises(ArtifactError) as caught:
        verify.run(milestone=72, live=False, out=str(tmp_path), storage="directory")
    assert caught.value.details == "gs://cros-packages-staging/72/snapshots/keyring.asc is not as it was published"
    path.write_bytes(whole)
    check(tmp_path)


def test_a_key_is_taken_out_on_purpose(tmp_path: Path) -> None:
    stage(tmp_path, "72.1")
    go_live(tmp_path)
    rotate(tmp_path, "old")
    for bucket in BUCKETS:
        keyring(tmp_path, bucket).unlink()
    publish(tmp_path, "72.2")
    with pytest.raises(GateError):
        go_live(tmp_path)
    make_green(tmp_path)
    go_live(tmp_path)
    assert len({keyring(tmp_path, bucket).read_bytes() for bucket in BUCKETS}) == 1
    ours = throwaway_key(tmp_path / "keys", ATTESTATION).public.read_bytes()
    assert keyring(tmp_path, BUCKETS[0]).read_bytes() == united_keyrings(ours)
    with pytest.raises(ArtifactError, match="a ledger does not say what happened"):
        check(tmp_path)
