"""A certificate for localhost, signed by an authority of this machine's own that may vouch for nothing else."""

import datetime as dt
import fcntl
import ipaddress
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from common.files import write_atomically

_NAMES: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
_AUTHORITY_FOR = dt.timedelta(days=3650)
_SERVER_FOR = dt.timedelta(days=365)
# What is about to expire is made again, so that nothing expires while it is served.
_SPARE = dt.timedelta(days=30)


@dataclass(frozen=True)
class Certificates:
    """Where they are.

    Attributes:
        ca: the authority's certificate, for clients to trust.
        server: the server's private key and certificate in one file (mode 0600), as ssl.load_cert_chain takes it.
    """

    ca: Path
    server: Path


def certificates(state: Path) -> Certificates:
    """The certificates kept in `state`; made there the first time, and when they are about to expire.

    A private key shares a file with its certificate, so that the two always belong together.
    """
    state.mkdir(parents=True, exist_ok=True, mode=0o700)
    authority, server, public = state / "ca-private.pem", state / "server-private.pem", state / "ca.crt"
    with _locked(state / ".lock"):
        if not _lasts(authority):
            write_atomically(authority, _make_authority(), mode=0o600)
        certificate = x509.load_pem_x509_certificate(authority.read_bytes())
        pem = certificate.public_bytes(serialization.Encoding.PEM)
        if not public.exists() or public.read_bytes() != pem:
            write_atomically(public, pem)
        if not _lasts(server) or not _signed_by(server, certificate):
            write_atomically(server, _make_server(authority.read_bytes()), mode=0o600)
    return Certificates(public, server)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Two servers that start at once make one authority."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _lasts(path: Path) -> bool:
    """Whether there is a certificate that does not expire soon."""
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (FileNotFoundError, ValueError):
        return False
    return certificate.not_valid_after_utc > _now() + _SPARE


def _signed_by(path: Path, authority: x509.Certificate) -> bool:
    try:
        x509.load_pem_x509_certificate(path.read_bytes()).verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _make_authority() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "cros-container-guest-tools local buckets")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )  # fmt: skip
    # It is made to be trusted by a whole system: it must not be able to speak for any other server.
    allowed: list[x509.GeneralName] = [
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_network("127.0.0.1/32")),
    ]
    builder = (
        _builder(name, name, key.public_key(), _AUTHORITY_FOR)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=allowed, excluded_subtrees=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return _pem(key, builder.sign(key, hashes.SHA256()))


def _make_server(authority: bytes) -> bytes:
    signer = serialization.load_pem_private_key(authority, password=None)
    assert isinstance(signer, ec.EllipticCurvePrivateKey)
    issuer = x509.load_pem_x509_certificate(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    identifier = x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key())
    builder = (
        _builder(subject, issuer.subject, key.public_key(), _SERVER_FOR)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(_NAMES), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
    )
    return _pem(key, builder.sign(signer, hashes.SHA256()))


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lasts: dt.timedelta
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_now() - dt.timedelta(hours=1))  # clocks differ a little between a host and its guests
        .not_valid_after(_now() + lasts)
    )


def _pem(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> bytes:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return private + certificate.public_bytes(serialization.Encoding.PEM)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)
