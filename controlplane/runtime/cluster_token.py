"""What the nodes of a cluster know each other by: one secret, given to each of them in a file.

From it every process derives the same key and the same certificate, shows it to whoever it links
to and accepts no other (TLS 1.3, both sides): whoever does not have the token can neither listen in
nor say anything. Ray is given the same token for its own ports. Invariant: neither the token nor
the key leaves the process; the certificate says nothing of the token."""

from __future__ import annotations

import datetime
import os
import ssl
import tempfile
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

from controlplane.errors import InvalidInput

__all__ = ["LINK_NAME", "LinkTls", "link_tls", "read_token"]

LINK_NAME = "loadstar"
"""What the certificate is for; links are not named by machine."""
_TOKEN_MIN = 32
_FROM = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
_UNTIL = datetime.datetime(9999, 12, 31, tzinfo=datetime.UTC)


class LinkTls(NamedTuple):
    """The two sides of a link between nodes."""

    listening: ssl.SSLContext
    dialling: ssl.SSLContext


def read_token(file: Path) -> str:
    """The cluster's token.

    Raises:
        InvalidInput: the file cannot be read, others may read it, or what is in it is too short.
    """
    try:
        if file.stat().st_mode & 0o007:
            raise InvalidInput(
                f"everybody on this machine may read the cluster's token {file}: chmod o= {file}",
                reason="CLUSTER_TOKEN_OPEN",
            )
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"the cluster's token cannot be read: {error}", reason="CLUSTER_TOKEN_UNREADABLE"
        ) from error
    if len(token) < _TOKEN_MIN:
        raise InvalidInput(
            f"the cluster's token in {file} has fewer than {_TOKEN_MIN} characters; "
            "`openssl rand -hex 32` makes a good one",
            reason="CLUSTER_TOKEN_SHORT",
        )
    return token


def link_tls(token: str) -> LinkTls:
    """The TLS of links between nodes that have this token."""
    key = Ed25519PrivateKey.from_private_bytes(
        HKDF(hashes.SHA256(), 32, salt=None, info=b"loadstar links 1").derive(token.encode())
    )
    certificate = _certificate(key)
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    # The library takes a key from a file only.
    descriptor, path = tempfile.mkstemp()
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem + private)
        return LinkTls(
            _context(ssl.PROTOCOL_TLS_SERVER, pem, path),
            _context(ssl.PROTOCOL_TLS_CLIENT, pem, path),
        )
    finally:
        Path(path).unlink()


def _certificate(key: Ed25519PrivateKey) -> x509.Certificate:
    """The same in every process: nothing in it is of chance or of the clock."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, LINK_NAME)])
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(LINK_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, None)
    )


def _context(protocol: int, certificate: bytes, path: str) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(path)
    context.load_verify_locations(cadata=certificate.decode())
    context.verify_mode = ssl.CERT_REQUIRED
    return context
