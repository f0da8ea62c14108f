"""A certificate for 127.0.0.1 and the authority that has signed it, made for one run."""

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingest.clock import SystemClock

_VALID = timedelta(days=2)


class Certificate(NamedTuple):
    """Files: what a server shows, its key, and what clients trust it by."""

    certificate: Path
    key: Path
    authority: Path


def make_certificate(folder: Path) -> Certificate:
    """In the folder, valid for a day; the key is ECDSA on P-256, as the exchange's is."""
    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    authority_name, name = _name("bench authority"), _name("bench")
    authority = _builder(authority_name, authority_name, authority_key).add_extension(
        x509.BasicConstraints(ca=True, path_length=None), critical=True
    )
    loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    server = _builder(name, authority_name, key).add_extension(loopback, critical=False)
    made = Certificate(folder / "server.pem", folder / "server.key", folder / "authority.pem")
    made.authority.write_bytes(_signed(authority, authority_key))
    made.certificate.write_bytes(_signed(server, authority_key))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    made.key.chmod(0o600)
    return made


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.fromtimestamp(SystemClock().wall_ns() // 1_000_000_000, UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
    )


def _signed(made: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> bytes:
    return made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
