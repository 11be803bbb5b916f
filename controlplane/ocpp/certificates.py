"""How certificates are named, in what stations ask and in what they are told."""

from __future__ import annotations

import msgspec

__all__ = ["CertificateHash"]


class CertificateHash(msgspec.Struct, frozen=True):
    """By what OCPP names a certificate: hashes, in hexadecimal, of its issuer's name and key, and
    its serial number without leading zeros (2.x CertificateHashDataType)."""

    hash_algorithm: str
    """SHA256, SHA384 or SHA512."""
    issuer_name_hash: str
    issuer_key_hash: str
    serial_number: str
