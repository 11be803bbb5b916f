"""The list and the cache of a 2.x station: D01, D02 and C11."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.v201.authorization import ID_TOKEN_MAX, id_token_info, id_token_of

__all__ = ["LOCAL_LIST"]


def _entry(entry: commands.ListEntry) -> dict[str, Any]:
    token = id_token_of(entry.id_token, entry.type)
    if entry.status is None:
        # D01.FR.16: without idTokenInfo it is taken off the list.
        return {"idToken": token}
    info = id_token_info(
        entry.status, entry.expires_ms, entry.group_id, entry.language, entry.message
    )
    return {"idToken": token, "idTokenInfo": info}


def _send(command: commands.SendList, _: int) -> dict[str, Any]:
    entries = [_entry(entry) for entry in command.entries if len(entry.id_token) <= ID_TOKEN_MAX]
    payload: dict[str, Any] = {
        "versionNumber": command.version,
        "updateType": "Full" if command.full else "Differential",
    }
    if entries:
        # An empty list is said by leaving it out.
        payload["localAuthorizationList"] = entries
    return payload


def _nothing(_: commands.Command, __: int) -> dict[str, Any]:
    return {}


def _bounds(_: commands.GetListBounds) -> tuple[commands.Command, ...]:
    return (commands.GetSettings(("LocalAuthListCtrlr.ItemsPerMessage",)),)


def _access(command: commands.ConfigureAccess) -> tuple[commands.Command, ...]:
    """Part 2 appendix 3; what a station lacks it refuses by itself, variable by variable."""
    switches = {
        "AuthCtrlr.LocalAuthorizeOffline": command.offline,
        "AuthCtrlr.OfflineTxForUnknownIdEnabled": command.unknown_offline,
        "LocalAuthListCtrlr.Enabled": command.local_list,
        "AuthCacheCtrlr.Enabled": command.cache,
        "AuthCtrlr.LocalPreAuthorize": command.pre_authorise,
        "TxCtrlr.StopTxOnInvalidId": command.stop_on_invalid,
        "AuthCtrlr.AuthorizeRemoteStart": command.authorise_remote,
    }
    settings = {
        key: "true" if value else "false" for key, value in switches.items() if value is not None
    }
    if command.cache_s is not None:
        settings["AuthCacheCtrlr.LifeTime"] = str(command.cache_s)
    if command.master_pass_group is not None:
        settings["AuthCtrlr.MasterPassGroupId"] = command.master_pass_group
    return (commands.SetSettings(settings),)


LOCAL_LIST: Final = Block(
    parts={commands.ConfigureAccess: _access, commands.GetListBounds: _bounds},
    writers={
        commands.ClearCache: ("ClearCache", _nothing),
        commands.GetListVersion: ("GetLocalListVersion", _nothing),
        commands.SendList: ("SendLocalList", _send),
    },
)
