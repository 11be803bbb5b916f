"""Periodic event streams of a 2.1 station: N11 to N15."""

from __future__ import annotations

import math
from typing import Any, Final

from controlplane.ocpp import commands
from controlplane.ocpp.dialect import Block, StreamAnswer
from controlplane.ocpp.event_streams import (
    VALUES_MAX,
    Stream,
    StreamClosed,
    StreamOpened,
    StreamRate,
    StreamValues,
)
from controlplane.ocpp.events import Event
from controlplane.ocpp.readings import instant_ms
from controlplane.ocpp.shapes import NUMBER, WHOLE, Shape

__all__ = ["EVENT_STREAMS"]

_RATE: Final = Shape(StreamRate, interval_s=("interval", WHOLE), values=("values", WHOLE))
_UNREADABLE: Final = -1
"""A number beyond all bounds; no stream has it."""
_OFFSET_MAX_S: Final = 10.0**9


def _opened(payload: dict[str, Any]) -> Event:
    data = payload["constantStreamData"]
    return StreamOpened(
        Stream(
            stream_id=_number(data["id"]),
            monitor_id=_number(data["variableMonitoringId"]),
            rate=_RATE.read(data["params"]),
        )
    )


def _number(value: Any) -> int:
    number: int | None = WHOLE.read(value)
    return _UNREADABLE if number is None else number


def _closed(payload: dict[str, Any]) -> Event:
    return StreamClosed(_number(payload["id"]))


def _values(payload: dict[str, Any]) -> Event:
    base_ms = instant_ms(payload["basetime"])
    given = payload["data"]
    values: list[tuple[int, str]] = []
    if base_ms is not None:
        for element in given[:VALUES_MAX]:
            offset_s = NUMBER.read(element["t"])
            if offset_s is not None and abs(offset_s) <= _OFFSET_MAX_S:
                values.append((base_ms + math.floor(offset_s * 1_000), element["v"]))
    return StreamValues(
        stream_id=_number(payload["id"]),
        values=tuple(values),
        pending=max(0, _number(payload["pending"])),
        left_out=len(given) - len(values),
    )


def _stream_reply(answer: StreamAnswer) -> dict[str, Any]:
    if answer.accepted:
        return {"status": "Accepted"}
    return {"status": "Rejected", "statusInfo": {"reasonCode": answer.reason}}


def _adjust(command: commands.AdjustStream, _: int) -> dict[str, Any]:
    return {"id": command.stream_id, "params": _RATE.write(command.rate)}


def _get(_: commands.GetStreams, __: int) -> dict[str, Any]:
    return {}


EVENT_STREAMS = Block(
    readers={
        "ClosePeriodicEventStream": _closed,
        "NotifyPeriodicEventStream": _values,
        "OpenPeriodicEventStream": _opened,
    },
    replies={StreamAnswer: _stream_reply},
    writers={
        commands.AdjustStream: ("AdjustPeriodicEventStream", _adjust),
        commands.GetStreams: ("GetPeriodicEventStream", _get),
    },
)
