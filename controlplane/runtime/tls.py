"""TLS towards stations: the server's certificate, whose client certificates are believed, and which
of those have been revoked.

Invariant: a handshake uses the files as they stand on disk, seconds after they changed and without
a restart; files that cannot be used change nothing and leave a line in the log. Cipher suites and
versions are those of OCPP 2.0.1 part 2, A00.FR.312 to 318 (TLS 1.2 or higher, no compression)."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from controlplane.config import Settings
from controlplane.errors import InvalidInput
from controlplane.runtime.authority import IDENTITY_PREFIX
from controlplane.runtime.revocations import Revocations
from controlplane.runtime.telemetry import log

__all__ = ["ClientCertificate", "Tls", "client_certificate"]

_WATCH_INTERVAL_S: Final = 2.0
_CIPHERS: Final = ":".join(
    (
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
        "ECDHE-RSA-AES128-GCM-SHA256",
        "ECDHE-RSA-AES256-GCM-SHA384",
        # Without forward secrecy: last, and only because stations need not know better ones.
        "AES128-GCM-SHA256",
        "AES256-GCM-SHA384",
    )
)
"""For TLS 1.2; those of 1.3 are OpenSSL's own."""
_PEM_MAX_BYTES: Final = 4_194_304
_ENCODING_DER: Final = 2
"""`_ssl.ENCODING_DER`."""


class ClientCertificate(NamedTuple):
    """What a station's certificate says; its chain has been verified."""

    names: frozenset[str]
    """Whose it is: the ids that it carries as such, or else the common name and the alternative
    names of the subject. A common name may be a serial number, and a station says itself what its
    serial number is."""
    organisations: frozenset[str]
    serial: str
    """Hexadecimal, lower case, without leading zeros."""
    chain: tuple[x509.Certificate, ...]
    """As it was verified, the station's own first; that one alone for a resumed session."""


class _Loaded(NamedTuple):
    context: ssl.SSLContext
    revocations: Revocations
    stamps: tuple[tuple[str, int, int], ...]


class Tls:
    """The TLS side of a gateway.

    Args:
        changed: called whenever the files were taken in anew: open sockets may stand on what they
            no longer allow.

    Raises:
        InvalidInput: the certificate, its key or a trust store cannot be used.
    """

    def __init__(
        self, settings: Settings, changed: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        if settings.tls_certificate is None:
            raise InvalidInput(
                "ocpp_tls_port wants tls_certificate: the server's certificate as a PEM file",
                reason="TLS_CERTIFICATE_MISSING",
            )
        self.reloads = 0
        self._settings = settings
        self._changed = changed
        self._loaded = self._load(None)
        self._tried = self._loaded.stamps

    @property
    def context(self) -> ssl.SSLContext:
        """What the next handshake uses."""
        return self._loaded.context

    def revoked(self, certificate: ClientCertificate) -> bool:
        """Whether a list revokes it, or an authority that it hangs on."""
        return self._loaded.revocations.revoked(certificate.chain)

    async def watch_forever(self) -> None:
        """Take the files in again whenever one of them changed."""
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            await self.refresh()

    async def refresh(self) -> bool:
        """Take the files in if one of them changed; whether that happened."""
        stamps = await asyncio.to_thread(self._stamps)
        if stamps == self._tried:
            return False
        self._tried = stamps
        try:
            self._loaded = await asyncio.to_thread(self._load, self._loaded.revocations)
        except InvalidInput as error:
            log.error("tls_files_refused", error=error.message)
            return False
        self.reloads += 1
        log.info("tls_files_loaded")
        if self._changed is not None:
            await self._changed()
        return True

    def _files(self) -> list[Path]:
        settings = self._settings
        given = (
            settings.tls_certificate,
            settings.tls_key,
            settings.tls_client_ca,
            settings.tls_revocations,
            settings.ca / "ca.pem",
        )
        return [path for path in given if path is not None]

    def _stamps(self) -> tuple[tuple[str, int, int], ...]:
        stamps = []
        for path in self._files():
            try:
                stat = path.stat()
            except OSError:
                continue
            stamps.append((str(path), stat.st_mtime_ns, stat.st_size))
        return tuple(stamps)

    def _load(self, before: Revocations | None) -> _Loaded:
        settings = self._settings
        # Taken first: a file that changes meanwhile is taken in again.
        stamps = self._stamps()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_ciphers(_CIPHERS)
        assert settings.tls_certificate is not None
        try:
            context.load_cert_chain(settings.tls_certificate, settings.tls_key)
        except OSError as error:
            raise InvalidInput(
                f"certificate {settings.tls_certificate} and its key: {error}",
                reason="TLS_CERTIFICATE_INVALID",
            ) from error
        anchors = self._anchors()
        if anchors:
            context.load_verify_locations(
                cadata=b"".join(anchor.public_bytes(Encoding.DER) for anchor in anchors)
            )
            context.verify_mode = ssl.CERT_OPTIONAL
        return _Loaded(context, self._revocations(anchors, before), stamps)

    def _anchors(self) -> list[x509.Certificate]:
        local = self._settings.ca / "ca.pem"
        found: list[x509.Certificate] = []
        for path in (self._settings.tls_client_ca, local if local.exists() else None):
            if path is not None:
                try:
                    found += x509.load_pem_x509_certificates(_read(path))
                except ValueError as error:
                    raise InvalidInput(
                        f"certificates in {path}: {error}", reason="TLS_TRUST_INVALID"
                    ) from error
        return found

    def _revocations(
        self, anchors: Iterable[x509.Certificate], before: Revocations | None
    ) -> Revocations:
        path = self._settings.tls_revocations
        try:
            return Revocations(anchors, b"" if path is None else _read(path), before)
        except ValueError as error:
            raise InvalidInput(
                f"revocation lists in {path}: {error}", reason="TLS_REVOCATIONS_INVALID"
            ) from error


def client_certificate(tls: ssl.SSLObject | None) -> ClientCertificate | None:
    """The certificate that the station showed on this connection, or None."""
    der = None if tls is None else tls.getpeercert(binary_form=True)
    if not der:
        return None
    certificate = x509.load_der_x509_certificate(der)
    subject = certificate.subject
    names = {_text(each) for each in subject.get_attributes_for_oid(NameOID.COMMON_NAME)}
    own: set[str] = set()
    try:
        alternative = certificate.extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        ).value
    except x509.ExtensionNotFound:
        pass
    else:
        names.update(alternative.get_values_for_type(x509.DNSName))
        own.update(
            each.removeprefix(IDENTITY_PREFIX)
            for each in alternative.get_values_for_type(x509.UniformResourceIdentifier)
            if each.startswith(IDENTITY_PREFIX)
        )
    return ClientCertificate(
        frozenset(own or names),
        frozenset(map(_text, subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))),
        f"{certificate.serial_number:x}",
        (certificate, *_authorities(tls)),
    )


def _authorities(tls: Any) -> list[x509.Certificate]:
    """The verified chain above the station's certificate. Python shows it from 3.13 on; before, the
    object within has it."""
    shown = getattr(tls, "get_verified_chain", None) or tls._sslobj.get_verified_chain
    chain = shown() or ()
    return [
        x509.load_der_x509_certificate(
            each if isinstance(each, bytes) else each.public_bytes(_ENCODING_DER)
        )
        for each in chain[1:]
    ]


def _text(attribute: x509.NameAttribute[str | bytes]) -> str:
    value = attribute.value
    return value if isinstance(value, str) else value.decode("latin-1")


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > _PEM_MAX_BYTES:
            raise InvalidInput(f"{path} is longer than {_PEM_MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"{path}: {error.strerror}", reason="TLS_FILE_MISSING") from error
