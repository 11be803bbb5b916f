"""`CertificatesService`: certificates in chargers, and those that the local authority signed."""

from __future__ import annotations

import asyncio
from typing import Any

from cryptography import x509

from controlplane.api.backend import Backend, invalid, page_size, required, timestamp
from controlplane.api.executing import Replay, execute, outcome_of
from controlplane.api.v1 import certificates_pb2, certificates_pb2_grpc
from controlplane.errors import Precondition
from controlplane.ids import ChargerId
from controlplane.ocpp import commands
from controlplane.ocpp.answers import installed_certificates_answered
from controlplane.ocpp.certificates import CertificateHash
from controlplane.runtime.authority import Authority, read_certificate, root_hash
from controlplane.runtime.signing import renewal, revoke
from controlplane.store.records import CertificateRecord, HandOver, SigningRecord, SigningState
from controlplane.units import ms_from_datetime

__all__ = ["Certificates"]

_PEM_MAX = 10_000
_REASON_MAX = 255
_HANDED_OVER = {
    HandOver.NONE: certificates_pb2.HAND_OVER_UNSPECIFIED,
    HandOver.UNANSWERED: certificates_pb2.HAND_OVER_UNANSWERED,
    HandOver.ACCEPTED: certificates_pb2.HAND_OVER_ACCEPTED,
    HandOver.REFUSED: certificates_pb2.HAND_OVER_REFUSED,
    HandOver.NOT_SENT: certificates_pb2.HAND_OVER_NOT_SENT,
}
_STATES = {
    state: certificates_pb2.SigningState.Value(f"SIGNING_STATE_{state.name}")
    for state in SigningState
}


class Certificates(certificates_pb2_grpc.CertificatesServiceServicer):
    """Answers `controlplane.api.v1.CertificatesService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def InstallCertificate(
        self, request: certificates_pb2.InstallCertificateRequest, context: Any
    ) -> certificates_pb2.InstallCertificateResponse:
        required(request, "certificate_type")
        pem = request.certificate_pem
        if pem:
            count = _counted("certificate_pem", pem)
            if count != 1:
                raise invalid("certificate_pem", f"one certificate, not {count}")
        else:
            pem = (await self._authority()).pem
        command = commands.InstallCertificate(request.certificate_type, pem)
        result = await execute(self._backend, command, request, context)
        return certificates_pb2.InstallCertificateResponse(outcome=outcome_of(result))

    async def DeleteCertificate(
        self, request: certificates_pb2.DeleteCertificateRequest, context: Any
    ) -> certificates_pb2.DeleteCertificateResponse:
        required(request, "certificate")
        given = request.certificate
        required(given, "hash_algorithm", "issuer_name_hash", "issuer_key_hash", "serial_number")
        command = commands.DeleteCertificate(
            CertificateHash(
                given.hash_algorithm,
                given.issuer_name_hash,
                given.issuer_key_hash,
                given.serial_number,
            )
        )
        result = await execute(self._backend, command, request, context)
        return certificates_pb2.DeleteCertificateResponse(outcome=outcome_of(result))

    async def GetInstalledCertificateIds(
        self, request: certificates_pb2.GetInstalledCertificateIdsRequest, context: Any
    ) -> certificates_pb2.GetInstalledCertificateIdsResponse:
        command = commands.GetInstalledCertificates(tuple(request.certificate_types))
        result = await execute(self._backend, command, request, context)
        return certificates_pb2.GetInstalledCertificateIdsResponse(
            outcome=outcome_of(result),
            certificates=[
                certificates_pb2.InstalledCertificate(
                    certificate_type=found.certificate_type,
                    certificate=_hash_to_message(found.certificate),
                    children=map(_hash_to_message, found.children),
                )
                for found in installed_certificates_answered(result.payload)
            ],
        )

    async def RenewCertificate(
        self, request: certificates_pb2.RenewCertificateRequest, context: Any
    ) -> certificates_pb2.RenewCertificateResponse:
        purpose = request.purpose or "ChargingStationCertificate"
        if not purpose.endswith("Certificate"):
            raise invalid("purpose", "a word of OCPP 2.x, such as ChargingStationCertificate")
        command = renewal(purpose)
        result = await execute(self._backend, command, request, context)
        return certificates_pb2.RenewCertificateResponse(outcome=outcome_of(result))

    async def SendCertificate(
        self, request: certificates_pb2.SendCertificateRequest, context: Any
    ) -> certificates_pb2.SendCertificateResponse:
        _counted("chain_pem", request.chain_pem)
        purpose = request.purpose or "ChargingStationCertificate"
        leaf = None if isinstance(context, Replay) else await self._leaf(request, purpose)
        command = commands.CertificateSigned(request.chain_pem, purpose, leaf=leaf)
        result = await execute(self._backend, command, request, context)
        return certificates_pb2.SendCertificateResponse(outcome=outcome_of(result))

    async def _leaf(
        self, request: certificates_pb2.SendCertificateRequest, purpose: str
    ) -> commands.Leaf | None:
        """What the charger's actor writes down of a certificate before it is sent; None for one
        that was signed here.

        Raises:
            Precondition: it was revoked, or another one has its serial number.
        """
        given = read_certificate(request.chain_pem.encode(), request.charger_id, purpose)
        known = await self._backend.reader.certificate(given.serial)
        if known is not None:
            facts = {"serial": given.serial, "charger_id": known.charger_id}
            if known.charger_id != given.charger_id or _own(known.pem) != _own(given.pem):
                raise Precondition(
                    f"the serial number {given.serial}, by which certificates are revoked, is that "
                    f"of a certificate of charger {known.charger_id}",
                    reason="CERTIFICATE_SERIAL_TAKEN",
                    metadata=facts,
                )
            if known.revoked_ms is not None:
                raise Precondition(
                    f"certificate {given.serial} is revoked: the charger could not connect with it",
                    reason="CERTIFICATE_REVOKED",
                    metadata=facts,
                )
            if known.handed_over is HandOver.NONE:
                return None
        return commands.Leaf(given.serial, given.not_before_ms, given.not_after_ms)

    async def ListCertificates(
        self, request: certificates_pb2.ListCertificatesRequest, context: Any
    ) -> certificates_pb2.ListCertificatesResponse:
        size = page_size(request.page_size)
        # The token is the serial number of the last one.
        found = await self._backend.reader.certificates(
            charger_id=ChargerId(request.charger_id) if request.charger_id else None,
            after_serial=request.page_token,
            limit=size + 1,
        )
        return certificates_pb2.ListCertificatesResponse(
            certificates=map(_certificate_to_message, found[:size]),
            next_page_token=found[size - 1].serial if len(found) > size else "",
        )

    async def RevokeCertificate(
        self, request: certificates_pb2.RevokeCertificateRequest, context: Any
    ) -> certificates_pb2.RevokeCertificateResponse:
        required(request, "serial")
        if len(request.reason) > _REASON_MAX:
            raise invalid("reason", f"at most {_REASON_MAX} characters")
        backend = self._backend
        revoked = await revoke(backend.client, backend.reader, request.serial, request.reason)
        return certificates_pb2.RevokeCertificateResponse(
            certificate=_certificate_to_message(revoked)
        )

    async def ListSigningRequests(
        self, request: certificates_pb2.ListSigningRequestsRequest, context: Any
    ) -> certificates_pb2.ListSigningRequestsResponse:
        found = await self._backend.reader.signings(
            charger_id=ChargerId(request.charger_id) if request.charger_id else None
        )
        return certificates_pb2.ListSigningRequestsResponse(
            signing_requests=map(_signing_to_message, found)
        )

    async def GetAuthority(
        self, request: certificates_pb2.GetAuthorityRequest, context: Any
    ) -> certificates_pb2.GetAuthorityResponse:
        authority = await self._authority()
        name, key, serial = root_hash(authority.certificate)
        return certificates_pb2.GetAuthorityResponse(
            certificate_pem=authority.pem,
            certificate=_hash_to_message(CertificateHash("SHA256", name, key, serial)),
            subject=authority.certificate.subject.rfc4514_string(),
            not_after_time=timestamp(ms_from_datetime(authority.certificate.not_valid_after_utc)),
        )

    async def _authority(self) -> Authority:
        return await asyncio.to_thread(Authority.open, self._backend.settings.ca)


def _counted(field: str, pem: str) -> int:
    """How many certificates there are.

    Raises:
        InvalidInput: it is no PEM of certificates.
    """
    if len(pem) > _PEM_MAX:
        raise invalid(field, f"at most {_PEM_MAX} characters")
    try:
        return len(x509.load_pem_x509_certificates(pem.encode()))
    except ValueError as error:
        raise invalid(field, f"no certificate: {error}") from error


def _own(pem: str) -> x509.Certificate:
    """The station's own certificate of a chain."""
    return x509.load_pem_x509_certificates(pem.encode())[0]


def _hash_to_message(hashed: CertificateHash) -> certificates_pb2.CertificateHash:
    return certificates_pb2.CertificateHash(
        hash_algorithm=hashed.hash_algorithm,
        issuer_name_hash=hashed.issuer_name_hash,
        issuer_key_hash=hashed.issuer_key_hash,
        serial_number=hashed.serial_number,
    )


def _certificate_to_message(record: CertificateRecord) -> certificates_pb2.Certificate:
    return certificates_pb2.Certificate(
        serial=record.serial,
        charger_id=record.charger_id,
        purpose=record.purpose,
        not_before_time=timestamp(record.not_before_ms),
        not_after_time=timestamp(record.not_after_ms),
        revoked_time=timestamp(record.revoked_ms),
        revocation_reason=record.revocation_reason,
        pem=record.pem,
        handed_over=_HANDED_OVER[record.handed_over],
    )


def _signing_to_message(record: SigningRecord) -> certificates_pb2.SigningRequest:
    return certificates_pb2.SigningRequest(
        charger_id=record.charger_id,
        purpose=record.purpose,
        state=_STATES[record.state],
        ask_time=timestamp(record.asked_ms),
        serial=record.serial,
        detail=record.detail,
    )
