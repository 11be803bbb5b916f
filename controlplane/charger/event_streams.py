"""Periodic event streams of one charger: which are open, and what they carry into the journal.

The invariants: a stream is open only after it was allowed, within bounds of how many there are and
how fast each is; what is faster, or was never allowed, is counted and not kept; one pack of values
is one line of the journal, of bounded length."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from controlplane.charger.memory import ChargerMemory, OpenStream
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import AdjustStream
from controlplane.ocpp.dialect import Answer, Done, StreamAnswer
from controlplane.ocpp.event_streams import (
    VALUES_MAX,
    Stream,
    StreamClosed,
    StreamOpened,
    StreamRate,
    StreamValues,
)

__all__ = ["closed", "monitor_cleared", "opened", "rate_adjusted", "streams_told", "valued"]

STREAMS_MAX: Final = 16
_INTERVAL_MIN_S: Final = 1
_VALUE_MAX_CHARACTERS: Final = 100
_PACK_MAX_CHARACTERS: Final = 16_384
_PACE_MIN_MS: Final = 500
"""No stream writes more often than this."""
_UNKNOWN_EVERY_MS: Final = 60_000


def opened(turn: Turn, memory: ChargerMemory, event: StreamOpened) -> Answer:
    """A station asks whether it may open a stream (N11)."""
    stream = event.stream
    reason = _refusal(memory, stream)
    if reason:
        turn.emit("stream.refused", stream_id=stream.stream_id, reason=reason)
        return StreamAnswer(accepted=False, reason=reason)
    known = memory.streams.get(stream.stream_id)
    if known is None or known.stream != stream:
        memory.streams[stream.stream_id] = OpenStream(stream)
        turn.changed = True
        turn.emit("stream.opened", **_in_words(stream))
    return StreamAnswer(accepted=True)


def _refusal(memory: ChargerMemory, stream: Stream) -> str:
    """The specification's reason code for a stream that may not be; empty for one that may."""
    interval_s, values = stream.rate.interval_s, stream.rate.values
    if stream.stream_id < 0 or stream.monitor_id < 0:
        return "ValueOutOfRange"
    if not interval_s and not values:
        # Neither how often nor how many: nothing would bound it.
        return "MissingParam"
    if interval_s is not None and 0 < interval_s < _INTERVAL_MIN_S:
        return "ValueTooLow"
    if values is not None and values > VALUES_MAX:
        return "ValueTooHigh"
    if stream.stream_id not in memory.streams and len(memory.streams) >= STREAMS_MAX:
        return "TooManyElements"
    return ""


def closed(turn: Turn, memory: ChargerMemory, event: StreamClosed) -> Answer:
    """The station will send no more of it (N13)."""
    _close(turn, memory, event.stream_id)
    return Done()


def monitor_cleared(turn: Turn, memory: ChargerMemory, monitor_id: int) -> None:
    """A monitor is gone, and its streams with it (N06)."""
    for stream_id, known in list(memory.streams.items()):
        if known.stream.monitor_id == monitor_id:
            _close(turn, memory, stream_id)


def _close(turn: Turn, memory: ChargerMemory, stream_id: int) -> None:
    if memory.streams.pop(stream_id, None) is not None:
        turn.changed = True
        turn.emit("stream.closed", stream_id=stream_id)


def valued(turn: Turn, memory: ChargerMemory, event: StreamValues) -> Answer:
    """A pack of values (N15). No snapshot is written for its sake."""
    known = memory.streams.get(event.stream_id)
    if known is None:
        if turn.now_ms - memory.stream_unknown_ms >= _UNKNOWN_EVERY_MS:
            memory.stream_unknown_ms = turn.now_ms
            turn.emit("stream.unknown", stream_id=event.stream_id)
        return Done()
    if 0 <= turn.now_ms - known.written_ms < _pace_ms(known.stream.rate):
        known.dropped += len(event.values)
        return Done()
    values, characters = [], 0
    for at_ms, value in event.values:
        short = value[:_VALUE_MAX_CHARACTERS]
        characters += len(short)
        if characters > _PACK_MAX_CHARACTERS:
            break
        values.append([at_ms, short])
    turn.emit(
        "stream.values",
        stream_id=event.stream_id,
        monitor_id=known.stream.monitor_id,
        values=values,
        pending=event.pending,
        left_out=event.left_out + len(event.values) - len(values) + known.dropped,
    )
    known.written_ms, known.dropped = turn.now_ms, 0
    return Done()


def _pace_ms(rate: StreamRate) -> int:
    """The least time between two packs: half of the interval, because clocks and networks
    jitter."""
    return max(_PACE_MIN_MS, (rate.interval_s or 0) * 500)


def rate_adjusted(turn: Turn, memory: ChargerMemory, command: AdjustStream) -> None:
    """The station accepted another rate (N14); what was left open stays as it was."""
    known = memory.streams.get(command.stream_id)
    if known is None:
        return
    before, wanted = known.stream.rate, command.rate
    rate = StreamRate(
        before.interval_s if wanted.interval_s is None else wanted.interval_s,
        before.values if wanted.values is None else wanted.values,
    )
    known.stream = msgspec.structs.replace(known.stream, rate=rate)
    turn.changed = True
    turn.emit("stream.adjusted", **_in_words(known.stream))


def streams_told(turn: Turn, memory: ChargerMemory, streams: tuple[Stream, ...]) -> None:
    """Which streams the station has open, by its own word (N12): others are forgotten, and those
    that nobody allowed here are not taken up."""
    told = {stream.stream_id: stream for stream in streams}
    for stream_id in [each for each in memory.streams if each not in told]:
        del memory.streams[stream_id]
        turn.changed = True
    for stream_id, known in memory.streams.items():
        if known.stream != told[stream_id]:
            known.stream = told[stream_id]
            turn.changed = True


def _in_words(stream: Stream) -> dict[str, Any]:
    return {
        "stream_id": stream.stream_id,
        "monitor_id": stream.monitor_id,
        "interval_s": stream.rate.interval_s,
        "values": stream.rate.values,
    }
