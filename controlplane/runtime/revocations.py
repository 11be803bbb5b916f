"""Revocation lists of those who sign stations' certificates, at every step of a chain.

Invariant: a list counts if the key of its issuer signed it, and the issuer was described or stood
in a chain that a TLS handshake had verified: nobody else can revoke anything. An authority that is
revoked takes with it what it signed. Sources: OCPP 2.0.1 part 2 section A, RFC 5280 section 6.3."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes

from controlplane.runtime.telemetry import log

__all__ = ["Revocations"]

_BEGIN: Final = b"-----BEGIN X509 CRL-----"
_BETWEEN_MAX: Final = 256


class Revocations:
    """The lists of one file, for chains that end at `anchors`.

    Args:
        anchors: the described authorities.
        pem: any number of lists.
        before: what counted until now, whose chains are still those of open sockets.

    Raises:
        ValueError: one of them cannot be read.
    """

    def __init__(
        self,
        anchors: Iterable[x509.Certificate],
        pem: bytes = b"",
        before: Revocations | None = None,
    ) -> None:
        self._anchors = {_fingerprint(each): each for each in anchors}
        self._between: dict[bytes, x509.Certificate] = {} if before is None else before._between
        """Authorities of verified chains below the described ones, by fingerprint."""
        self._lists: dict[bytes, list[x509.CertificateRevocationList]] = {}
        """By the issuer's name."""
        self._serials: dict[bytes, frozenset[int]] = {}
        """What an authority revoked, by its fingerprint."""
        for block in pem.split(_BEGIN)[1:]:
            listed = x509.load_pem_x509_crl(_BEGIN + block)
            self._lists.setdefault(listed.issuer.public_bytes(), []).append(listed)
        for anchor in self._anchors.values():
            self._revoked_by(anchor)

    def revoked(self, chain: Sequence[x509.Certificate]) -> bool:
        """Whether one of a verified chain, leaf first, is revoked. Of a resumed TLS session there
        is the leaf alone; the authorities above it are those of earlier chains."""
        # Without a list, too: the one that comes next is held against open sockets.
        for authority in chain[1:]:
            if len(self._between) < _BETWEEN_MAX:
                self._between[_fingerprint(authority)] = authority
        if not self._lists:
            return False
        steps = pairwise(chain) if len(chain) > 1 else self._climbed(chain)
        return any(each.serial_number in self._revoked_by(issuer) for each, issuer in steps)

    def _climbed(
        self, chain: Sequence[x509.Certificate]
    ) -> Iterator[tuple[x509.Certificate, x509.Certificate]]:
        """The steps above a leaf, by the authorities that are known."""
        known = {**self._anchors, **self._between}.values()
        for certificate in chain:
            below = certificate
            # No chain has more steps than there are authorities.
            for _ in known:
                issuers = (each for each in known if _signed(below, each))
                issuer = max(issuers, key=lambda each: each.not_valid_before_utc, default=None)
                if issuer is None or below.subject == below.issuer:
                    break
                yield below, issuer
                below = issuer

    def _revoked_by(self, authority: x509.Certificate) -> frozenset[int]:
        fingerprint = _fingerprint(authority)
        known = self._serials.get(fingerprint)
        if known is not None:
            return known
        serials: set[int] = set()
        for listed in self._lists.get(authority.subject.public_bytes(), ()):
            # The kinds of keys that sign certificates sign their revocations too.
            if listed.is_signature_valid(authority.public_key()):  # type: ignore[arg-type]
                serials.update(each.serial_number for each in listed)
            else:
                log.warning("revocation_list_ignored", issuer=listed.issuer.rfc4514_string())
        found = frozenset(serials)
        if len(self._serials) < len(self._anchors) + _BETWEEN_MAX:
            self._serials[fingerprint] = found
        return found


def _fingerprint(certificate: x509.Certificate) -> bytes:
    return certificate.fingerprint(hashes.SHA256())


def _signed(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    if certificate.issuer != authority.subject:
        return False
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, TypeError, ValueError):
        return False
    return True
