"""Publication to staging: the order, what is never replaced, what stays, and who is refused."""

import datetime as dt
import gc
import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from debian.deb822 import Packages

from common import aptpublish
from common.aptrepo import KEYRING, indices_of
from common.bucket import Kind
from common.bucket_directory import DirectoryBucket
from common.errors import ArtifactError, ConfigError, ConflictError, SigningError
from common.files import sha256_of
from common.manifest import Manifest
from common.signing import verify
from common.store import Store, open_bucket
from kokoro import apt_signer, publish_apt_staging
from kokoro.env import KokoroEnv
from tests.common.aptparts import RELEASES, signed
from tests.common.buckets import EMULATOR_VARIABLE, emulator


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> KokoroEnv:
    return signed(tmp_path_factory.mktemp("signed"))


@pytest.fixture
def env(made: KokoroEnv, tmp_path: Path) -> KokoroEnv:
    """The job that publishes, with an empty bucket and its own copy of what it finds."""
    shutil.copytree(made.gfile_dir, tmp_path / "gfile")
    (tmp_path / "artifacts").mkdir()
    return replace(
        made, gfile_dir=tmp_path / "gfile", artifacts_dir=tmp_path / "artifacts", store=Store(tmp_path / "gs")
    )


def bucket_of(env: KokoroEnv) -> Path:
    assert env.store is not None
    assert env.store.root is not None
    return env.store.root / "cros-packages-staging" / "72"


def shown(env: KokoroEnv) -> Manifest:
    """What clients find there; the record of it aside."""
    entries = Manifest.of(bucket_of(env)).entries
    return Manifest(tuple(entry for entry in entries if not entry.path.startswith("snapshots/")))


# Written out again, and not taken from common.aptrepo: what is published in which order.
ORDER = (
    r"pool/.*\.deb",
    r"dists/[^/]+/main/.*/by-hash/SHA256/[0-9a-f]{64}",
    r"cros-archive-keyring\.asc",
    r"dists/[^/]+/main/[^/]+/(Packages|Packages\.gz|Release)",
    r"dists/[^/]+/Release",
    r"dists/[^/]+/Release\.gpg",
    r"dists/[^/]+/InRelease",
)


def rank_of(name: str) -> int:
    [found] = [number for number, pattern in enumerate(ORDER) if re.fullmatch(pattern, name)]
    return found


def sign_again(env: KokoroEnv, made: KokoroEnv) -> None:
    """Sign the same repository anew, as a later run does."""
    found = made.gfile_dir.with_name("artifacts")
    for path in env.gfile_dir.glob("apt_signed*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    apt_signer.build(replace(made, gfile_dir=found, artifacts_dir=env.gfile_dir))


def test_the_bucket_holds_the_repository(env: KokoroEnv) -> None:
    publish_apt_staging.build(env)
    assert shown(env) == Manifest.of(env.gfile_dir / "apt_signed")
    report = json.loads((env.artifacts_dir / "published.json").read_text())["report"]
    assert {release: report[release]["uploaded"] > 10 for release in RELEASES} == dict.fromkeys(RELEASES, True)


def test_the_second_time_uploads_nothing(env: KokoroEnv) -> None:
    publish_apt_staging.build(env)
    before = {path: path.stat().st_mtime_ns for path in bucket_of(env).rglob("*")}
    publish_apt_staging.build(env)
    assert {path: path.stat().st_mtime_ns for path in bucket_of(env).rglob("*")} == before
    report = json.loads((env.artifacts_dir / "published.json").read_text())["report"]
    assert [report[release]["uploaded"] for release in RELEASES] == [0, 0]


def test_signed_anew_uploads_the_signatures(env: KokoroEnv, made: KokoroEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    publish_apt_staging.build(env)
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    monkeypatch.setattr(apt_signer, "now", lambda: tomorrow)
    sign_again(env, made)
    publish_apt_staging.build(env)
    report = json.loads((env.artifacts_dir / "published.json").read_text())["report"]
    assert [report[release]["uploaded"] for release in RELEASES] == [3, 3]  # Release, Release.gpg, InRelease


def test_the_order(env: KokoroEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    names: list[str] = []
    upload = DirectoryBucket.upload

    def noted(self: DirectoryBucket, source: Path, name: str, **more: object) -> object:
        names.append(name.removeprefix("72/"))
        return upload(self, source, name, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(DirectoryBucket, "upload", noted)
    publish_apt_staging.build(env)
    first = names[: names.index("dists/bookworm/InRelease") + 1]
    ranks = [rank_of(name) for name in first]
    assert ranks == sorted(ranks)
    assert set(ranks) == set(range(len(ORDER)))
    assert first[-3:] == [f"dists/bookworm/{name}" for name in ("Release", "Release.gpg", "InRelease")]


def check_as_a_client(root: Path, codename: str) -> int:
    """Begin with InRelease, as apt does, and look for all it leads to; the number of packages found."""
    text = (root / "dists" / codename / "InRelease").read_text().split("\n\n", 1)[1]
    found = 0
    for index in indices_of(text):
        path = root / "dists" / codename / index.by_hash
        assert sha256_of(path) == index.sha256
        if index.path.endswith("/Packages"):
            for package in Packages.iter_paragraphs(path.read_text(), use_apt_pkg=False):
                assert sha256_of(root / package["Filename"]) == package["SHA256"]
                found += 1
    return found


def test_every_state_on_the_way_fits_together(env: KokoroEnv, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each single upload of a second publication, a client finds everything: all old, then all new."""
    publish_apt_staging.build(env)
    newer = same_desk(env, tmp_path / "newer")
    root = bucket_of(env)
    seen: list[bytes] = []
    upload = DirectoryBucket.upload

    def watched(self: DirectoryBucket, source: Path, name: str, **more: object) -> object:
        done = upload(self, source, name, **more)  # type: ignore[arg-type]
        if name.startswith(("72/pool", "72/dists/bookworm")):
            assert check_as_a_client(root, "bookworm") == 9  # 2 for each of 4 architectures, and libdrm2
            seen.append((root / "dists/bookworm/InRelease").read_bytes())
        return done

    monkeypatch.setattr(DirectoryBucket, "upload", watched)
    publish_apt_staging.build(replace(newer, store=env.store))
    assert len(set(seen)) == 2
    verify(root / "dists/bookworm/InRelease", root / KEYRING)
    assert seen.count(seen[-1]) <= 2  # InRelease, and the note about what it superseded


def same_desk(env: KokoroEnv, place: Path, *, releases: Sequence[str] = RELEASES) -> KokoroEnv:
    """A newer repository made below `place`, signed by the key that signed ours."""
    keys = env.keystore_dir
    assert keys is not None
    shutil.copytree(keys.parent / "keys", place / "keys")
    return signed(place, version="72.11317", releases=releases)


def test_other_content_in_the_pool(env: KokoroEnv) -> None:
    name = next(path for path in (env.gfile_dir / "apt_signed").rglob("cros-garcon*.deb"))
    there = bucket_of(env) / name.relative_to(env.gfile_dir / "apt_signed")
    there.parent.mkdir(parents=True)
    there.write_bytes(b"other")
    with pytest.raises(ConflictError, match="with other content") as caught:
        publish_apt_staging.build(env)
    assert there.name in str(caught.value)
    assert [path for path in bucket_of(env).rglob("*") if path.is_file()] == [there]


def test_one_release_leaves_the_other(env: KokoroEnv, tmp_path: Path) -> None:
    publish_apt_staging.build(env)
    before = {path: path.read_bytes() for path in (bucket_of(env) / "dists/trixie").rglob("*") if path.is_file()}
    narrow = same_desk(env, tmp_path / "narrow", releases=("bookworm",))
    publish_apt_staging.build(replace(narrow, store=env.store))
    after = {path: path.read_bytes() for path in (bucket_of(env) / "dists/trixie").rglob("*") if path.is_file()}
    assert after == before
    root = bucket_of(env)
    for release in RELEASES:
        verify(root / "dists" / release / "InRelease", root / KEYRING)
    # packages of the version before stay, for clients with older lists
    assert len(list(root.glob("pool/main/c/cros-garcon/*deb12_all.deb"))) == 2
    assert b"72.11317+deb12" in (root / "dists/bookworm/main/binary-amd64/Packages").read_bytes()


def test_one_release_with_another_key(env: KokoroEnv, tmp_path: Path) -> None:
    publish_apt_staging.build(env)
    before = shown(env)
    stranger = signed(tmp_path / "stranger", releases=("bookworm",), version="72.11317")
    with pytest.raises(SigningError, match="'trixie' stays published, and is not signed by a key of the new keyring"):
        publish_apt_staging.build(replace(stranger, store=env.store))
    assert shown(env) == before


def test_an_older_repository(env: KokoroEnv, made: KokoroEnv, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(env.gfile_dir, old)
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    monkeypatch.setattr(apt_signer, "now", lambda: tomorrow)
    sign_again(env, made)
    publish_apt_staging.build(env)
    before = shown(env)
    with pytest.raises(ConflictError, match="newer than ours") as caught:
        publish_apt_staging.build(replace(env, gfile_dir=old))
    assert "sign again" in caught.value.hint
    assert shown(env) == before


def test_somebody_was_faster(env: KokoroEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    """InRelease changes between our look at it and our upload: theirs stays."""
    check = aptpublish.check_others

    def slow(target: aptpublish.Target, *more: object) -> None:
        check(target, *more)  # type: ignore[arg-type]
        target.bucket.upload(b"theirs", "72/dists/bookworm/InRelease", kind=Kind.POINTER, publisher="the other")

    monkeypatch.setattr(aptpublish, "check_others", slow)
    with pytest.raises(ConflictError, match="changed by 'the other'"):
        publish_apt_staging.build(env)
    assert (bucket_of(env) / "dists/bookworm/InRelease").read_bytes() == b"theirs"
    assert not (bucket_of(env) / "dists/bookworm/Release").exists()


def test_a_changed_artifact(env: KokoroEnv) -> None:
    victim = env.gfile_dir / "apt_signed/dists/bookworm/main/binary-amd64/Packages"
    victim.write_bytes(victim.read_bytes() + b"\n")
    with pytest.raises(ArtifactError, match="'apt_signed' is not what 'apt_signed.manifest.json' says"):
        publish_apt_staging.build(env)
    assert not bucket_of(env).exists()


def test_a_bad_signature(env: KokoroEnv) -> None:
    root = env.gfile_dir / "apt_signed"
    victim = root / "dists/bookworm/InRelease"
    victim.write_bytes(victim.read_bytes().replace(b"Google", b"Goggle"))
    Manifest.of(root).write(env.gfile_dir / "apt_signed.manifest.json")
    with pytest.raises(SigningError, match="no good signature"):
        publish_apt_staging.build(env)
    assert not bucket_of(env).exists()


def test_no_bucket(env: KokoroEnv) -> None:
    with pytest.raises(ConfigError, match="CROS_STORE is not set"):
        publish_apt_staging.build(replace(env, store=None))


def test_superseded_by_hash_files_stay_for_two_days(env: KokoroEnv, tmp_path: Path) -> None:
    publish_apt_staging.build(env)
    root = bucket_of(env)
    old = set(root.glob("dists/bookworm/**/by-hash/SHA256/*"))
    publish_apt_staging.build(replace(same_desk(env, tmp_path / "newer"), store=env.store))
    assert all(path.exists() for path in old)
    new = set(root.glob("dists/bookworm/**/by-hash/SHA256/*")) - old
    assert new
    target = aptpublish.Target(DirectoryBucket(root.parent), 72)
    text = (root / "dists/bookworm/Release").read_text()
    later = dt.datetime.now(dt.UTC)
    assert aptpublish.prune_by_hash(target, "bookworm", text, now=later + dt.timedelta(hours=47), publisher="me") == []
    gone = aptpublish.prune_by_hash(target, "bookworm", text, now=later + dt.timedelta(hours=49), publisher="me")
    assert gone
    assert not [path for path in old if path.exists() and path.name not in text]
    assert all(path.exists() for path in new)


@pytest.fixture
def in_google(env: KokoroEnv, monkeypatch: pytest.MonkeyPatch) -> Iterator[KokoroEnv]:
    """The same job where the bucket is in an emulator of Google Cloud Storage."""
    with emulator(env.artifacts_dir) as place, place.bucket(publish_apt_staging.BUCKET):
        monkeypatch.setenv(EMULATOR_VARIABLE, place.url)
        yield replace(env, store=Store(), emulated=True)
    gc.collect()  # what builds leave to the end of their process


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_in_google_cloud_storage(in_google: KokoroEnv, tmp_path: Path) -> None:
    publish_apt_staging.build(in_google)
    bucket = open_bucket(Store(), publish_apt_staging.BUCKET)
    for env in (in_google, replace(same_desk(in_google, tmp_path / "newer"), store=Store(), emulated=True)):
        publish_apt_staging.build(env)
        wanted = Manifest.read(env.gfile_dir / "apt_signed.manifest.json")
        have = bucket.stats([f"72/{entry.path}" for entry in wanted.entries])
        assert {entry.path: have[f"72/{entry.path}"].sha256 for entry in wanted.entries} == {
            entry.path: entry.sha256 for entry in wanted.entries
        }
    publish_apt_staging.build(env)
    report = json.loads((env.artifacts_dir / "published.json").read_text())["report"]
    assert [report[release]["uploaded"] for release in RELEASES] == [0, 0]


def test_the_throwaway_key_stays_off_google(env: KokoroEnv) -> None:
    with pytest.raises(SigningError, match="signed with the throwaway key of a desk run, which stays off gs://"):
        publish_apt_staging.build(replace(env, store=Store()))
