"""How a charger finds its way here (2.x B09)."""

from __future__ import annotations

from typing import Literal

import msgspec

from controlplane.ocpp.commands.core import Command

__all__ = ["AccessPoint", "SetNetworkProfile", "VirtualNetwork"]


class AccessPoint(msgspec.Struct, frozen=True):
    """A mobile network's access point; empty or None: left to the charger."""

    name: str
    authentication: Literal["auto", "chap", "none", "pap"] = "auto"
    user: str = ""
    password: str = ""
    sim_pin: int | None = None
    preferred_network: str = ""
    """MCC and MNC of an operator."""
    only_preferred_network: bool = False


class VirtualNetwork(msgspec.Struct, frozen=True):
    """A VPN; `key` is its shared secret."""

    kind: Literal["ikev2", "ipsec", "l2tp", "pptp"]
    server: str
    user: str
    password: str
    key: str
    group: str = ""


class SetNetworkProfile(Command, frozen=True, tag="set_network_profile"):
    """Put a connection profile into a slot of the charger; in which order slots are tried is the
    setting `OCPPCommCtrlr.NetworkConfigurationPriority`.

    `ocpp_version` None is the one that the charger speaks now.

    `interface` is `Wired0` to `Wired3`, `Wireless0` to `Wireless3`, or `Any` since 2.1, as are
    `identity` and `basic_auth_password`.
    """

    slot: int
    url: str
    message_timeout_s: int
    security_profile: int
    interface: str = "Wired0"
    ocpp_version: Literal["1.6", "2.0.1", "2.1"] | None = None
    access_point: AccessPoint | None = None
    virtual_network: VirtualNetwork | None = None
    identity: str = ""
    basic_auth_password: str = ""
