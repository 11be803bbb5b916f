"""What a station is asked that concerns its password and its certificates: OCPP 1.6 security
whitepaper, 2.x part 2 blocks A and M. Words of types are those of 2.x."""

from __future__ import annotations

import msgspec

from controlplane.ocpp.certificates import CertificateHash
from controlplane.ocpp.commands.core import Command

__all__ = [
    "CertificateSigned",
    "DeleteCertificate",
    "GetInstalledCertificates",
    "InstallCertificate",
    "Leaf",
    "SetPassword",
]


class Leaf(msgspec.Struct, frozen=True):
    """What a station's certificate says; `serial` is hexadecimal, lower case."""

    serial: str
    not_before_ms: int
    not_after_ms: int


class CertificateSigned(Command, frozen=True, tag="certificate_signed"):
    """Hand over a certificate, PEM with those above it, leaf first. `request_id` is the station's
    own number for it (2.1). `leaf` is given where it is an operator's and nobody has written it
    down yet."""

    chain: str
    purpose: str = "ChargingStationCertificate"
    request_id: int | None = None
    leaf: Leaf | None = None


class InstallCertificate(Command, frozen=True, tag="install_certificate"):
    """Have a root certificate believed, such as a `CSMSRootCertificate` (M05)."""

    certificate_type: str
    certificate: str


class DeleteCertificate(Command, frozen=True, tag="delete_certificate"):
    """Have an installed certificate forgotten (M04)."""

    certificate: CertificateHash


class GetInstalledCertificates(Command, frozen=True, tag="installed_certificates"):
    """Which certificates are installed (M03). Empty: of every type; 1.6 takes one CALL for each."""

    certificate_types: tuple[str, ...] = ()


class SetPassword(Command, frozen=True, tag="set_password"):
    """Give the station a new password for HTTP Basic (A01; 1.6 AuthorizationKey)."""

    password: str

    def __repr__(self) -> str:
        return "SetPassword(...)"
