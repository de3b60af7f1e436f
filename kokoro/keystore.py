"""The keys of a job's keystore, in memory for as long as they are used."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from common.errors import SigningError
from common.signing import Signer, homedir, import_secret_keys


@contextmanager
def signer(keystore: Path | None, keyname: str) -> Iterator[Signer]:
    """All keys of one name, to sign with for as long as the `with` lasts.

    Args:
        keystore: KOKORO_KEYSTORE_DIR; None where the job may see no key.
        keyname: as the .cfg has it; a file is `<config id>_<keyname>`, with anything after it.

    Raises:
        SigningError: there is no such key, or one that must not be used.
    """
    pattern = f"*_{keyname}*"
    files = sorted(keystore.glob(pattern)) if keystore else []
    if not files:
        raise SigningError(
            f"no key {pattern!r} in {str(keystore) if keystore else 'KOKORO_KEYSTORE_DIR, which is not set'}",
            hint="the build's .cfg fetches it; at a desk the local runner makes a throwaway key",
        )
    with homedir() as home:
        yield Signer(home, import_secret_keys(home, files))
