"""Authorities, keys and TLS clients for the tests of security."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect
from websockets.headers import build_authorization_basic
from websockets.typing import Subprotocol

from controlplane.runtime.authority import Authority, Wish, read_wish
from controlplane.runtime.node import Node

HOST = "127.0.0.1"


def make_authority(folder: Path, name: str = "Test CA") -> Authority:
    return Authority.create(folder, organisation="Loadstar", name=name, days=100)


def make_server_files(authority: Authority, folder: Path) -> tuple[Path, Path]:
    """The server's certificate and key."""
    folder.mkdir(parents=True, exist_ok=True)
    key, chain = authority.server_certificate([HOST, "localhost"], days=10)
    (folder / "server.key").write_text(key)
    (folder / "server.pem").write_text(chain)
    return folder / "server.pem", folder / "server.key"


def make_csr(common_name: str, key: Any = None) -> tuple[str, str]:
    """A signing request and the key it is for, both PEM."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    csr = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return (
        csr.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode(),
    )


def client_context(
    authority: Authority, certificate: tuple[str, str] | None, folder: Path
) -> ssl.SSLContext:
    """A station's side of TLS; `certificate` is its chain and its key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=authority.pem)
    if certificate is not None:
        path = folder / "client.pem"
        path.write_text("".join(certificate))
        context.load_cert_chain(path)
    return context


def station_certificate(authority: Authority, charger_id: str) -> tuple[tuple[str, str], str]:
    """A station's chain and key, signed without being asked for, and its serial number."""
    csr, key = make_csr(charger_id)
    wish = read_wish(csr, [charger_id])
    assert isinstance(wish, Wish)
    record = authority.sign(
        wish, charger_id=charger_id, purpose="ChargingStationCertificate", days=10
    )
    return (record.pem, key), record.serial


def revocation_list(folder: Path, serial: str) -> str:
    """A list of the authority in `folder` that revokes one certificate."""
    key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
    root = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
    return signed_list(key, root, int(serial, 16))


def signed_list(key: Any, root: x509.Certificate, serial: int) -> str:
    revoked = (
        x509.RevokedCertificateBuilder()
        .serial_number(serial)
        .revocation_date(root.not_valid_before_utc)
        .build()
    )
    signed = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(root.subject)
        .last_update(root.not_valid_before_utc)
        .next_update(root.not_valid_after_utc)
        .add_revoked_certificate(revoked)
        .sign(key, hashes.SHA256())
    )
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def dial(
    node: Node,
    charger_id: str,
    *,
    context: ssl.SSLContext | None = None,
    password: str | None = None,
    version: str = "ocpp1.6",
    **options: Any,
) -> connect:
    """A station's connection: over TLS with a context, with HTTP Basic with a password."""
    scheme, port = ("wss", node.ocpp_tls_port) if context else ("ws", node.ocpp_port)
    headers = {}
    if password is not None:
        headers["Authorization"] = build_authorization_basic(charger_id, password)
    return connect(
        f"{scheme}://{HOST}:{port}/ocpp/{charger_id}",
        subprotocols=[Subprotocol(version)],
        compression=None,
        ssl=context,
        additional_headers=headers,
        **options,
    )
