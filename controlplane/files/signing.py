"""What is signed and what is checked: the firmware of makers, Loadstar's own word on a log, and the
addresses that let one station bring one log.

Invariant: the key and the secret are made once, readable by their owner alone, and never leave the
directory."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import orjson
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

from controlplane.errors import InvalidInput

__all__ = ["Grant", "Signer", "check_firmware"]

_MAC_BYTES: Final = 16


class Grant(msgspec.Struct, frozen=True, array_like=True):
    """Leave for one charger to bring the log of one request until `until_s` (seconds UTC)."""

    charger_id: str
    request_id: int
    kind: str
    until_s: int


_grants = msgspec.msgpack.Decoder(Grant)


class Signer:
    """Signs with a key of its own, kept in `directory`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._secret = _kept(directory / "address.secret", lambda: secrets.token_bytes(32))
        key = _kept(directory / "signing.key", _new_key)
        self._key = ed25519.Ed25519PrivateKey.from_private_bytes(key)
        self._public = self._key.public_key()

    @property
    def public_key(self) -> str:
        """Ed25519, raw, base64: what a signature is checked with elsewhere."""
        raw = self._public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        return base64.b64encode(raw).decode()

    def sign(self, facts: dict[str, object]) -> str:
        """A signature over JSON with sorted keys, base64."""
        return base64.b64encode(self._key.sign(_canonical(facts))).decode()

    def signed(self, facts: dict[str, object], signature: str) -> bool:
        """Whether `signature` is ours and over exactly these facts."""
        try:
            self._public.verify(base64.b64decode(signature, validate=True), _canonical(facts))
        except (InvalidSignature, ValueError):
            return False
        return True

    def token(self, grant: Grant) -> str:
        """An address part that nobody can make up."""
        body = msgspec.msgpack.encode(grant)
        return base64.urlsafe_b64encode(body + self._mac(body)).decode().rstrip("=")

    def grant(self, token: str, *, now_s: float) -> Grant | None:
        """What a token allows; None for one that is made up or too old."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        except ValueError:
            return None
        body, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not hmac.compare_digest(mac, self._mac(body)):
            return None
        grant = _grants.decode(body)
        return grant if now_s < grant.until_s else None

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, hashlib.sha256)[:_MAC_BYTES]


def check_firmware(image: bytes, *, certificate_pem: str, signature: str) -> None:
    """Hold a maker's signature against a file: SHA-256 with ECDSA, or RSA with PSS or PKCS #1 v1.5
    padding (OCPP 2.0.1 part 2 L01).

    Raises:
        InvalidInput: the certificate cannot be read, its key is of another kind, or the signature
            is not of this file.
    """
    try:
        key = x509.load_pem_x509_certificate(certificate_pem.encode()).public_key()
        signed = base64.b64decode(signature, validate=True)
    except ValueError as error:
        raise InvalidInput(
            f"certificate or signature cannot be read: {error}", reason="SIGNATURE_UNREADABLE"
        ) from error
    digest = hashes.SHA256()
    try:
        match key:
            case ec.EllipticCurvePublicKey():
                key.verify(signed, image, ec.ECDSA(digest))
            case rsa.RSAPublicKey():
                _check_rsa(key, signed, image)
            case _:
                raise InvalidInput("the key is neither RSA nor ECDSA", reason="KEY_UNSUITABLE")
    except InvalidSignature as error:
        raise InvalidInput(
            "the signature is not one of this file", reason="SIGNATURE_INVALID"
        ) from error


def _check_rsa(key: rsa.RSAPublicKey, signed: bytes, image: bytes) -> None:
    """Raises InvalidSignature."""
    pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
    try:
        key.verify(signed, image, pss, hashes.SHA256())
    except InvalidSignature:
        key.verify(signed, image, padding.PKCS1v15(), hashes.SHA256())


def _canonical(facts: dict[str, object]) -> bytes:
    return orjson.dumps(facts, option=orjson.OPT_SORT_KEYS)


def _new_key() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.Raw,
        serialization.PrivateFormat.Raw,
        serialization.NoEncryption(),
    )


def _kept(path: Path, make: Callable[[], bytes]) -> bytes:
    """What the file holds; made now where there is none. Of two processes that make it at the same
    time one wins, and both use what it made."""
    if not path.exists():
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(make())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
        partial.unlink()
    return path.read_bytes()
