"""`DisplayService`: what chargers show on their displays."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import Backend, instant_ms, invalid, timestamp
from controlplane.api.executing import connector_number, execute, outcome_of
from controlplane.api.v1 import display_pb2, display_pb2_grpc
from controlplane.ocpp import commands, reports
from controlplane.ocpp.commands import (
    DisplayMessage,
    DisplayPriority,
    DisplayState,
    MessageContent,
    TextFormat,
)

__all__ = ["Display"]

_MESSAGES_MAX = 100
_EXTRA_MAX = 4
_TEXT_MAX = 1_024

_FORMATS = {
    display_pb2.TextFormat.Value(f"TEXT_FORMAT_{each.name}"): each for each in TextFormat
} | {display_pb2.TEXT_FORMAT_UNSPECIFIED: TextFormat.UTF8}
_PRIORITIES: dict[int, DisplayPriority] = {
    display_pb2.DisplayPriority.Value(f"DISPLAY_PRIORITY_{each.name}"): each
    for each in DisplayPriority
}
_STATES: dict[int, DisplayState] = {
    display_pb2.DisplayState.Value(f"DISPLAY_STATE_{each.name}"): each for each in DisplayState
}


class Display(display_pb2_grpc.DisplayServiceServicer):
    """Answers `controlplane.api.v1.DisplayService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def SetDisplayMessage(
        self, request: display_pb2.SetDisplayMessageRequest, context: Any
    ) -> display_pb2.SetDisplayMessageResponse:
        command = commands.SetDisplayMessage(_message(request.message))
        result = await execute(self._backend, command, request, context)
        return display_pb2.SetDisplayMessageResponse(outcome=outcome_of(result))

    async def GetDisplayMessages(
        self, request: display_pb2.GetDisplayMessagesRequest, context: Any
    ) -> display_pb2.GetDisplayMessagesResponse:
        if len(request.message_ids) > _MESSAGES_MAX:
            raise invalid("message_ids", f"at most {_MESSAGES_MAX}")
        command = commands.GetDisplayMessages(
            message_ids=tuple(request.message_ids),
            priority=_priority(request.priority, "priority"),
            state=_state(request.state, "state"),
        )
        result = await execute(self._backend, command, request, context)
        return display_pb2.GetDisplayMessagesResponse(
            outcome=outcome_of(result),
            messages=map(_message_to_message, reports.display_messages_reported(result.report)),
        )

    async def ClearDisplayMessage(
        self, request: display_pb2.ClearDisplayMessageRequest, context: Any
    ) -> display_pb2.ClearDisplayMessageResponse:
        command = commands.ClearDisplayMessage(_message_id(request.message_id, "message_id"))
        result = await execute(self._backend, command, request, context)
        return display_pb2.ClearDisplayMessageResponse(outcome=outcome_of(result))


# --- read -----------------------------------------------------------------------------------------


def _message(message: display_pb2.DisplayMessage) -> DisplayMessage:
    if len(message.extra) > _EXTRA_MAX:
        raise invalid("message.extra", f"at most {_EXTRA_MAX}")
    start_ms, end_ms = instant_ms(message, "start_time"), instant_ms(message, "end_time")
    if start_ms is not None and end_ms is not None and end_ms <= start_ms:
        raise invalid("message.end_time", "after start_time")
    connector_id = None
    if message.HasField("connector_id"):
        connector_id = connector_number(message.connector_id, least=1)
    priority = _priority(message.priority, "message.priority")
    return DisplayMessage(
        message_id=_message_id(message.message_id, "message.message_id"),
        priority=priority or DisplayPriority.NORMAL_CYCLE,
        content=_content(message.content, "message.content"),
        state=_state(message.state, "message.state"),
        start_ms=start_ms,
        end_ms=end_ms,
        transaction_id=message.transaction_id,
        display=message.display,
        connector_id=connector_id,
        extra=tuple(_content(content, "message.extra") for content in message.extra),
    )


def _content(content: display_pb2.MessageContent, field: str) -> MessageContent:
    if not 1 <= len(content.text) <= _TEXT_MAX:
        raise invalid(f"{field}.text", f"1 to {_TEXT_MAX} characters")
    if content.format not in _FORMATS:
        raise invalid(f"{field}.format", "not a format of texts")
    return MessageContent(content.text, _FORMATS[content.format], content.language)


def _message_id(message_id: int, field: str) -> int:
    if message_id < 0:
        raise invalid(field, "0 and up")
    return message_id


def _priority(value: int, field: str) -> DisplayPriority | None:
    if value not in display_pb2.DisplayPriority.values():
        raise invalid(field, "not a priority of messages")
    return _PRIORITIES.get(value)


def _state(value: int, field: str) -> DisplayState | None:
    if value not in display_pb2.DisplayState.values():
        raise invalid(field, "not a state of chargers")
    return _STATES.get(value)


# --- told -----------------------------------------------------------------------------------------


def _message_to_message(message: DisplayMessage) -> display_pb2.DisplayMessage:
    return display_pb2.DisplayMessage(
        message_id=message.message_id,
        priority=display_pb2.DisplayPriority.Value(f"DISPLAY_PRIORITY_{message.priority.name}"),
        content=_content_to_message(message.content),
        extra=map(_content_to_message, message.extra),
        state=display_pb2.DisplayState.Value(f"DISPLAY_STATE_{message.state.name}")
        if message.state
        else display_pb2.DISPLAY_STATE_UNSPECIFIED,
        start_time=timestamp(message.start_ms),
        end_time=timestamp(message.end_ms),
        transaction_id=message.transaction_id,
        display=message.display,
        connector_id=message.connector_id,
    )


def _content_to_message(content: MessageContent) -> display_pb2.MessageContent:
    return display_pb2.MessageContent(
        text=content.text,
        format=display_pb2.TextFormat.Value(f"TEXT_FORMAT_{content.format.name}"),
        language=content.language,
    )
