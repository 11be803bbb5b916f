"""A connection profile as a request describes it."""

from __future__ import annotations

from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from controlplane.api.backend import invalid, required
from controlplane.api.v1 import chargers_pb2
from controlplane.ocpp.commands import AccessPoint, SetNetworkProfile, VirtualNetwork

__all__ = ["network_profile"]

_MESSAGE_TIMEOUT_S = 30
_Authentication = Literal["auto", "chap", "none", "pap"]
_Kind = Literal["ikev2", "ipsec", "l2tp", "pptp"]
_Version = Literal["1.6", "2.0.1", "2.1"]


def network_profile(request: chargers_pb2.SetNetworkProfileRequest) -> SetNetworkProfile:
    """The command.

    Raises:
        InvalidInput: naming the field.
    """
    required(request, "url")
    if urlsplit(request.url).scheme not in {"ws", "wss"}:
        raise invalid("url", "begins with ws:// or wss://")
    if request.slot < 0:
        raise invalid("slot", "0 and up")
    if request.message_timeout_s < 0:
        raise invalid("message_timeout_s", f"1 s and up, or 0 for {_MESSAGE_TIMEOUT_S} s")
    if not 0 <= request.security_profile <= 3:
        raise invalid("security_profile", "0 to 3")
    return SetNetworkProfile(
        slot=request.slot,
        url=request.url,
        message_timeout_s=request.message_timeout_s or _MESSAGE_TIMEOUT_S,
        security_profile=request.security_profile,
        interface=request.interface or "Wired0",
        ocpp_version=_word(request, "ocpp_version", get_args(_Version)) or None,
        access_point=_access_point(request.access_point)
        if request.HasField("access_point")
        else None,
        virtual_network=_virtual_network(request.virtual_network)
        if request.HasField("virtual_network")
        else None,
        identity=request.identity,
        basic_auth_password=request.basic_auth_password,
    )


def _access_point(point: chargers_pb2.AccessPoint) -> AccessPoint:
    required(point, "name")
    return AccessPoint(
        name=point.name,
        authentication=_word(point, "authentication", get_args(_Authentication)) or "auto",
        user=point.user,
        password=point.password,
        sim_pin=point.sim_pin if point.HasField("sim_pin") else None,
        preferred_network=point.preferred_network,
        only_preferred_network=point.only_preferred_network,
    )


def _virtual_network(network: chargers_pb2.VirtualNetwork) -> VirtualNetwork:
    required(network, "kind", "server", "user", "password", "key")
    return VirtualNetwork(
        kind=_word(network, "kind", get_args(_Kind)),
        server=network.server,
        user=network.user,
        password=network.password,
        key=network.key,
        group=network.group,
    )


def _word(message: Any, field: str, words: tuple[str, ...]) -> Any:
    """One of these words, or the empty one."""
    word = getattr(message, field)
    if word and word not in words:
        raise invalid(field, "one of " + ", ".join(words))
    return word
