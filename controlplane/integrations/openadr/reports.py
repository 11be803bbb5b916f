"""What a VEN answers: the reports that an event asks for, and what was made of the event.

Invariant: a report says what Loadstar measured and recorded, or that it did not (DATA_QUALITY).
Its name follows from what it reports on, so that it is written once and then brought up to date."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.api.v1 import grid_pb2
from controlplane.integrations.openadr.timing import FOREVER_MS, Window
from controlplane.integrations.openadr.wire import Event, ReportDescriptor
from controlplane.units import MS_PER_HOUR, iso_from_ms

__all__ = ["ReportBody", "acknowledgement", "due", "requested"]

_POWER_UNITS = {"W": 1, "KW": 1_000, "MW": 1_000_000}
_ENERGY_UNITS = {"WH": 1, "KWH": 1_000, "MWH": 1_000_000}
_COVERED_WELL = 0.9
_IDLE_W = 100
_CLOSED = {grid_pb2.GRID_EVENT_STATE_ENDED, grid_pb2.GRID_EVENT_STATE_CANCELLED}
_BEGUN = {grid_pb2.GRID_EVENT_STATE_ACTIVE, grid_pb2.GRID_EVENT_STATE_MET}
_STATES = {number: name for name, number in grid_pb2.GridEventState.items()}
_POWER_TYPES = frozenset({"DEMAND", "BASELINE", "SETPOINT", "READING"})
_ENERGY_TYPES = frozenset({"USAGE", "DELTA_USAGE"})


@dataclass(frozen=True)
class ReportBody:
    """A report to be sent; `name` is unique within its event."""

    event_id: str
    name: str
    descriptors: tuple[dict[str, str], ...]
    intervals: tuple[dict[str, Any], ...]

    def document(
        self, *, client_name: str, resource_name: str, program_id: str | None
    ) -> dict[str, Any]:
        """The request's body; `program_id` is given to 3.0, which wants it."""
        return {
            **({} if program_id is None else {"programID": program_id}),
            "eventID": self.event_id,
            "clientName": client_name,
            "reportName": self.name,
            "payloadDescriptors": list(self.descriptors),
            "resources": [{"resourceName": resource_name, "intervals": list(self.intervals)}],
        }


def due(descriptor: ReportDescriptor, windows: Sequence[Window], *, now_ms: int) -> list[range]:
    """Positions of the intervals that reports are due on at `now_ms`, a range for each report.

    A report covers `numIntervals` intervals up to and including `startInterval` and is due when
    that one has ended; the next follows `frequency` intervals later, `repeat` times (-1: as often
    as there are intervals). Defaults (-1) mean the last interval, and all of them.
    """
    last = len(windows) - 1
    if last < 0:
        return []
    every = descriptor.frequency
    covers = descriptor.num_intervals if descriptor.num_intervals > 0 else None
    if descriptor.start_interval >= 0:
        end = min(descriptor.start_interval, last)
    else:
        end = min(every - 1, last) if every > 0 else last
    found: list[range] = []
    while end <= last and (descriptor.repeat < 0 or len(found) < max(1, descriptor.repeat)):
        if windows[end].end_ms > now_ms:
            break
        count = covers or (every if every > 0 else end + 1)
        found.append(range(max(0, end - count + 1), end + 1))
        if every <= 0:
            break
        end += every
    return found


def requested(
    event: Event,
    number: int,
    windows: Sequence[Window],
    positions: range,
    grid_events: Mapping[int, Sequence[grid_pb2.GridEvent]],
) -> ReportBody | None:
    """The report that an event's descriptor `number` asks for, on the intervals at `positions`;
    None where nothing that Loadstar knows is asked for.

    Args:
        grid_events: what stood for each interval in Loadstar, by position, with samples.
    """
    descriptor = (event.report_descriptors or [])[number]
    reader = _reader(descriptor)
    if reader is None:
        return None
    intervals = []
    for position in positions:
        payloads = reader(windows[position], list(grid_events.get(position, ())))
        intervals.append(_interval(windows[position], payloads))
    described = {"objectType": "REPORT_PAYLOAD_DESCRIPTOR", "payloadType": descriptor.payload_type}
    if descriptor.reading_type:
        described["readingType"] = descriptor.reading_type
    units = _units(descriptor)
    if units:
        described["units"] = units
    name = f"{descriptor.payload_type}-{number}-{positions.start}-{positions.stop - 1}"
    return ReportBody(event.id, name, (described,), tuple(intervals))


def acknowledgement(
    event: Event, windows: Sequence[Window], grid_events: Mapping[int, Sequence[grid_pb2.GridEvent]]
) -> ReportBody | None:
    """What was asked and what was made of it, interval by interval; None where nothing was.

    Beside the payload types of the standard there are private ones, whose names begin with
    `LOADSTAR_`: OpenADR 3 has no words for when an event was received, applied and met.
    """
    intervals = [
        _interval(windows[position], _acknowledged(grid_event))
        for position in sorted(grid_events)
        for grid_event in grid_events[position]
        if grid_event.kind != grid_pb2.GRID_EVENT_KIND_RESTORE
    ]
    if not intervals:
        return None
    types = [("OPERATING_STATE", ""), ("SETPOINT", "KW"), ("DEMAND", "KW"), ("BASELINE", "KW")]
    descriptors = tuple(
        {
            "objectType": "REPORT_PAYLOAD_DESCRIPTOR",
            "payloadType": name,
            **({"units": units} if units else {}),
        }
        for name, units in types
    )
    return ReportBody(event.id, "ACKNOWLEDGEMENT", descriptors, tuple(intervals))


def _acknowledged(event: grid_pb2.GridEvent) -> list[dict[str, Any]]:
    response = event.response
    kind = grid_pb2.GridEventKind.Name(event.kind).removeprefix("GRID_EVENT_KIND_")
    state = _STATES[event.state].removeprefix("GRID_EVENT_STATE_")
    payloads = [
        _payload("LOADSTAR_STATE", state),
        _payload("LOADSTAR_ASKED", f"{kind} {event.power_w} W"),
        _payload("OPERATING_STATE", _operating_state([event])),
    ]
    moments = {field.name: stamp for field, stamp in response.ListFields() if field.message_type}
    for name, field in (
        ("LOADSTAR_RECEIVED", "receive_time"),
        ("LOADSTAR_APPLIED", "apply_time"),
        ("LOADSTAR_ACKNOWLEDGED", "acknowledge_time"),
        ("LOADSTAR_MET", "meet_time"),
        ("LOADSTAR_FINISHED", "finish_time"),
    ):
        if field in moments:
            payloads.append(_payload(name, iso_from_ms(moments[field].ToMilliseconds())))
    if response.HasField("limit_w"):
        payloads.append(_payload("SETPOINT", response.limit_w / 1_000))
    if response.HasField("baseline_w"):
        payloads.append(_payload("BASELINE", response.baseline_w / 1_000))
    if response.HasField("apply_time"):
        payloads.append(_payload("DEMAND", response.measured_w / 1_000))
    if event.state in _CLOSED and response.HasField("baseline_w"):
        payloads.append(_payload("DELTA_USAGE", -response.reduced_wh / 1_000))
    return payloads


def _reader(descriptor: ReportDescriptor) -> Any:
    """The function that makes an interval's payloads, if the type is one that Loadstar knows."""
    if not descriptor.historical:
        return None
    name = descriptor.payload_type
    units = _units(descriptor)
    if name in _POWER_TYPES and units in _POWER_UNITS:
        return lambda window, events: _power(
            name, events, window, _POWER_UNITS[units], peak=descriptor.reading_type == "PEAK"
        )
    if name in _ENERGY_TYPES and units in _ENERGY_UNITS:
        return lambda window, events: _energy(name, events, window, _ENERGY_UNITS[units])
    if name == "OPERATING_STATE":
        return lambda _, events: [_payload(name, _operating_state(events, ended=True))]
    if name == "DATA_QUALITY":
        return lambda window, events: [_payload(name, _quality(events, window))]
    return None


def _units(descriptor: ReportDescriptor) -> str:
    if descriptor.units:
        return descriptor.units.upper()
    if descriptor.payload_type in _POWER_TYPES:
        return "KW"
    return "KWH" if descriptor.payload_type in _ENERGY_TYPES else ""


def _power(
    name: str, events: Sequence[grid_pb2.GridEvent], window: Window, unit_w: int, *, peak: bool
) -> list[dict[str, Any]]:
    found: float | None = None
    match name:
        case "BASELINE":
            found = next(
                (e.response.baseline_w for e in events if e.response.HasField("baseline_w")), None
            )
        case "SETPOINT":
            limits = [e.response.limit_w for e in events if e.response.HasField("limit_w")]
            found = min(limits, default=None)
        case _:
            energy_wh, covered_ms, peak_w = _measured(events, window)
            if covered_ms:
                found = peak_w if peak else energy_wh * MS_PER_HOUR / covered_ms
    return _with_quality(name, None if found is None else found / unit_w, events, window)


def _energy(
    name: str, events: Sequence[grid_pb2.GridEvent], window: Window, unit_wh: int
) -> list[dict[str, Any]]:
    if name == "DELTA_USAGE":
        known = [e for e in events if e.response.HasField("baseline_w")]
        found = -sum(e.response.reduced_wh for e in known) / unit_wh if known else None
    else:
        energy_wh, covered_ms, _ = _measured(events, window)
        found = energy_wh / unit_wh if covered_ms else None
    return _with_quality(name, found, events, window)


def _with_quality(
    name: str, value: float | None, events: Sequence[grid_pb2.GridEvent], window: Window
) -> list[dict[str, Any]]:
    if value is None:
        return [_payload("DATA_QUALITY", "MISSING")]
    return [
        _payload(name, round(value, 6)),
        _payload("DATA_QUALITY", _quality(events, window)),
    ]


def _quality(events: Sequence[grid_pb2.GridEvent], window: Window) -> str:
    covered_ms = _measured(events, window)[1]
    if not covered_ms:
        return "MISSING"
    lasts_ms = window.end_ms - window.start_ms
    return "OK" if covered_ms >= _COVERED_WELL * lasts_ms else "ESTIMATED"


def _measured(events: Sequence[grid_pb2.GridEvent], window: Window) -> tuple[float, int, int]:
    """Energy in Wh, the milliseconds it was measured over, and the highest power in W, within an
    interval. A sample holds until the next; the last one until its event ended."""
    samples = sorted(
        {
            sample.time.ToMilliseconds(): sample.measured_w
            for event in events
            for sample in event.response.samples
        }.items()
    )
    finished = [
        event.response.finish_time.ToMilliseconds()
        for event in events
        if event.response.HasField("finish_time")
    ]
    energy_wh, covered_ms, peak_w = 0.0, 0, 0
    ends = [*(at_ms for at_ms, _ in samples[1:]), max(finished, default=0)]
    for (at_ms, power_w), until_ms in zip(samples, ends, strict=False):
        from_ms, to_ms = max(at_ms, window.start_ms), min(until_ms, window.end_ms)
        if from_ms < to_ms:
            energy_wh += power_w * (to_ms - from_ms) / MS_PER_HOUR
            covered_ms += to_ms - from_ms
            peak_w = max(peak_w, power_w)
    return energy_wh, covered_ms, peak_w


def _operating_state(events: Sequence[grid_pb2.GridEvent], *, ended: bool = False) -> str:
    """The operating state of the report enumerations at this moment, or (`ended`) during events
    that are over as well. What is not within its limit yet runs curtailed, too: the measured demand
    beside it tells how far it is."""
    running = [
        event
        for event in events
        if event.state in _BEGUN or (ended and event.state == grid_pb2.GRID_EVENT_STATE_ENDED)
    ]
    if not running:
        return "NORMAL"
    idle = all(event.response.measured_w < _IDLE_W for event in running)
    return "IDLE_CURTAILED" if idle else "RUNNING_CURTAILED"


def _interval(window: Window, payloads: list[dict[str, Any]]) -> dict[str, Any]:
    period = {"start": iso_from_ms(window.start_ms)}
    if window.end_ms < FOREVER_MS:
        period["duration"] = f"PT{(window.end_ms - window.start_ms) // 1_000}S"
    return {"id": window.interval_id, "intervalPeriod": period, "payloads": payloads}


def _payload(type: str, value: str | float) -> dict[str, Any]:
    return {"type": type, "values": [value]}
