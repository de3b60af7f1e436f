"""The throwaway signing key of a desk run: made once, kept under out/keys, never good for gs://."""

import fcntl
import hashlib
import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from common import tools
from common.errors import ArtifactError, SigningError
from common.files import secret_parent
from common.signing import homedir, start_agent

UID = "Crostini desk run (THROWAWAY KEY made by the local runner, trust it for nothing) <throwaway@crostini.invalid>"
ARCHIVE, ATTESTATION = "throwaway", "attestation"
_UNFINISHED = ".unfinished-"
# ed25519 signs in every client there is (docs/apt.md); no passphrase, as nobody is asked at a desk.
_PARAMETERS = f"""\
%no-protection
Key-Type: EDDSA
Key-Curve: ed25519
Key-Usage: sign
Name-Real: {UID.split(" (", maxsplit=1)[0]}
Name-Comment: {UID.split("(", maxsplit=1)[1].split(")", maxsplit=1)[0]}
Name-Email: {UID.split("<", maxsplit=1)[1].rstrip(">")}
Expire-Date: 0
%commit
"""


@dataclass(frozen=True)
class ThrowawayKey:
    """Two armoured files: the secret key (mode 0600) and the public key."""

    secret: Path
    public: Path


def throwaway_key(keys_dir: Path, name: str = ARCHIVE) -> ThrowawayKey:
    """A key in `keys_dir`, made the first time; two runs at once get the same one.

    Args:
        keys_dir: made if it is missing; nobody else may read it (mode 0700).
        name: ARCHIVE for the one that clients trust, ATTESTATION for the one that signs records of what was done.

    Raises:
        ArtifactError: what is there is not a pair of keys.
        CommandError: gpg cannot make one.
        DeadlineError: gpg-agent does not start.
    """
    keys_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    keys_dir.chmod(0o700)
    place = keys_dir / name
    key = ThrowawayKey(place / "secret.asc", place / "public.asc")
    handle = os.open(keys_dir, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        for left in keys_dir.glob(f"{_UNFINISHED}*"):  # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        if not place.exists():
            beside = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=keys_dir))
            _make(beside)
            beside.rename(place)
    finally:
        os.close(handle)
    if not (key.secret.is_file() and key.public.is_file()):
        raise ArtifactError(
            f"{str(place)!r} has no secret.asc and public.asc", hint=f"rm -r {place}, a new key is made"
        )
    return key


def has_key(keys_dir: Path, name: str = ARCHIVE) -> bool:
    """Whether `throwaway_key` has made that one already."""
    return (keys_dir / name).is_dir()


def refuse_throwaway(keyring: Path, what: str) -> None:
    """See that no key of a desk run is in the keyring of what everybody is going to get.

    Args:
        keyring: armoured or not.
        what: of which the keyring is, a clause for the message: "'apt_signed' is signed with".

    Raises:
        SigningError: one is.
        CommandError: gpg cannot read it.
    """
    if is_throwaway(keyring):
        raise SigningError(
            f"{what} the throwaway key of a desk run, which stays off gs://",
            hint="publish what the keys of the keystore have signed (docs/apt.md), or publish to a directory",
        )


def fingerprints(keyring: Path) -> tuple[str, ...]:
    """The fingerprints of the keys in a keyring and of their subkeys, sorted. CommandError: gpg cannot read it."""
    lines = [line.split(":") for line in _listing(keyring).splitlines()]
    return tuple(sorted(fields[9] for fields in lines if fields[0] == "fpr"))


def is_throwaway(keyring: Path) -> bool:
    """Whether a keyring has a key of some desk run in it. CommandError: gpg cannot read it."""
    return "THROWAWAY KEY" in _listing(keyring)


def _listing(keyring: Path) -> str:
    with homedir() as home:
        call: list[tools.Arg] = [
            "gpg",
            "--homedir",
            home,
            "--batch",
            "--no-tty",
            "--with-colons",
            "--show-keys",
            keyring,
        ]
        return tools.capture(call, timeout=60)


def _make(folder: Path) -> None:
    """Make a key in a home directory of its own, and leave it in `folder` as two files."""
    # named after the place, so that the next run ends the agent of a killed one
    name = f"gpg-{hashlib.sha256(os.fsencode(folder.parent.resolve())).hexdigest()[:16]}"
    with homedir((secret_parent() or Path(tempfile.gettempdir())) / name) as home:
        start_agent(home)
        call = ["gpg", "--homedir", str(home), "--batch", "--no-tty", "--quiet"]
        tools.capture([*call, "--generate-key"], stdin=_PARAMETERS, timeout=120)
        old = os.umask(0o077)
        try:
            tools.run(
                [*call, "--armor", "--output", folder / "secret.asc", "--export-secret-keys"], timeout=60, quiet=True
            )
        finally:
            os.umask(old)
        tools.run([*call, "--armor", "--output", folder / "public.asc", "--export"], timeout=60, quiet=True)
    (folder / "secret.asc").chmod(0o600)
    (folder / "public.asc").chmod(0o644)
