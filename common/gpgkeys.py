"""What gpg says about keys, and which of them clients of an apt repository would refuse.

gpg's machine-readable listing is described in GnuPG's doc/DETAILS, "Format of the colon listings".
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

# OpenPGP's numbers (RFC 9580, 9.1 and 9.5).
RSA, RSA_SIGN, DSA, ECDSA, EDDSA = 1, 3, 17, 19, 22
_NAMES = {
    RSA: "rsa",
    2: "rsa-encrypt",
    RSA_SIGN: "rsa-sign",
    16: "elgamal",
    DSA: "dsa",
    18: "ecdh",
    ECDSA: "ecdsa",
    EDDSA: "eddsa",
}
_STRONG_CURVES = {"ed25519", "nistp256", "nistp384", "nistp521"}
_WEAK_DIGESTS = {1: "MD5", 2: "SHA1", 3: "RIPEMD160"}
_SELF_SIGNATURES = {"10", "11", "12", "13", "18", "1f"}
RSA_BITS = 2048


@dataclass
class Part:
    """A primary key or a subkey.

    Attributes:
        fingerprint: in hex.
        validity: gpg's letter: r revoked, e expired, d disabled, i invalid.
        algorithm: OpenPGP's number.
        bits: its length.
        curve: of an elliptic key, or "".
        created, expires: seconds; 0 never expires.
        usage: gpg's letters of this part: s signs, c certifies.
        has_secret: whether the secret part is here (and not a stub).
        bound: its newest self-signature: seconds, and OpenPGP's number of the digest.
    """

    validity: str
    bits: int
    algorithm: int
    created: int
    expires: int
    usage: str
    curve: str
    keyid: str
    fingerprint: str = ""
    has_secret: bool = False
    bound: tuple[int, int] = (0, 0)

    @property
    def can_sign(self) -> bool:
        """Whether it may make signatures."""
        return "s" in self.usage

    @property
    def dead(self) -> bool:
        """Revoked, expired, disabled or invalid."""
        return self.validity[:1] in set("redi") or 0 < self.expires <= dt.datetime.now(dt.UTC).timestamp()

    @property
    def algorithm_name(self) -> str:
        """`rsa3072`, `ed25519`, `dsa1024`."""
        return self.curve or f"{_NAMES.get(self.algorithm, f'algorithm {self.algorithm} ')}{self.bits}"


@dataclass
class Key(Part):
    """A primary key with its subkeys."""

    subkeys: list[Part] = field(default_factory=list)

    def part(self, fingerprint: str) -> Part | None:
        """The primary key or subkey of that fingerprint."""
        return next((each for each in (self, *self.subkeys) if each.fingerprint == fingerprint), None)


P = TypeVar("P", bound=Part)


def parse_keys(public: str, secret: str) -> tuple[Key, ...]:
    """Read two colon listings: `--check-sigs` for everything, `--list-secret-keys` for which secrets are here."""
    keys = _read(public)
    secrets = {part.fingerprint for key in _read(secret) for part in (key, *key.subkeys) if part.has_secret}
    for key in keys:
        for part in (key, *key.subkeys):
            part.has_secret = part.fingerprint in secrets
    return tuple(keys)


def _read(listing: str) -> list[Key]:
    keys: list[Key] = []
    current: Part | None = None
    for line in listing.splitlines():
        fields = [*line.split(":"), *[""] * 21]
        match fields[0]:
            case "pub" | "sec":
                key = _part(Key, fields)
                keys.append(key)
                current = key
            case "sub" | "ssb" if keys:
                current = _part(Part, fields)
                keys[-1].subkeys.append(current)
            case "fpr" if current and not current.fingerprint:
                current.fingerprint = fields[9]
            case "sig" if current and fields[4] == keys[-1].keyid and fields[10][:2].lower() in _SELF_SIGNATURES:
                current.bound = max(current.bound, (_number(fields[5]), _number(fields[15])))
    return keys


def _part(kind: type[P], fields: list[str]) -> P:
    return kind(
        validity=fields[1],
        bits=_number(fields[2]),
        algorithm=_number(fields[3]),
        keyid=fields[4],
        created=_number(fields[5]),
        expires=_number(fields[6]),
        usage="".join(letter for letter in fields[11] if letter.islower()),
        has_secret=fields[14] == "+",
        curve=fields[16],
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() else 0


def problems_of(key: Key, fingerprint: str) -> Iterator[str]:
    """Every reason why clients would not take a signature by the part `fingerprint` of `key`."""
    part = key.part(fingerprint)
    if part is None:
        yield f"key {key.fingerprint!r} has no part {fingerprint!r}"
        return
    if not part.can_sign:
        yield f"key {fingerprint!r} may not sign"
    if not part.has_secret:
        yield f"the secret of key {fingerprint!r} is not here"
    for each in [key] if part is key else [key, part]:
        yield from _weaknesses(each)


def _weaknesses(part: Part) -> Iterator[str]:
    if part.validity.startswith("r"):
        yield f"key {part.fingerprint!r} is revoked"
    elif part.validity.startswith("e") or (part.dead and part.expires):
        day = dt.datetime.fromtimestamp(part.expires, dt.UTC).date().isoformat()
        yield f"key {part.fingerprint!r} expired on {day}"
    elif part.dead:
        yield f"key {part.fingerprint!r} is disabled or invalid"
    strong_rsa = part.algorithm in (RSA, RSA_SIGN) and part.bits >= RSA_BITS
    strong_curve = part.algorithm in (ECDSA, EDDSA) and part.curve.lower() in _STRONG_CURVES
    if not (strong_rsa or strong_curve):
        yield f"key {part.fingerprint!r} is {part.algorithm_name!r}, which apt refuses"
    if weak := _WEAK_DIGESTS.get(part.bound[1]):
        yield f"key {part.fingerprint!r} is bound to its owner with {weak}, which apt refuses"
