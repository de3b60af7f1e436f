"""The signed apt repository: the only build that sees a signing key, and it looks at what it signs first."""

import datetime as dt
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.aptrepo import KEYRING, add_by_hash, check_contents, check_exact, codenames, for_clients, indices_of
from common.errors import SigningError
from common.files import workspace, write_atomically
from common.manifest import Manifest
from common.progress import step
from common.signing import Signer, homedir, import_secret_keys, verify
from kokoro.env import KokoroEnv

KEYS = "*_cros-archive-signing-key*"
INPUT, OUTPUT = "apt_unsigned", "apt_signed"


def now() -> dt.datetime:
    """The time of signing."""
    return dt.datetime.now(dt.UTC)


def build(env: KokoroEnv) -> None:
    """Make apt_signed/{dists,pool,cros-archive-keyring.asc} and its manifest from apt_unsigned.

    Raises:
        ArtifactError: apt_unsigned is not what its manifest says, or does not agree with itself.
        SigningError: there is no key, or one that clients would refuse.
    """
    unsigned = env.gfile_dir / INPUT
    with step(f"Check {INPUT}"):
        manifest = check_exact(unsigned, env.gfile_dir / f"{INPUT}.manifest.json")
        check_contents(unsigned, manifest)
    with _signer(env.keystore_dir) as signer, workspace(".apt_signer", parent=env.artifacts_dir) as place:
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
        write_atomically(dist / "Release", text)
        write_atomically(dist / "Release.gpg", signer.detached(text.encode()))
        write_atomically(dist / "InRelease", signer.clear_sign(text.encode()))
        verify(dist / "Release", keyring, detached=dist / "Release.gpg", expected=signer.fingerprints)
        if verify(dist / "InRelease", keyring, expected=signer.fingerprints) != text.encode():
            raise SigningError(f"{codename!r}: InRelease does not say what Release says", hint="run the job again")


@contextmanager
def _signer(keystore: Path | None) -> Iterator[Signer]:
    """The keys of the keystore, in memory for as long as the `with` lasts."""
    files = sorted(keystore.glob(KEYS)) if keystore else []
    if not files:
        raise SigningError(
            f"no signing key {KEYS!r} in {str(keystore) if keystore else 'KOKORO_KEYSTORE_DIR, which is not set'}",
            hint="kokoro/apt_signer.cfg fetches it; at a desk the local runner makes a throwaway key",
        )
    with homedir() as home:
        yield Signer(home, import_secret_keys(home, files))
