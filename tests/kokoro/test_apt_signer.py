"""The signed repository: complete, verified, and never made from what does not match or with a key clients refuse."""

import datetime as dt
import shutil
from pathlib import Path

import pytest
from debian.deb822 import Release

from common.aptrepo import KEYRING, date_of, indices_of
from common.errors import ArtifactError, SigningError
from common.files import sha256_of
from common.manifest import Manifest
from common.signing import Signer, verify
from kokoro import apt_repo, apt_signer
from kokoro.env import KokoroEnv
from kokoro.keystore import signer as keys_of
from tests.common.aptparts import add_packages, desk_keys, environment, make_key


@pytest.fixture(scope="module")
def unsigned(tmp_path_factory: pytest.TempPathFactory) -> KokoroEnv:
    """A job that finds an unsigned repository; made once, and copied by `env`."""
    env = environment(tmp_path_factory.mktemp("unsigned"))
    add_packages(env)
    desk_keys(env)
    apt_repo.build(env)
    return env


@pytest.fixture
def env(unsigned: KokoroEnv, tmp_path: Path) -> KokoroEnv:
    env = environment(tmp_path)
    shutil.rmtree(env.gfile_dir)
    shutil.copytree(unsigned.artifacts_dir, env.gfile_dir)
    desk = unsigned.keystore_dir
    assert desk is not None
    shutil.copytree(desk, tmp_path / "keystore", dirs_exist_ok=True)
    return env


def keystore(env: KokoroEnv) -> Path:
    assert env.keystore_dir is not None
    return env.keystore_dir


def test_signed_as_clients_want_it(env: KokoroEnv) -> None:
    before = dt.datetime.now(dt.UTC).replace(microsecond=0)
    apt_signer.build(env)
    root = env.artifacts_dir / "apt_signed"
    assert sorted(path.name for path in root.iterdir()) == [KEYRING, "dists", "pool"]
    for release in ("bookworm", "trixie"):
        dist = root / "dists" / release
        text = verify(dist / "InRelease", root / KEYRING)
        assert text == verify(dist / "Release", root / KEYRING, detached=dist / "Release.gpg")
        fields = Release(text)
        assert fields["Acquire-By-Hash"] == "yes"
        assert not {"MD5Sum", "SHA1", "SHA512", "Valid-Until"} & set(fields)
        assert date_of(text.decode()) >= before
        for index in indices_of(text.decode()):
            assert sha256_of(dist / index.by_hash) == index.sha256 == sha256_of(dist / index.path)
    assert Manifest.read(env.artifacts_dir / "apt_signed.manifest.json") == Manifest.of(root)


def test_what_it_is_handed_stays(env: KokoroEnv) -> None:
    before = Manifest.of(env.gfile_dir)
    apt_signer.build(env)
    assert Manifest.of(env.gfile_dir) == before


def test_two_keys_sign_at_once(env: KokoroEnv) -> None:
    make_key(keystore(env), "Key-Type: RSA", "Key-Length: 3072", "Key-Usage: sign", name="next")
    apt_signer.build(env)
    dist = env.artifacts_dir / "apt_signed/dists/bookworm"
    with keys_of(keystore(env), apt_signer.KEY) as signer:
        assert len(signer.fingerprints) == 2
        verify(dist / "InRelease", env.artifacts_dir / "apt_signed" / KEYRING, expected=signer.fingerprints)
        for key in signer.keys:  # either is enough for a client
            one = env.artifacts_dir / "one.asc"
            one.write_text(Signer(signer.home, [key.fingerprint]).public_keys())
            verify(dist / "InRelease", one)


@pytest.mark.parametrize("change", ["extra", "missing", "changed"])
def test_what_the_manifest_does_not_say(env: KokoroEnv, change: str) -> None:
    root = env.gfile_dir / "apt_unsigned"
    victim = next(path for path in sorted(root.rglob("*.deb")))
    match change:
        case "extra":
            victim = victim.with_name("extra_1_all.deb")
            victim.write_bytes(b"extra")
        case "missing":
            victim.unlink()
        case _:
            victim.write_bytes(victim.read_bytes()[:-1] + b"!")
    with pytest.raises(ArtifactError, match="'apt_unsigned' is not what 'apt_unsigned.manifest.json' says") as caught:
        apt_signer.build(env)
    words = {"extra": "not in the manifest", "missing": "missing", "changed": "changed"}
    assert caught.value.details == f"{victim.relative_to(root)}: {words[change]}"
    assert not list(env.artifacts_dir.iterdir())


def test_a_manifest_that_agrees_with_a_tampered_package(env: KokoroEnv) -> None:
    """Whoever can write the package can write the manifest; the index of packages still says otherwise."""
    root = env.gfile_dir / "apt_unsigned"
    victim = next(root.rglob("*.deb"))
    victim.write_bytes(victim.read_bytes() + b"!")
    Manifest.of(root).write(env.gfile_dir / "apt_unsigned.manifest.json")
    with pytest.raises(ArtifactError, match="does not agree with itself") as caught:
        apt_signer.build(env)
    assert victim.name in caught.value.details


def test_no_repository(env: KokoroEnv) -> None:
    shutil.rmtree(env.gfile_dir / "apt_unsigned")
    with pytest.raises(ArtifactError, match="artifact 'apt_unsigned' is missing"):
        apt_signer.build(env)


def test_no_key(env: KokoroEnv) -> None:
    for path in keystore(env).iterdir():
        path.unlink()
    with pytest.raises(SigningError, match="no key") as caught:
        apt_signer.build(env)
    assert "cfg fetches it" in caught.value.hint


def test_a_bad_key_changes_nothing(env: KokoroEnv) -> None:
    make_key(keystore(env), "Key-Type: RSA", "Key-Length: 1024", "Key-Usage: sign", name="weak")
    with pytest.raises(SigningError, match="is 'rsa1024', which apt refuses"):
        apt_signer.build(env)
    assert not list(env.artifacts_dir.iterdir())
