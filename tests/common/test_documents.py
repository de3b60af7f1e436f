"""Signed JSON documents: one content, one form; what was changed is not read, or not verified."""

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.documents import canonical, parse, sign_document, verify_document
from common.errors import ArtifactError, ReleaseError, SigningError
from common.signing import Signer, homedir, import_secret_keys
from tests.common.aptparts import make_key

ED25519 = ("Key-Type: EDDSA", "Key-Curve: ed25519", "Key-Usage: sign")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)
DOCUMENTS = st.dictionaries(st.text(), JSON)


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Signer, Signer]]:
    """Two people with a key each."""
    folder = tmp_path_factory.mktemp("keys")
    with homedir() as one, homedir() as other:
        ours = import_secret_keys(one, [make_key(folder, *ED25519, name="ours")])
        theirs = import_secret_keys(other, [make_key(folder, *ED25519, name="theirs")])
        yield Signer(one, ours), Signer(other, theirs)


@given(DOCUMENTS)
def test_what_is_written_is_read(document: dict[str, object]) -> None:
    assert parse(canonical(document), "it") == document


@given(DOCUMENTS)
def test_the_order_of_keys_does_not_matter(document: dict[str, object]) -> None:
    assert canonical(dict(reversed(document.items()))) == canonical(document)


def test_the_form() -> None:
    assert canonical({"b": [1, 2], "a": "\u00e9"}) == b'{"a":"\\u00e9","b":[1,2]}'


@pytest.mark.parametrize("content", [{"a": float("nan")}, {"a": b"bytes"}, {"a": {1, 2}}])
def test_what_json_has_no_form_for(content: dict[str, object]) -> None:
    with pytest.raises(ArtifactError, match="cannot be written as JSON"):
        canonical(content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "Expecting value"), (b"{", "Expecting"), (b"\xff", "decode"), (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1, "a": 2}', "the key 'a' is there twice"), (b"[" * 100000, "recursion"),
    ],
)  # fmt: skip
def test_what_is_no_json(content: bytes, why: str) -> None:
    with pytest.raises(ArtifactError, match=rf"^the note is not JSON: .*{why}"):
        parse(content, "the note")


@given(st.binary())
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(ReleaseError):
        parse(content, "it")


def test_a_signed_document_is_verified(signers: tuple[Signer, Signer]) -> None:
    ours, theirs = signers
    document = canonical({"green": True})
    signature = sign_document(document, ours)
    verify_document(document, signature, ours.public_keys().encode(), where="72/evidence/pfq.json")
    with pytest.raises(SigningError, match=r"'pfq\.json' has no good signature by a key of 'keyring\.asc'"):
        verify_document(document, signature, theirs.public_keys().encode(), where="72/evidence/pfq.json")
    with pytest.raises(SigningError, match=r"the signature of signature\.asc is damaged: it ends too early"):
        verify_document(document, b"", ours.public_keys().encode(), where="signature.asc")


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_a_changed_byte_of_the_document_is_found(signers: tuple[Signer, Signer], data: st.DataObject) -> None:
    ours, _ = signers
    document = canonical({"green": False, "why": ["crostini.Basic failed"]})
    signature = sign_document(document, ours)
    position = data.draw(st.integers(0, len(document) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != document[position]))
    changed = document[:position] + bytes([other]) + document[position + 1 :]
    with pytest.raises(SigningError, match="is damaged"):
        verify_document(changed, signature, ours.public_keys().encode(), where="pfq.json")
