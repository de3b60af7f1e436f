"""The one form of a detached OpenPGP signature (RFC 4880, section 5.2) that GnuPG writes and we take.

A verifier passes over much of a signature: how its length is written, the hints that are not hashed, the beginning of
the digest, whatever follows it, and the whole of one by a key or an algorithm that it does not know. What is refused
here is what could be changed there with nobody seeing it. That the signature is good is left to gpgv.
"""

import hashlib

from common.errors import SigningError

_SIGNATURE = 2
_SHA512 = 10
_ISSUER, _ISSUER_FINGERPRINT = 16, 33


def check_form(document: bytes, signatures: bytes, where: str) -> None:
    """See that the signatures of a document are written as GnuPG writes them, with nothing beside them.

    Args:
        document: what is signed.
        signatures: one after the other, not armoured, with SHA-512.
        where: what is signed, for the message.

    Raises:
        SigningError: they are not, or there is none.
    """
    rest = _Bytes(signatures)
    try:
        _check_signature(document, _Bytes(_packet(rest)))
        while rest.left:
            _check_signature(document, _Bytes(_packet(rest)))
    except ValueError as err:
        raise SigningError(
            f"the signature of {where} is damaged: {err}",
            hint="restore the signature's last good version",
        ) from err


class _Bytes:
    """Bytes that are taken from the front."""

    def __init__(self, content: bytes) -> None:
        self._content, self._at = content, 0

    @property
    def left(self) -> int:
        return len(self._content) - self._at

    def take(self, size: int) -> bytes:
        if size > self.left:
            raise ValueError("it ends too early")
        self._at += size
        return self._content[self._at - size : self._at]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")


def _packet(rest: _Bytes) -> bytes:
    """The body of the next packet: an old header, and the shortest length that does."""
    tag = rest.number(1)
    kind, width = tag >> 2, 1 << (tag & 3)
    if kind != 0x20 | _SIGNATURE or width > 2:
        raise ValueError("it is no signature")
    size = rest.number(width)
    if size < 1 << (8 * (width - 1)) and width > 1:
        raise ValueError("its length is too long")
    return rest.take(size)


def _check_signature(document: bytes, body: _Bytes) -> None:
    start = body.take(6)
    hashed = body.take(int.from_bytes(start[4:], "big"))
    if (start[0], start[3]) != (4, _SHA512):
        raise ValueError(f"it is of version {start[0]}, with digest {start[3]}")
    issuers = [value[1:] for kind, value in _subpackets(_Bytes(hashed)) if kind == _ISSUER_FINGERPRINT]
    if len(issuers) != 1 or body.take(body.number(2)) != bytes((9, _ISSUER)) + issuers[0][-8:]:
        raise ValueError("it does not name its one key")
    signed = start + hashed
    digest = hashlib.sha512(document + signed + b"\x04\xff" + len(signed).to_bytes(4, "big")).digest()
    if body.take(2) != digest[:2]:
        raise ValueError("it is of something else")
    while body.left:
        bits = body.number(2)
        value = body.number((bits + 7) // 8)
        if not bits or value.bit_length() != bits:
            raise ValueError("a number is not as long as it says")


def _subpackets(area: _Bytes) -> list[tuple[int, bytes]]:
    found = []
    while area.left:
        content = _Bytes(area.take(area.number(1)))  # none of GnuPG's is longer than 191 bytes
        found.append((content.number(1), content.take(content.left)))
    return found
