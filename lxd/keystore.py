"""Java's certificates: the times in the file that ca-certificates-java makes are when it did, and change its bytes.

The format is that of sun.security.provider.JavaKeyStore (OpenJDK), described in its comments. Big-endian: the magic and
the version (2) and the number of entries, 4 bytes each; of each certificate the tag 2 (4), alias (length 2), time (8,
milliseconds since 1970), type (length 2), certificate (length 4); then the SHA-1 of password, a phrase and all before.
"""

import hashlib
import struct
from pathlib import Path

from common.errors import ArtifactError

CACERTS = "etc/ssl/certs/java/cacerts"
_PASSWORD = "changeit".encode("utf-16-be")  # Debian's and Java's own; what is in it is public
_MAGIC, _VERSION, _CERTIFICATE = 0xFEEDFEED, 2, 2
_DIGEST = 20


def dated(content: bytes, *, epoch: int) -> bytes:
    """A keystore as if all of its certificates had been added at one time.

    Args:
        epoch: that time, in seconds since 1970.

    Raises:
        ArtifactError: it is no keystore of certificates with Java's usual password.
    """
    try:
        return _dated(content, epoch)
    except (struct.error, ValueError) as err:
        raise ArtifactError(
            f"{CACERTS} is not the keystore that ca-certificates-java makes: {err}",
            hint="lxd/keystore.py knows the format of Java's keystores; see what the release's package writes now",
        ) from err


def date_certificates(root: Path, *, epoch: int) -> None:
    """Do so in a root file system, where there are any. Errors: see `dated`."""
    path = root / CACERTS
    if path.is_file():
        path.write_bytes(dated(path.read_bytes(), epoch=epoch))


def _dated(content: bytes, epoch: int) -> bytes:
    body = bytearray(content[:-_DIGEST])
    if content[-_DIGEST:] != _digest(body):
        raise ValueError("its digest is wrong, or its password not the usual one")
    magic, version, count = struct.unpack_from(">III", body)
    if (magic, version) != (_MAGIC, _VERSION):
        raise ValueError(f"it begins with {magic:#x} and version {version}")
    at = 12
    for _ in range(count):
        at = _date_entry(body, at, epoch)
    if at != len(body):
        raise ValueError(f"it has {len(body) - at} bytes after its {count} entries")
    return bytes(body) + _digest(body)


def _date_entry(body: bytearray, at: int, epoch: int) -> int:
    """Change the time of the entry that begins at `at`; returns where the next one begins."""
    tag, alias = struct.unpack_from(">IH", body, at)
    if tag != _CERTIFICATE:
        raise ValueError(f"an entry has the tag {tag}, which is not a certificate's")
    at += 6 + alias
    struct.pack_into(">Q", body, at, epoch * 1000)
    at += 10 + struct.unpack_from(">H", body, at + 8)[0]
    size: int = struct.unpack_from(">I", body, at)[0]
    return at + 4 + size


def _digest(body: bytes | bytearray) -> bytes:
    return hashlib.sha1(_PASSWORD + b"Mighty Aphrodite" + body, usedforsecurity=False).digest()
