"""Java's keystore: its times become one, nothing else changes, and what is none is refused."""

import hashlib
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ArtifactError
from lxd.keystore import CACERTS, date_certificates, dated

Entry = tuple[bytes, int, bytes]
ENTRIES = st.lists(st.tuples(st.binary(max_size=40), st.integers(0, 2**64 - 1), st.binary(max_size=300)), max_size=8)
EPOCHS = st.integers(0, 2**40)


def signed(body: bytes) -> bytes:
    return body + hashlib.sha1("changeit".encode("utf-16-be") + b"Mighty Aphrodite" + body).digest()


def keystore(entries: list[Entry], *, tag: int = 2) -> bytes:
    parts = [struct.pack(">III", 0xFEEDFEED, 2, len(entries))]
    for alias, time, certificate in entries:
        parts.append(struct.pack(f">IH{len(alias)}sQ", tag, len(alias), alias, time))
        parts.append(struct.pack(f">H5sI{len(certificate)}s", 5, b"X.509", len(certificate), certificate))
    return signed(b"".join(parts))


@given(ENTRIES, EPOCHS)
def test_every_time_is_the_same(entries: list[Entry], epoch: int) -> None:
    wanted = keystore([(alias, epoch * 1000, certificate) for alias, _time, certificate in entries])
    assert dated(keystore(entries), epoch=epoch) == wanted


@given(ENTRIES, st.data())
def test_what_was_cut_off_or_changed_is_refused(entries: list[Entry], data: st.DataObject) -> None:
    whole = keystore(entries)
    at = data.draw(st.integers(0, len(whole) - 1))
    for broken in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
        with pytest.raises(ArtifactError, match="etc/ssl/certs/java/cacerts is not the keystore"):
            dated(broken, epoch=1)


@given(ENTRIES, st.data())
def test_what_is_cut_off_before_it_was_signed_is_refused(entries: list[Entry], data: st.DataObject) -> None:
    body = keystore(entries)[:-20]
    with pytest.raises(ArtifactError, match="is not the keystore"):
        dated(signed(body[: data.draw(st.integers(0, len(body) - 1))]), epoch=1)
    with pytest.raises(ArtifactError, match="it has 1 bytes after its"):
        dated(signed(body + b"x"), epoch=1)


def test_a_private_key_is_refused() -> None:
    with pytest.raises(ArtifactError, match="an entry has the tag 1"):
        dated(keystore([(b"mine", 1, b"key")], tag=1), epoch=1)


def test_a_keystore_of_another_kind_is_refused() -> None:
    with pytest.raises(ArtifactError, match="begins with 0xcececece and version 2"):
        dated(signed(struct.pack(">III", 0xCECECECE, 2, 0)), epoch=1)


def test_a_root_without_java_is_left_alone(tmp_path: Path) -> None:
    date_certificates(tmp_path, epoch=1)
    assert list(tmp_path.iterdir()) == []
    path = tmp_path / CACERTS
    path.parent.mkdir(parents=True)
    path.write_bytes(keystore([(b"a", 5, b"b")]))
    date_certificates(tmp_path, epoch=1)
    assert path.read_bytes() == keystore([(b"a", 1000, b"b")])
