"""How a 2.x station finds its way here: B09."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from controlplane.ocpp import commands
from controlplane.ocpp.commands import AccessPoint, VirtualNetwork
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.framing import Fault

__all__ = ["NETWORK_PROFILE", "network_profile"]

_AUTHENTICATION: Final = {"auto": "AUTO", "chap": "CHAP", "none": "NONE", "pap": "PAP"}
_VPN: Final = {"ikev2": "IKEv2", "ipsec": "IPSec", "l2tp": "L2TP", "pptp": "PPTP"}


def network_profile(versions: Mapping[str, str], own: str) -> Block:
    """The block, given what the station's version calls the versions of OCPP, and which of them is
    its own."""

    def write(command: commands.SetNetworkProfile, _: int) -> dict[str, Any] | Fault:
        word = versions.get(command.ocpp_version or own)
        if word is None:
            return Fault(
                "PropertyConstraintViolation",
                f"the station's version knows no OCPP {command.ocpp_version}",
            )
        connection: dict[str, Any] = {
            "ocppVersion": word,
            "ocppTransport": "JSON",
            "ocppCsmsUrl": command.url,
            "messageTimeout": command.message_timeout_s,
            "securityProfile": command.security_profile,
            "ocppInterface": command.interface,
        }
        if command.access_point is not None:
            connection["apn"] = _access_point(command.access_point)
        if command.virtual_network is not None:
            connection["vpn"] = _virtual_network(command.virtual_network)
        if command.identity:
            connection["identity"] = command.identity
        if command.basic_auth_password:
            connection["basicAuthPassword"] = command.basic_auth_password
        return {"configurationSlot": command.slot, "connectionData": connection}

    return Block(writers={commands.SetNetworkProfile: ("SetNetworkProfile", write)})


def _access_point(point: AccessPoint) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "apn": point.name,
        "apnAuthentication": _AUTHENTICATION[point.authentication],
    }
    optional = {
        "apnUserName": point.user,
        "apnPassword": point.password,
        "preferredNetwork": point.preferred_network,
    }
    payload |= {key: value for key, value in optional.items() if value}
    if point.sim_pin is not None:
        payload["simPin"] = point.sim_pin
    if point.only_preferred_network:
        payload["useOnlyPreferredNetwork"] = True
    return payload


def _virtual_network(network: VirtualNetwork) -> dict[str, Any]:
    payload = {
        "type": _VPN[network.kind],
        "server": network.server,
        "user": network.user,
        "password": network.password,
        "key": network.key,
    }
    return payload | {"group": network.group} if network.group else payload


NETWORK_PROFILE = network_profile({"1.6": "OCPP16", "2.0.1": "OCPP20"}, own="2.0.1")
