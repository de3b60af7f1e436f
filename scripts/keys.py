"""The key that signs records of what was done by hand: evidence, promotions. No client trusts it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from common.errors import SigningError
from common.keyring import ATTESTATION, has_key, throwaway_key
from common.signing import Signer, homedir, import_secret_keys
from common.store import Storage, parse_storage
from kokoro import keystore
from kokoro.attest import KEY
from kokoro.desk import out_directory


@contextlib.contextmanager
def attestation_signer(keys: str, out: str, storage: str) -> Iterator[Signer]:
    """Whoever signs, for as long as the `with` lasts.

    Args:
        keys: a directory with key files as the keystore has them; "" at a desk, for its throwaway key.
        out, storage: as --out and --storage have it.

    Raises:
        SigningError: there is no key file, or only a throwaway one, and the store is Google's.
    """
    if keys:
        with keystore.signer(Path(keys), KEY) as signer:
            yield signer
        return
    if parse_storage(storage) is Storage.GCS:
        raise SigningError("no key is named, and a throwaway key stays off gs://", hint=f"--keys DIR with *_{KEY}*")
    with homedir() as home:
        secret = throwaway_key(out_directory(out) / "keys", ATTESTATION).secret
        yield Signer(home, import_secret_keys(home, [secret]))


def own_keys(keys: str, out: str, storage: str) -> bytes:
    """The public keys of who signs, armoured; b"" where nobody does: no key is named, and no desk has made its own.

    Arguments and errors: see `attestation_signer`.
    """
    desk = parse_storage(storage) is Storage.DIRECTORY and has_key(out_directory(out) / "keys", ATTESTATION)
    if not (keys or desk):
        return b""
    with attestation_signer(keys, out, storage) as signer:
        return signer.public_keys().encode()
