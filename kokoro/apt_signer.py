"""The signed apt repository: the only build that sees a signing key, and it looks at what it signs first."""

import datetime as dt
import shutil
from pathlib import Path

from common.aptrepo import (
    KEYRING,
    add_by_hash,
    check_contents,
    check_exact,
    codenames,
    for_clients,
    indices_of,
    redated,
)
from common.errors import SigningError
from common.files import workspace, write_atomically
from common.manifest import Manifest
from common.progress import step
from common.signing import Signer, verify
from kokoro import keystore
from kokoro.env import KokoroEnv

KEY = "cros-archive-signing-key"
INPUT, OUTPUT = "apt_unsigned", "apt_signed"
RELEASES = "apt_releases"


def now() -> dt.datetime:
    """The time of signing."""
    return dt.datetime.now(dt.UTC)


def build(env: KokoroEnv) -> None:
    """Make apt_signed/{dists,pool,cros-archive-keyring.asc} and its manifest from apt_unsigned.

    Where there are apt_releases/<codename>/Release files instead, of a repository that was published before, these are
    dated and signed anew, and nothing else.

    Raises:
        ArtifactError: apt_unsigned is not what its manifest says, or does not agree with itself.
        SigningError: there is no key, or one that clients would refuse.
    """
    if (env.gfile_dir / RELEASES).is_dir():
        _sign_anew(env)
        return
    unsigned = env.gfile_dir / INPUT
    with step(f"Check {INPUT}"):
        manifest = check_exact(unsigned, env.gfile_dir / f"{INPUT}.manifest.json")
        check_contents(unsigned, manifest)
    with keystore.signer(env.keystore_dir, KEY) as signer, workspace(".apt_signer", parent=env.artifacts_dir) as place:
        made = place / OUTPUT
        with step(f"Sign {', '.join(codenames(unsigned))} with {', '.join(signer.fingerprints)}"):
            copy_files(unsigned, made, manifest)
            sign_repository(made, signer, date=now())
        result = Manifest.of(made)
        target = env.artifacts_dir / OUTPUT
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)
    result.write(env.artifacts_dir / f"{OUTPUT}.manifest.json")


def copy_files(source: Path, target: Path, manifest: Manifest) -> None:
    """Copy what the manifest lists, as files of our own: what we are handed is read-only."""
    for entry in manifest.entries:
        path = target / entry.path
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / entry.path, path)


def sign_repository(root: Path, signer: Signer, *, date: dt.datetime) -> None:
    """Date, complete and sign every Release file under `root`, and verify each as a client will.

    Args:
        root: the directory of dists/ and pool/.
        signer: all its keys sign.
        date: of the Release files; clients keep what has a newer one, so it is the time of signing.
    """
    keyring = root / KEYRING
    write_atomically(keyring, signer.public_keys())
    for codename in codenames(root):
        dist = root / "dists" / codename
        text = for_clients((dist / "Release").read_text(), date)
        add_by_hash(dist, indices_of(text))
        _sign(dist, text, keyring, signer)


def _sign(dist: Path, text: str, keyring: Path, signer: Signer) -> None:
    """Write Release, Release.gpg and InRelease, and verify them as a client will."""
    write_atomically(dist / "Release", text)
    write_atomically(dist / "Release.gpg", signer.detached(text.encode()))
    write_atomically(dist / "InRelease", signer.clear_sign(text.encode()))
    verify(dist / "Release", keyring, detached=dist / "Release.gpg", expected=signer.fingerprints)
    if verify(dist / "InRelease", keyring, expected=signer.fingerprints) != text.encode():
        raise SigningError(f"{dist.name!r}: InRelease does not say what Release says", hint="run the job again")


def _sign_anew(env: KokoroEnv) -> None:
    """Date and sign Release files that were signed before."""
    with keystore.signer(env.keystore_dir, KEY) as signer, workspace(".apt_signer", parent=env.artifacts_dir) as place:
        write_atomically(place / KEYRING, signer.public_keys())
        for path in sorted((env.gfile_dir / RELEASES).glob("*/Release")):
            with step(f"Sign {path.parent.name} anew with {', '.join(signer.fingerprints)}"):
                _sign(place / RELEASES / path.parent.name, redated(path.read_text(), now()), place / KEYRING, signer)
        target = env.artifacts_dir / RELEASES
        shutil.rmtree(target, ignore_errors=True)
        (place / RELEASES).rename(target)
