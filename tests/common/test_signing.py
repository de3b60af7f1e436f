"""Keys and signatures: every kind clients refuse is refused here first, and what is made is what was asked for."""

import os
import shutil
import stat
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from common import tools
from common.errors import SigningError
from common.files import ROOT, secret_parent
from common.signing import (
    Signer,
    check_public_keys,
    good_signatures,
    homedir,
    import_secret_keys,
    keys_in,
    united_keyrings,
    verify,
)
from common.waiting import wait_until
from tests.common.aptparts import make_key

ED25519 = ("Key-Type: EDDSA", "Key-Curve: ed25519", "Key-Usage: sign")


@pytest.fixture
def home() -> Iterator[Path]:
    with homedir() as home:
        yield home


@pytest.fixture
def signer(home: Path, tmp_path: Path) -> Signer:
    return Signer(home, import_secret_keys(home, [make_key(tmp_path, *ED25519)]))


def gpg(home: Path, *argv: str, stdin: str | None = None) -> str:
    return tools.capture(["gpg", "--homedir", home, "--batch", "--no-tty", "--yes", *argv], stdin=stdin, timeout=60)


def keyring(signer: Signer, folder: Path) -> Path:
    path = folder / "keyring.asc"
    path.write_text(signer.public_keys())
    return path


def test_what_a_killed_run_left_is_gone_with_its_agent_when_the_next_one_begins(tmp_path: Path) -> None:
    key = make_key(tmp_path, *ED25519)
    code = f"""
from pathlib import Path
from common.signing import homedir, import_secret_keys
with homedir() as home:
    import_secret_keys(home, [Path({str(key)!r})])
    print(home, flush=True)
    input()
"""
    with tools.started(["sh", "-c", 'sleep 60 | "$@"', "sh", sys.executable, "-c", code], cwd=ROOT) as run:
        left = Path(wait_until(run.tail, "the keys to be imported", timeout=30))
        assert agents_of(left)
        with homedir():
            assert left.exists()  # somebody uses it

    def gone() -> bool:  # another process that makes a home at this moment may have it in hand
        with homedir():
            return not left.exists()

    wait_until(gone, "the next run to remove it", timeout=10)
    wait_until(lambda: not agents_of(left), "its agent to end", timeout=10)


def test_an_agent_that_is_slow_to_start_is_waited_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = make_key(tmp_path, *ED25519)
    calls, real = tmp_path / "calls", shutil.which("gpgconf")
    program = tmp_path / "bin" / "gpgconf"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho x >>{calls}\n[ $(wc -l <{calls}) -gt 2 ] || exit 2\nexec {real} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    assert import_secret_keys(home, [key])
    assert len(calls.read_text().splitlines()) == 3


def agents_of(home: Path) -> list[psutil.Process]:
    return [each for each in psutil.process_iter(["cmdline"]) if str(home) in (each.info["cmdline"] or [])]


@pytest.mark.parametrize(
    "lines",
    [
        ED25519,
        ("Key-Type: RSA", "Key-Length: 2048", "Key-Usage: sign"),
        ("Key-Type: ECDSA", "Key-Curve: nistp256", "Key-Usage: sign"),
        ("Key-Type: EDDSA", "Key-Curve: ed25519", "Key-Usage: cert",
         "Subkey-Type: EDDSA", "Subkey-Curve: ed25519", "Subkey-Usage: sign"),
    ],
)  # fmt: skip
def test_keys_clients_take(home: Path, tmp_path: Path, lines: Sequence[str]) -> None:
    signer = Signer(home, import_secret_keys(home, [make_key(tmp_path, *lines)]))
    text = b"Origin: Google\n- dash\n\xc3\xa9\n"
    (tmp_path / "InRelease").write_bytes(signer.clear_sign(text))
    (tmp_path / "Release").write_bytes(text)
    (tmp_path / "Release.gpg").write_bytes(signer.detached(text))
    ring = keyring(signer, tmp_path)
    assert verify(tmp_path / "InRelease", ring, expected=signer.fingerprints) == text
    assert verify(tmp_path / "Release", ring, detached=tmp_path / "Release.gpg", expected=signer.fingerprints) == text
    assert b"Hash: SHA512" in (tmp_path / "InRelease").read_bytes()


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (("Key-Type: RSA", "Key-Length: 1024", "Key-Usage: sign"), "'rsa1024'"),
        (("Key-Type: DSA", "Key-Length: 2048", "Key-Usage: sign"), "'dsa2048'"),
        (("Key-Type: ECDSA", "Key-Curve: brainpoolP256r1", "Key-Usage: sign"), "'brainpoolP256r1'"),
        (("Key-Type: ECDSA", "Key-Curve: secp256k1", "Key-Usage: sign"), "'secp256k1'"),
    ],
)
def test_weak_keys(home: Path, tmp_path: Path, lines: Sequence[str], word: str) -> None:
    fingerprints = import_secret_keys(home, [make_key(tmp_path, *lines)])
    with pytest.raises(SigningError, match=f"{word}, which apt refuses"):
        Signer(home, fingerprints)


def test_a_key_bound_with_sha1(home: Path, tmp_path: Path) -> None:
    options = ["--cert-digest-algo", "SHA1", "--allow-weak-key-signatures"]
    fingerprints = import_secret_keys(home, [make_key(tmp_path, *ED25519, options=options)])
    with pytest.raises(SigningError, match="bound to its owner with SHA1"):
        Signer(home, fingerprints)


def test_an_expired_key(home: Path, tmp_path: Path) -> None:
    path = make_key(tmp_path, *ED25519, "Expire-Date: 1d", options=["--faked-system-time", "20200101T000000"])
    with pytest.raises(SigningError, match="expired on 2020-01-02"):
        Signer(home, import_secret_keys(home, [path]))


def test_a_revoked_key(home: Path, tmp_path: Path) -> None:
    [fingerprint] = import_secret_keys(home, [make_key(tmp_path, *ED25519)])
    # --gen-revoke asks even in batch mode; --command-fd answers it
    revocation = tools.capture(
        ["gpg", "--homedir", home, "--no-tty", "--command-fd", "0", "--gen-revoke", fingerprint],
        stdin="y\n0\n\ny\n", timeout=60,
    )  # fmt: skip
    gpg(home, "--import", stdin=revocation)
    with pytest.raises(SigningError, match="is revoked"):
        Signer(home, [fingerprint])


def test_a_home_others_can_read(signer: Signer) -> None:
    signer.home.chmod(0o750)
    with pytest.raises(SigningError, match=r"others can read .* \(mode 0750\)") as caught:
        Signer(signer.home, signer.fingerprints)
    assert caught.value.hint.startswith("chmod 700")


def test_a_key_that_is_not_there(signer: Signer) -> None:
    with pytest.raises(SigningError, match="no secret key"):
        Signer(signer.home, ["A" * 40])


def test_only_the_public_half(signer: Signer, tmp_path: Path) -> None:
    with homedir() as other:
        gpg(other, "--import", str(keyring(signer, tmp_path)))
        with pytest.raises(SigningError, match="no secret key"):
            Signer(other, signer.fingerprints)


def test_a_public_key_in_the_keystore(signer: Signer, tmp_path: Path) -> None:
    with homedir() as other, pytest.raises(SigningError, match=r"'keyring.asc' holds no secret key"):
        import_secret_keys(other, [keyring(signer, tmp_path)])


def test_a_key_with_a_passphrase(tmp_path: Path) -> None:
    """Nobody is there to ask: an error at once, and no signature."""
    with homedir() as home:
        parameters = "\n".join(["Key-Type: EDDSA", "Key-Curve: ed25519", "Key-Usage: sign", "Name-Real: locked",
                                "Passphrase: secret", "%commit", ""])  # fmt: skip
        gpg(home, "--generate-key", stdin=parameters)
        [key] = keys_in(home)
        tools.run(["gpgconf", "--homedir", home, "--kill", "all"], quiet=True)
        with pytest.raises(SigningError, match="0 of 1 signatures were made"):
            Signer(home, [key.fingerprint]).clear_sign(b"text\n")


def test_a_tampered_text(signer: Signer, tmp_path: Path) -> None:
    path = tmp_path / "InRelease"
    path.write_bytes(signer.clear_sign(b"Origin: Google\n").replace(b"Google", b"Goggle"))
    with pytest.raises(SigningError, match="'InRelease' has no good signature"):
        verify(path, keyring(signer, tmp_path))


def test_another_key(signer: Signer, tmp_path: Path) -> None:
    path = tmp_path / "InRelease"
    path.write_bytes(signer.clear_sign(b"Origin: Google\n"))
    with homedir() as other:
        stranger = Signer(other, import_secret_keys(other, [make_key(tmp_path, *ED25519, name="stranger")]))
        with pytest.raises(SigningError, match="no good signature"):
            verify(path, keyring(stranger, tmp_path))


def test_a_missing_signer(signer: Signer, tmp_path: Path) -> None:
    path = tmp_path / "InRelease"
    path.write_bytes(signer.clear_sign(b"Origin: Google\n"))
    with pytest.raises(SigningError, match=f"is not signed by {'B' * 40}"):
        verify(path, keyring(signer, tmp_path), expected=[*signer.fingerprints, "B" * 40])


@pytest.mark.parametrize(("before", "behind"), [(b"Origin: Evil\n", b""), (b"", b"Origin: Evil\n")])
def test_text_outside_of_the_signature(signer: Signer, tmp_path: Path, before: bytes, behind: bytes) -> None:
    path = tmp_path / "InRelease"
    path.write_bytes(before + signer.clear_sign(b"Origin: Google\n") + behind)
    with pytest.raises(SigningError, match="text outside of what is signed"):
        verify(path, keyring(signer, tmp_path))


def test_keyrings_are_united_in_the_form_of_one(signer: Signer, tmp_path: Path) -> None:
    with homedir() as other:
        both = [make_key(tmp_path / name, *ED25519, name=name) for name in ("b", "c")]
        second = Signer(other, import_secret_keys(other, both))
        first, more = signer.public_keys().encode(), second.public_keys().encode()
    united = united_keyrings(first, more)
    assert check_public_keys(united, "it") == (*signer.fingerprints, *second.fingerprints)
    assert united_keyrings(united, more) == united_keyrings(united) == united
    assert united_keyrings(b"", first) == first
    assert united_keyrings() == united_keyrings(b"") == b""


def test_a_key_that_lives_longer_now_is_the_longer_one_in_a_united_keyring(home: Path, tmp_path: Path) -> None:
    signer = Signer(home, import_secret_keys(home, [make_key(tmp_path, *ED25519, "Expire-Date: 2y")]))
    before = signer.public_keys().encode()
    gpg(home, "--quick-set-expire", signer.fingerprints[0], "3y")
    after = signer.public_keys().encode()
    assert before != after
    assert united_keyrings(before, after) == after


def test_no_keyring(signer: Signer, tmp_path: Path) -> None:
    path = tmp_path / "InRelease"
    path.write_bytes(signer.clear_sign(b"text\n"))
    (tmp_path / "keyring.asc").write_text("nonsense\n")
    with pytest.raises(SigningError, match=r"'keyring.asc' is not an armoured keyring"):
        verify(path, tmp_path / "keyring.asc")


def test_the_home_is_in_memory_and_gone(tmp_path: Path) -> None:
    with homedir() as home:
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert home.parent == (secret_parent() or home.parent)
        gpg(home, "--list-secret-keys")  # starts an agent
    assert not home.exists()
    running = tools.capture(["ps", "-eo", "args"])
    assert str(home) not in running


GOOD, OTHER = "A" * 40, "B" * 40


@pytest.mark.parametrize(
    ("status", "good"),
    [
        (f"[GNUPG:] GOODSIG AA name\n[GNUPG:] VALIDSIG {GOOD} x\n", {GOOD}),
        (f"[GNUPG:] EXPKEYSIG AA name\n[GNUPG:] VALIDSIG {GOOD} x\n", set()),
        (f"[GNUPG:] REVKEYSIG AA name\n[GNUPG:] VALIDSIG {GOOD} x\n", set()),
        (f"[GNUPG:] ERRSIG AA 1\n[GNUPG:] GOODSIG BB n\n[GNUPG:] VALIDSIG {OTHER} x\n", {OTHER}),
        (f"[GNUPG:] GOODSIG AA n\n[GNUPG:] VALIDSIG {GOOD} x\n[GNUPG:] BADSIG BB n\n", set()),
        (f"a name with [GNUPG:] VALIDSIG {GOOD}\n", set()),
    ],
)
def test_good_signatures(status: str, good: set[str]) -> None:
    assert good_signatures(status) == good
