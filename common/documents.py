"""Signed JSON documents: one form of bytes for one content, read strictly, with a detached OpenPGP signature."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path

from common.errors import ArtifactError
from common.files import workspace
from common.packets import check_form
from common.signing import Signer, verify

_HINT = "restore the document's last good version"


def canonical(content: Mapping[str, object]) -> bytes:
    """The bytes of a JSON document: keys sorted, no spaces, ASCII, no newline at the end.

    Raises:
        ArtifactError: it has something JSON has no form for (NaN among it).
    """
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as err:
        raise ArtifactError(f"a document cannot be written as JSON: {err}", hint="this is a fault of ours") from err
    return text.encode("ascii")


def parse(content: bytes, where: str) -> object:
    """Read JSON strictly: UTF-8, and no key twice, of which readers take different ones.

    Args:
        content: the whole of it.
        where: what it is, for the message.

    Raises:
        ArtifactError: it is not JSON, or has a key twice.
    """
    try:
        parsed: object = json.loads(content.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as err:
        raise ArtifactError(f"{where} is not JSON: {err}", hint=_HINT) from err
    return parsed


def sign_document(content: bytes, signer: Signer) -> bytes:
    """The signatures of a document, one of each of the signer's keys. SigningError: not all were made.

    They are not armoured: in armour there are bytes that mean nothing, and nobody would see that one was changed.
    """
    return signer.detached(content, binary=True)


def verify_document(content: bytes, signature: bytes, keyring: bytes, *, where: str) -> None:
    """See that a document is signed by a key of a keyring.

    Args:
        content: the document.
        signature: what `sign_document` gave.
        keyring: armoured public keys, as a bucket publishes them in cros-archive-keyring.asc.
        where: what it is, for the message; its last part names the file.

    Raises:
        SigningError: no signature is good, one is bad, or one is not, byte for byte, what gpg wrote.
    """
    check_form(content, signature, where)
    _verify(content, signature, keyring, Path(where).name)


@functools.lru_cache(maxsize=256)
def _verify(content: bytes, signature: bytes, keyring: bytes, name: str) -> None:
    """Once for the same bytes: the images of a repository are looked at for both, and each look is a gpgv."""
    with workspace("document") as place:
        folder = place / "signed"  # its file has the document's own name, for the message
        folder.mkdir()
        document, detached, keys = folder / name, place / "signature.asc", place / "keyring.asc"
        document.write_bytes(content)
        detached.write_bytes(signature)
        keys.write_bytes(keyring)
        verify(document, keys, detached=detached)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = next(key for key in found if [name for name, _ in pairs].count(key) > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def _no_constant(word: str) -> object:
    raise ValueError(f"{word} is not JSON")
