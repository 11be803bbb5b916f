"""Passwords, certificates and security events of a 2.x station: A01 to A05, M01 to M06."""

from __future__ import annotations

from typing import Any

from controlplane.ocpp import commands, events
from controlplane.ocpp.certificates import CertificateHash
from controlplane.ocpp.commands import CommandResult, CommandState
from controlplane.ocpp.dialect import (
    ACCEPTED,
    Block,
    CertificateChainStatusAnswer,
    CertificateStatusAnswer,
    SigningAnswer,
    VehicleCertificateAnswer,
    judged,
)
from controlplane.ocpp.events import Event
from controlplane.ocpp.readings import instant_ms
from controlplane.units import iso_from_ms

__all__ = ["CERTIFICATE_CHAINS", "SECURITY"]


def _hash_read(payload: dict[str, Any]) -> CertificateHash:
    """A CertificateHashDataType, or the part of an OCSPRequestDataType that is one."""
    return CertificateHash(
        payload["hashAlgorithm"],
        payload["issuerNameHash"],
        payload["issuerKeyHash"],
        payload["serialNumber"],
    )


def _hash_payload(hashed: CertificateHash) -> dict[str, Any]:
    """As a CertificateHashDataType."""
    return {
        "hashAlgorithm": hashed.hash_algorithm,
        "issuerNameHash": hashed.issuer_name_hash,
        "issuerKeyHash": hashed.issuer_key_hash,
        "serialNumber": hashed.serial_number,
    }


def _security_event(payload: dict[str, Any]) -> Event:
    return events.SecurityEventNotified(
        kind=payload["type"],
        at_ms=instant_ms(payload["timestamp"]),
        detail=payload.get("techInfo", ""),
    )


def _certificate_requested(payload: dict[str, Any]) -> Event:
    return events.CertificateRequested(
        csr=payload["csr"],
        # A02.FR.05: left out it is the station's own.
        purpose=payload.get("certificateType", "ChargingStationCertificate"),
        request_id=payload.get("requestId"),
    )


def _certificate_status(payload: dict[str, Any]) -> Event:
    return events.CertificateStatusAsked(_hash_read(payload["ocspRequestData"]))


def _chain_status(payload: dict[str, Any]) -> Event:
    return events.CertificateChainStatusAsked(
        tuple(
            (_hash_read(each["certificateHashData"]), each["source"])
            for each in payload["certificateStatusRequests"]
        )
    )


def _vehicle_certificate(payload: dict[str, Any]) -> Event:
    return events.VehicleCertificateAsked(payload["action"])


def _with_reason(payload: dict[str, Any], reason: str) -> dict[str, Any]:
    return {**payload, "statusInfo": {"reasonCode": reason}} if reason else payload


def _signing_reply(answer: SigningAnswer) -> dict[str, Any]:
    status = "Accepted" if answer.accepted else "Rejected"
    return _with_reason({"status": status}, answer.reason)


def _status_reply(answer: CertificateStatusAnswer) -> dict[str, Any]:
    if answer.ocsp is None:
        return _with_reason({"status": "Failed"}, answer.reason)
    return {"status": "Accepted", "ocspResult": answer.ocsp}


def _chain_reply(answer: CertificateChainStatusAnswer) -> dict[str, Any]:
    return {
        "certificateStatus": [
            {
                "certificateHashData": _hash_payload(hashed),
                "source": source,
                "status": status,
                "nextUpdate": iso_from_ms(next_ms),
            }
            for hashed, source, status, next_ms in answer.statuses
        ]
    }


def _vehicle_reply(answer: VehicleCertificateAnswer) -> dict[str, Any]:
    status = "Accepted" if answer.response else "Failed"
    return _with_reason({"status": status, "exiResponse": answer.response}, answer.reason)


def _certificate_signed(command: commands.CertificateSigned, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "certificateChain": command.chain,
        "certificateType": command.purpose,
    }
    if command.request_id is not None:
        payload["requestId"] = command.request_id
    return payload


def _install(command: commands.InstallCertificate, _: int) -> dict[str, Any]:
    return {"certificateType": command.certificate_type, "certificate": command.certificate}


def _delete(command: commands.DeleteCertificate, _: int) -> dict[str, Any]:
    return {"certificateHashData": _hash_payload(command.certificate)}


def _get_installed(command: commands.GetInstalledCertificates, _: int) -> dict[str, Any]:
    types = command.certificate_types
    return {"certificateType": list(types)} if types else {}


def _installed(_: commands.GetInstalledCertificates, payload: dict[str, Any]) -> CommandResult:
    # M03.FR.02: NotFound, there are none.
    return judged(payload, "NotFound")


def _set_password(command: commands.SetPassword, _: int) -> dict[str, Any]:
    return {
        "setVariableData": [
            {
                "component": {"name": "SecurityCtrlr"},
                "variable": {"name": "BasicAuthPassword"},
                "attributeValue": command.password,
            }
        ]
    }


def _password_set(_: commands.SetPassword, payload: dict[str, Any]) -> CommandResult:
    """Without the payload: nothing that was told of a password is kept."""
    status = str(payload["setVariableResult"][0]["attributeStatus"])
    taken = status in ACCEPTED
    return CommandResult(CommandState.ACCEPTED if taken else CommandState.REJECTED, status)


SECURITY = Block(
    readers={
        "Get15118EVCertificate": _vehicle_certificate,
        "GetCertificateStatus": _certificate_status,
        "SecurityEventNotification": _security_event,
        "SignCertificate": _certificate_requested,
    },
    replies={
        CertificateStatusAnswer: _status_reply,
        SigningAnswer: _signing_reply,
        VehicleCertificateAnswer: _vehicle_reply,
    },
    writers={
        commands.CertificateSigned: ("CertificateSigned", _certificate_signed),
        commands.DeleteCertificate: ("DeleteCertificate", _delete),
        commands.GetInstalledCertificates: ("GetInstalledCertificateIds", _get_installed),
        commands.InstallCertificate: ("InstallCertificate", _install),
        commands.SetPassword: ("SetVariables", _set_password),
    },
    results={
        commands.GetInstalledCertificates: _installed,
        commands.SetPassword: _password_set,
    },
)

CERTIFICATE_CHAINS = Block(
    readers={"GetCertificateChainStatus": _chain_status},
    replies={CertificateChainStatusAnswer: _chain_reply},
)
"""What 2.1 has besides: M07."""
