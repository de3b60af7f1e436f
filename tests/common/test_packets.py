"""A signature has one form: whichever byte of it is changed, it is refused, by us or by gpgv."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.documents import sign_document, verify_document
from common.errors import SigningError
from common.packets import check_form
from common.signing import Signer, check_public_keys, homedir, import_secret_keys
from tests.common.aptparts import make_key

KINDS = {
    "ed25519": ("Key-Type: EDDSA", "Key-Curve: ed25519", "Key-Usage: sign"),
    "rsa": ("Key-Type: RSA", "Key-Length: 3072", "Key-Usage: sign"),
}
DOCUMENT = b'{"green":true}'


@pytest.fixture(scope="module", params=[*KINDS, "both"])
def signed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[bytes, bytes]]:
    """A signature, and the keys it is verified with."""
    folder = tmp_path_factory.mktemp("keys")
    kinds = list(KINDS) if request.param == "both" else [request.param]
    with homedir() as home:
        files: list[Path] = [make_key(folder, *KINDS[kind], name=kind) for kind in kinds]
        signer = Signer(home, import_secret_keys(home, files))
        yield sign_document(DOCUMENT, signer), signer.public_keys().encode()


def test_what_gpg_writes_is_taken(signed: tuple[bytes, bytes]) -> None:
    signature, keys = signed
    check_form(DOCUMENT, signature, "it")
    verify_document(DOCUMENT, signature, keys, where="it")


@settings(max_examples=60)
@given(data=st.data())
def test_any_changed_byte_is_found(signed: tuple[bytes, bytes], data: st.DataObject) -> None:
    signature, keys = signed
    at = data.draw(st.integers(0, len(signature) - 1), label="byte")
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != signature[at]), label="becomes")
    changed = signature[:at] + bytes([other]) + signature[at + 1 :]
    with pytest.raises(SigningError):
        verify_document(DOCUMENT, changed, keys, where="it")


@settings(max_examples=30)
@given(data=st.data())
def test_any_changed_byte_of_the_keys_is_found(signed: tuple[bytes, bytes], data: st.DataObject) -> None:
    _, keys = signed
    check_public_keys(keys, "keyring.asc")
    at = data.draw(st.integers(0, len(keys) - 1), label="byte")
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != keys[at]), label="becomes")
    with pytest.raises(SigningError, match=r"keyring\.asc is not as it was published"):
        check_public_keys(keys[:at] + bytes([other]) + keys[at + 1 :], "keyring.asc")


def test_a_hint_that_names_another_key_and_what_follows_are_refused(signed: tuple[bytes, bytes]) -> None:
    """Both pass gpgv."""
    signature, _ = signed
    at = signature.index(b"\x00\x0a\x09\x10") + 4
    changed = signature[:at] + bytes([signature[at] ^ 1]) + signature[at + 1 :]
    for wrong in (changed, signature + b"\x00", signature[:-1], b""):
        with pytest.raises(SigningError, match="the signature of it is damaged"):
            check_form(DOCUMENT, wrong, "it")


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(content: bytes) -> None:
    with contextlib.suppress(SigningError):
        check_form(DOCUMENT, content, "it")
