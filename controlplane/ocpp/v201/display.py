"""Messages on the display of a 2.x station: O01 to O06."""

from __future__ import annotations

from typing import Any, Final

from controlplane.ocpp import commands
from controlplane.ocpp.commands import (
    CommandResult,
    DisplayMessage,
    DisplayPriority,
    DisplayState,
    MessageContent,
    TextFormat,
)
from controlplane.ocpp.dialect import Block, judged
from controlplane.ocpp.events import Event
from controlplane.ocpp.readings import bounded_integer, instant_ms
from controlplane.ocpp.v201.common import evse_number, report
from controlplane.units import iso_from_ms

__all__ = ["DISPLAY", "display_message"]

_PRIORITY: Final = {
    DisplayPriority.ALWAYS_FRONT: "AlwaysFront",
    DisplayPriority.IN_FRONT: "InFront",
    DisplayPriority.NORMAL_CYCLE: "NormalCycle",
}
_STATE: Final = {
    DisplayState.CHARGING: "Charging",
    DisplayState.DISCHARGING: "Discharging",
    DisplayState.FAULTED: "Faulted",
    DisplayState.IDLE: "Idle",
    DisplayState.SUSPENDED: "Suspended",
    DisplayState.UNAVAILABLE: "Unavailable",
}
_FORMAT: Final = {
    TextFormat.ASCII: "ASCII",
    TextFormat.HTML: "HTML",
    TextFormat.QR_CODE: "QRCODE",
    TextFormat.URI: "URI",
    TextFormat.UTF8: "UTF8",
}
_PRIORITY_OF_WORD: Final = {word: priority for priority, word in _PRIORITY.items()}
_STATE_OF_WORD: Final = {word: state for state, word in _STATE.items()}
_FORMAT_OF_WORD: Final = {word: text_format for text_format, word in _FORMAT.items()}


# --- what the station says ------------------------------------------------------------------------


def _messages_notified(payload: dict[str, Any]) -> Event:
    return report("NotifyDisplayMessages", payload)


def display_message(info: dict[str, Any]) -> DisplayMessage:
    """A MessageInfoType that has passed its schema."""
    display = info.get("display", {})
    evse = display.get("evse")
    return DisplayMessage(
        message_id=bounded_integer(info["id"]),
        priority=_PRIORITY_OF_WORD[info["priority"]],
        content=_content(info["message"]),
        state=_STATE_OF_WORD.get(info.get("state", "")),
        start_ms=instant_ms(info.get("startDateTime")),
        end_ms=instant_ms(info.get("endDateTime")),
        transaction_id=info.get("transactionId", ""),
        display=display.get("name", ""),
        connector_id=None if evse is None else evse_number(evse["id"]),
        extra=tuple(map(_content, info.get("messageExtra", ()))),
    )


def _content(content: dict[str, Any]) -> MessageContent:
    return MessageContent(
        text=content["content"],
        format=_FORMAT_OF_WORD[content["format"]],
        language=content.get("language", ""),
    )


# --- what we ask ----------------------------------------------------------------------------------


def _set_message(command: commands.SetDisplayMessage, _: int) -> dict[str, Any]:
    message = command.message
    info: dict[str, Any] = {
        "id": message.message_id,
        "priority": _PRIORITY[message.priority],
        "message": _content_payload(message.content),
    }
    if message.state is not None:
        info["state"] = _STATE[message.state]
    if message.start_ms is not None:
        info["startDateTime"] = iso_from_ms(message.start_ms)
    if message.end_ms is not None:
        info["endDateTime"] = iso_from_ms(message.end_ms)
    if message.transaction_id:
        info["transactionId"] = message.transaction_id
    if message.display or message.connector_id is not None:
        # O01: left out it means the main display; the component Display is one per EVSE.
        info["display"] = {"name": message.display or "Display"}
        if message.connector_id is not None:
            info["display"]["evse"] = {"id": message.connector_id}
    if message.extra:
        info["messageExtra"] = [_content_payload(content) for content in message.extra]
    return {"message": info}


def _content_payload(content: MessageContent) -> dict[str, Any]:
    payload = {"format": _FORMAT[content.format], "content": content.text}
    if content.language:
        payload["language"] = content.language
    return payload


def _get_messages(command: commands.GetDisplayMessages, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {"requestId": command.request_id}
    if command.message_ids:
        payload["id"] = list(command.message_ids)
    if command.priority is not None:
        payload["priority"] = _PRIORITY[command.priority]
    if command.state is not None:
        payload["state"] = _STATE[command.state]
    return payload


def _messages_asked(_: commands.GetDisplayMessages, payload: dict[str, Any]) -> CommandResult:
    # O03.FR.02 and O04.FR.02: Unknown says that no message matches.
    return judged(payload, "Unknown")


def _clear_message(command: commands.ClearDisplayMessage, _: int) -> dict[str, Any]:
    return {"id": command.message_id}


DISPLAY = Block(
    readers={"NotifyDisplayMessages": _messages_notified},
    writers={
        commands.ClearDisplayMessage: ("ClearDisplayMessage", _clear_message),
        commands.GetDisplayMessages: ("GetDisplayMessages", _get_messages),
        commands.SetDisplayMessage: ("SetDisplayMessage", _set_message),
    },
    results={commands.GetDisplayMessages: _messages_asked},
)
