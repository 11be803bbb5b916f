"""The local certificate authority: a key and a certificate in a folder that operators look after.

It signs what stations ask for (OCPP 2.0.1 part 2 A02 and A03, 1.6 security whitepaper), says
whether a certificate of its own still counts (OCSP, M06), and makes a server certificate where
there is no other. Invariant: nothing is signed that does not carry the charger's own identity, a
key long enough and a proof that the station has it. Certificates live in the world's time, whatever
speed Loadstar's clock runs at."""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from controlplane.errors import AlreadyExists, InvalidInput, NotFound
from controlplane.ids import ChargerId
from controlplane.ocpp.certificates import CertificateHash
from controlplane.store.records import CertificateRecord
from controlplane.units import ms_from_datetime

__all__ = [
    "IDENTITY_PREFIX",
    "Authority",
    "Wish",
    "read_certificate",
    "read_wish",
    "root_hash",
    "write_secret",
]

IDENTITY_PREFIX: Final = "urn:loadstar:charger:"
"""An alternative name of this form carries a charger's id whatever characters it has."""

_CSR_MAX: Final = 5_500
_RSA_BITS_MIN: Final = 2_048
_CURVES: Final = frozenset({"secp256r1", "secp384r1", "secp521r1"})
_BACKDATED: Final = timedelta(days=1)
"""Stations whose clock is behind must believe a new certificate at once."""
_OCSP_VALID: Final = timedelta(days=7)
_HASHES: Final[dict[str, hashes.HashAlgorithm]] = {
    "SHA256": hashes.SHA256(),
    "SHA384": hashes.SHA384(),
    "SHA512": hashes.SHA512(),
}
_BEGIN: Final = "-----BEGIN"
_Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Wish(NamedTuple):
    """A certificate signing request that may be signed."""

    csr: x509.CertificateSigningRequest
    common_name: str


def read_wish(text: str, names: Sequence[str], organisation: str = "") -> Wish | str:
    """The signing request in `text`, or why it is not signed.

    Args:
        text: PEM; base64 without its frame, as some stations send it, is taken too.
        names: what the subject's common name may be: the charger's id and its serial number
            (2.0.1 part 2 A00.FR.511).
        organisation: what O must be, since gateways want it of a certificate; empty for anything.
    """
    if len(text) > _CSR_MAX:
        return f"longer than {_CSR_MAX} characters"
    try:
        if _BEGIN in text:
            csr = x509.load_pem_x509_csr(text.strip().encode())
        else:
            csr = x509.load_der_x509_csr(base64.b64decode(text, validate=False))
        valid = csr.is_signature_valid
        key = csr.public_key()
    except (ValueError, binascii.Error, UnsupportedAlgorithm, InvalidSignature) as error:
        return f"no certificate signing request: {error}"[:255]
    if not valid:
        return "its signature is not of its own key"
    if isinstance(key, rsa.RSAPublicKey):
        if key.key_size < _RSA_BITS_MIN:
            return f"RSA keys have {_RSA_BITS_MIN} bits or more, this one {key.key_size}"
    elif not isinstance(key, ec.EllipticCurvePublicKey):
        return "the key is neither RSA nor of an elliptic curve"
    elif key.curve.name not in _CURVES:
        return f"curve {key.curve.name} is not one of P-256, P-384 and P-521"
    common_names = [
        str(each.value) for each in csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    ]
    if len(common_names) != 1 or common_names[0] not in names:
        return f"the common name is not {' or '.join(filter(None, names))}"
    given = [str(e.value) for e in csr.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)]
    if organisation and organisation not in given:
        return f"the organisation is not {organisation}"
    return Wish(csr, common_names[0])


def read_certificate(pem: bytes, charger_id: str, purpose: str) -> CertificateRecord:
    """A chain that another authority signed for a charger, leaf first.

    Raises:
        InvalidInput: it is none.
    """
    try:
        leaf = x509.load_pem_x509_certificates(pem)[0]
    except ValueError as error:
        raise InvalidInput(f"no certificate: {error}"[:255]) from error
    return CertificateRecord(
        f"{leaf.serial_number:x}",
        ChargerId(charger_id),
        purpose,
        pem.decode("ascii", errors="replace").strip() + "\n",
        ms_from_datetime(leaf.not_valid_before_utc),
        ms_from_datetime(leaf.not_valid_after_utc),
    )


class Authority:
    """Signs with the key in a folder."""

    def __init__(self, key: _Key, certificate: x509.Certificate) -> None:
        self._key = key
        self.certificate = certificate

    @classmethod
    def create(cls, folder: Path, *, organisation: str, name: str, days: int) -> Authority:
        """Make a key (P-256) and a root certificate and keep them in `folder`.

        Raises:
            AlreadyExists: there is one in it.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if (folder / "ca.key").exists() or (folder / "ca.pem").exists():
            raise AlreadyExists(f"there is an authority in {folder}", reason="CA_EXISTS")
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation),
                x509.NameAttribute(NameOID.COMMON_NAME, name),
            ]
        )
        now = datetime.now(UTC)
        usage = _usage(key_cert_sign=True, crl_sign=True)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(now + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .sign(key, hashes.SHA256())
        )
        write_secret(folder / "ca.key", _private_pem(key))
        (folder / "ca.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        return cls(key, certificate)

    @classmethod
    def open(cls, folder: Path) -> Authority:
        """The one in `folder`.

        Raises:
            NotFound: there is none.
            InvalidInput: its files cannot be used.
        """
        try:
            key = serialization.load_pem_private_key((folder / "ca.key").read_bytes(), None)
            certificate = x509.load_pem_x509_certificate((folder / "ca.pem").read_bytes())
        except FileNotFoundError as error:
            raise NotFound(f"there is no authority in {folder}", reason="CA_MISSING") from error
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidInput(f"authority in {folder}: {error}", reason="CA_INVALID") from error
        if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
            raise InvalidInput(f"{folder / 'ca.key'} is neither RSA nor EC", reason="CA_INVALID")
        if _public_der(key.public_key()) != _public_der(certificate.public_key()):
            raise InvalidInput(f"{folder}: ca.key is not the key of ca.pem", reason="CA_INVALID")
        return cls(key, certificate)

    @property
    def pem(self) -> str:
        """The root certificate, for those who are to believe it."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def sign(self, wish: Wish, *, charger_id: str, purpose: str, days: int) -> CertificateRecord:
        """A certificate for a charger, with the key and the subject it asked for."""
        key = wish.csr.public_key()
        builder = (
            self._builder(wish.csr.subject, days=days)
            .public_key(key)
            .add_extension(
                x509.SubjectAlternativeName(
                    [x509.UniformResourceIdentifier(IDENTITY_PREFIX + charger_id)]
                ),
                critical=False,
            )
            .add_extension(
                _usage(digital_signature=True, key_encipherment=isinstance(key, rsa.RSAPublicKey)),
                critical=True,
            )
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        )
        signed = builder.sign(self._key, hashes.SHA256())
        leaf = signed.public_bytes(Encoding.PEM).decode()
        return CertificateRecord(
            f"{signed.serial_number:x}",
            ChargerId(charger_id),
            purpose,
            leaf + self.pem,
            ms_from_datetime(signed.not_valid_before_utc),
            ms_from_datetime(signed.not_valid_after_utc),
        )

    def server_certificate(self, names: Sequence[str], *, days: int) -> tuple[str, str]:
        """A key and a certificate, both PEM, for the names and addresses under which stations find
        this gateway."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = (
            self._builder(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])]), days=days)
            .public_key(key.public_key())
            .add_extension(x509.SubjectAlternativeName(list(map(_general, names))), critical=False)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        return _private_pem(key).decode(), signed.public_bytes(Encoding.PEM).decode() + self.pem

    def issued(self, hashed: CertificateHash) -> bool:
        """Whether a certificate so named is one of this authority."""
        return hashed.hash_algorithm in _HASHES and (
            root_hash(self.certificate, hashed.hash_algorithm)[:2]
            == (hashed.issuer_name_hash.lower(), hashed.issuer_key_hash.lower())
        )

    def ocsp(self, hashed: CertificateHash, record: CertificateRecord | None) -> str:
        """An OCSP response about a certificate so named, DER in base64; `record` is what is known
        of it."""
        now = datetime.now(UTC)
        status, revoked = ocsp.OCSPCertStatus.UNKNOWN, None
        if record is not None:
            status = ocsp.OCSPCertStatus.GOOD
            if record.revoked_ms is not None:
                status = ocsp.OCSPCertStatus.REVOKED
                revoked = datetime.fromtimestamp(record.revoked_ms / 1_000, UTC)
        response = (
            ocsp.OCSPResponseBuilder()
            .add_response_by_hash(
                issuer_name_hash=bytes.fromhex(hashed.issuer_name_hash),
                issuer_key_hash=bytes.fromhex(hashed.issuer_key_hash),
                serial_number=int(hashed.serial_number, 16),
                algorithm=_HASHES[hashed.hash_algorithm],
                cert_status=status,
                this_update=now,
                next_update=now + _OCSP_VALID,
                revocation_time=revoked,
                revocation_reason=None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, self.certificate)
            .sign(self._key, hashes.SHA256())
        )
        return base64.b64encode(response.public_bytes(Encoding.DER)).decode()

    def _builder(self, subject: x509.Name, *, days: int) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        # Nothing outlives the authority that vouches for it.
        end = min(now + timedelta(days=days), self.certificate.not_valid_after_utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.certificate.subject)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _BACKDATED)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()),
                critical=False,
            )
        )


def root_hash(certificate: x509.Certificate, algorithm: str = "SHA256") -> tuple[str, str, str]:
    """By what OCPP names a root certificate: hashes of its name and its key, its serial number
    (RFC 6960 section 4.1.1, CertificateHashDataType)."""
    name = hashlib.new(algorithm.lower(), certificate.subject.public_bytes()).hexdigest()
    return name, _key_hash(certificate, algorithm), f"{certificate.serial_number:x}"


_SPKI: Final = serialization.PublicFormat.SubjectPublicKeyInfo


def _key_hash(certificate: x509.Certificate, algorithm: str) -> str:
    """Of the key's bits, without what says of which kind it is."""
    key = certificate.public_key()
    if isinstance(key, ec.EllipticCurvePublicKey):
        bits = key.public_bytes(Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    else:
        assert isinstance(key, rsa.RSAPublicKey)
        bits = key.public_bytes(Encoding.DER, serialization.PublicFormat.PKCS1)
    return hashlib.new(algorithm.lower(), bits).hexdigest()


def _public_der(key: object) -> bytes:
    return key.public_bytes(Encoding.DER, _SPKI)  # type: ignore[attr-defined, no-any-return]


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def write_secret(path: Path, data: bytes) -> None:
    """Readable by its owner alone from the first byte on; another file of this name is replaced."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
    partial.replace(path)


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(
    *,
    digital_signature: bool = False,
    key_encipherment: bool = False,
    key_cert_sign: bool = False,
    crl_sign: bool = False,
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=key_encipherment,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
