"""The list and the cache of a 1.6 station: section 5.4, 5.10 and 5.15."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands
from controlplane.ocpp.dialect import Block
from controlplane.ocpp.v16.authorization import ID_TAG_MAX, id_tag_info

__all__ = ["LOCAL_LIST"]


def _entry(entry: commands.ListEntry) -> dict[str, Any]:
    if entry.status is None:
        # Section 5.15: without idTagInfo it is taken off the list.
        return {"idTag": entry.id_token}
    info = id_tag_info(entry.status, entry.expires_ms, entry.group_id)
    return {"idTag": entry.id_token, "idTagInfo": info}


def _send(command: commands.SendList, _: int) -> dict[str, Any]:
    return {
        "listVersion": command.version,
        "updateType": "Full" if command.full else "Differential",
        "localAuthorizationList": [
            _entry(entry) for entry in command.entries if len(entry.id_token) <= ID_TAG_MAX
        ],
    }


def _nothing(_: commands.Command, __: int) -> dict[str, Any]:
    return {}


def _bounds(_: commands.GetListBounds) -> tuple[commands.Command, ...]:
    return (commands.GetSettings(("SendLocalListMaxLength", "LocalAuthListMaxLength")),)


def _access(command: commands.ConfigureAccess) -> tuple[commands.Command, ...]:
    """Section 9.1 and 9.2, one CALL each: what one station lacks must not keep the rest from it."""
    wanted = {
        "LocalAuthorizeOffline": command.offline,
        "AllowOfflineTxForUnknownId": command.unknown_offline,
        "LocalAuthListEnabled": command.local_list,
        "AuthorizationCacheEnabled": command.cache,
        "LocalPreAuthorize": command.pre_authorise,
        "StopTransactionOnInvalidId": command.stop_on_invalid,
        "AuthorizeRemoteTxRequests": command.authorise_remote,
    }
    return tuple(
        commands.SetSettings({key: "true" if value else "false"})
        for key, value in wanted.items()
        if value is not None
    )


LOCAL_LIST: Final = Block(
    parts={commands.ConfigureAccess: _access, commands.GetListBounds: _bounds},
    writers={
        commands.ClearCache: ("ClearCache", _nothing),
        commands.GetListVersion: ("GetLocalListVersion", _nothing),
        commands.SendList: ("SendLocalList", _send),
    },
)
