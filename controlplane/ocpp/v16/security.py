"""Passwords, certificates and security events of a 1.6 station: the security whitepaper,
"Improved security for OCPP 1.6-J", edition 3."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands, events
from controlplane.ocpp.commands import CommandResult
from controlplane.ocpp.dialect import Block, SigningAnswer, judged
from controlplane.ocpp.events import Event
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.readings import instant_ms

__all__ = ["SECURITY"]

_PURPOSE: Final = "ChargingStationCertificate"
_TYPES: Final = {
    "CSMSRootCertificate": "CentralSystemRootCertificate",
    "ManufacturerRootCertificate": "ManufacturerRootCertificate",
}


def _security_event(payload: dict[str, Any]) -> Event:
    return events.SecurityEventNotified(
        kind=payload["type"],
        at_ms=instant_ms(payload["timestamp"]),
        detail=payload.get("techInfo", ""),
    )


def _certificate_requested(payload: dict[str, Any]) -> Event:
    return events.CertificateRequested(csr=payload["csr"], purpose=_PURPOSE)


def _signing_reply(answer: SigningAnswer) -> dict[str, Any]:
    return {"status": "Accepted" if answer.accepted else "Rejected"}


def _certificate_signed(command: commands.CertificateSigned, _: int) -> dict[str, Any] | Fault:
    if command.purpose != _PURPOSE:
        return _no_such(command.purpose)
    return {"certificateChain": command.chain}


def _install(command: commands.InstallCertificate, _: int) -> dict[str, Any] | Fault:
    word = _TYPES.get(command.certificate_type)
    if word is None:
        return _no_such(command.certificate_type)
    return {"certificateType": word, "certificate": command.certificate}


def _delete(command: commands.DeleteCertificate, _: int) -> dict[str, Any]:
    hashed = command.certificate
    return {
        "certificateHashData": {
            "hashAlgorithm": hashed.hash_algorithm,
            "issuerNameHash": hashed.issuer_name_hash,
            "issuerKeyHash": hashed.issuer_key_hash,
            "serialNumber": hashed.serial_number,
        }
    }


def _type_by_type(command: commands.GetInstalledCertificates) -> tuple[commands.Command, ...]:
    """One type in each CALL."""
    types = command.certificate_types or tuple(_TYPES)
    return tuple(commands.GetInstalledCertificates((each,)) for each in types)


def _get_installed(command: commands.GetInstalledCertificates, _: int) -> dict[str, Any] | Fault:
    (certificate_type,) = command.certificate_types
    word = _TYPES.get(certificate_type)
    return _no_such(certificate_type) if word is None else {"certificateType": word}


def _installed(
    command: commands.GetInstalledCertificates, payload: dict[str, Any]
) -> CommandResult:
    """In the form of 2.x, where every certificate says its type. NotFound: there are none."""
    found = [
        {"certificateType": command.certificate_types[0], "certificateHashData": hashed}
        for hashed in payload.get("certificateHashData", ())
    ]
    return judged({**payload, "certificateHashDataChain": found}, "NotFound")


def _set_password(command: commands.SetPassword, _: int) -> dict[str, Any]:
    return {"key": "AuthorizationKey", "value": command.password}


def _no_such(word: str) -> Fault:
    return Fault("PropertyConstraintViolation", f"OCPP 1.6 has no {word[:64]}")


SECURITY = Block(
    readers={
        "SecurityEventNotification": _security_event,
        "SignCertificate": _certificate_requested,
    },
    replies={SigningAnswer: _signing_reply},
    writers={
        commands.CertificateSigned: ("CertificateSigned", _certificate_signed),
        commands.DeleteCertificate: ("DeleteCertificate", _delete),
        commands.GetInstalledCertificates: ("GetInstalledCertificateIds", _get_installed),
        commands.InstallCertificate: ("InstallCertificate", _install),
        commands.SetPassword: ("ChangeConfiguration", _set_password),
    },
    parts={commands.GetInstalledCertificates: _type_by_type},
    results={commands.GetInstalledCertificates: _installed},
)
