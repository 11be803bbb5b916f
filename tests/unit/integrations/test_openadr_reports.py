"""Reports say what Loadstar recorded, for the intervals and at the times that were asked for."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from openadr_events import PROGRAM, at_ms, event, hours

from controlplane.api.v1 import grid_pb2
from controlplane.integrations.openadr.reports import acknowledgement, due, requested
from controlplane.integrations.openadr.timing import Window, lay_out
from controlplane.integrations.openadr.wire import ReportDescriptor

LIMIT = ("IMPORT_CAPACITY_LIMIT", 100)


def windows(count: int) -> list[Window]:
    given = event(intervals=hours(*[LIMIT] * count))
    return lay_out(given, PROGRAM, ven_name="v", seen_ms=0)


def stamp(hour: float) -> Timestamp:
    found = Timestamp()
    found.FromMilliseconds(at_ms(hour))
    return found


def ended(**response: Any) -> grid_pb2.GridEvent:
    """From noon until one: 60 kW for half an hour, then 20 kW; 50 kW before."""
    given: dict[str, Any] = {
        "receive_time": stamp(11),
        "apply_time": stamp(12),
        "meet_time": stamp(12.01),
        "finish_time": stamp(13),
        "baseline_w": 50_000,
        "limit_w": 40_000,
        "measured_w": 20_000,
        "reduced_wh": 10_000,
        "samples": [
            grid_pb2.GridEventSample(time=stamp(12), measured_w=60_000),
            grid_pb2.GridEventSample(time=stamp(12.5), measured_w=20_000),
        ],
    }
    return grid_pb2.GridEvent(
        event_id="g",
        feeder_id="north",
        kind=grid_pb2.GRID_EVENT_KIND_LIMIT,
        power_w=40_000,
        state=grid_pb2.GRID_EVENT_STATE_ENDED,
        response=grid_pb2.GridEventResponse(**{**given, **response}),
    )


def payloads(descriptor: dict[str, Any], *events: grid_pb2.GridEvent) -> dict[str, Any]:
    given = event(reportDescriptors=[descriptor])
    body = requested(given, 0, windows(1), range(1), {0: events} if events else {})
    assert body is not None
    (interval,) = body.intervals
    return {payload["type"]: payload["values"][0] for payload in interval["payloads"]}


@pytest.mark.parametrize(
    ("descriptor", "value"),
    [
        ({"payloadType": "USAGE"}, 40.0),
        ({"payloadType": "USAGE", "units": "WH"}, 40_000.0),
        ({"payloadType": "DEMAND"}, 40.0),
        ({"payloadType": "DEMAND", "readingType": "PEAK"}, 60.0),
        ({"payloadType": "DEMAND", "units": "W"}, 40_000.0),
        ({"payloadType": "BASELINE"}, 50.0),
        ({"payloadType": "SETPOINT"}, 40.0),
        ({"payloadType": "DELTA_USAGE"}, -10.0),
    ],
)
def test_what_was_measured(descriptor: dict[str, Any], value: float) -> None:
    found = payloads(descriptor, ended())
    assert found[descriptor["payloadType"]] == value
    assert found["DATA_QUALITY"] == "OK"


def test_the_state_that_held() -> None:
    assert payloads({"payloadType": "OPERATING_STATE"}, ended()) == {
        "OPERATING_STATE": "RUNNING_CURTAILED"
    }
    assert payloads({"payloadType": "OPERATING_STATE"}) == {"OPERATING_STATE": "NORMAL"}


def test_what_was_not_measured_is_missing_and_not_zero() -> None:
    assert payloads({"payloadType": "USAGE"}) == {"DATA_QUALITY": "MISSING"}


def test_what_was_measured_for_a_part_is_an_estimate() -> None:
    late = [grid_pb2.GridEventSample(time=stamp(12.5), measured_w=20_000)]
    found = payloads({"payloadType": "DEMAND"}, ended(samples=late))
    assert found == {"DEMAND": 20.0, "DATA_QUALITY": "ESTIMATED"}


@pytest.mark.parametrize(
    "descriptor",
    [
        {"payloadType": "STORAGE_CHARGE_LEVEL"},
        {"payloadType": "USAGE", "historical": False},
        {"payloadType": "USAGE", "units": "KVARH"},
    ],
)
def test_what_loadstar_does_not_know_is_not_reported(descriptor: dict[str, Any]) -> None:
    given = event(reportDescriptors=[descriptor])
    assert requested(given, 0, windows(1), range(1), {0: [ended()]}) is None


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ({}, [range(4)]),
        ({"startInterval": 1, "numIntervals": 2, "frequency": 2, "repeat": 2}, [(0, 2), (2, 4)]),
        ({"frequency": 1, "repeat": -1}, [(0, 1), (1, 2), (2, 3), (3, 4)]),
        ({"frequency": 2, "repeat": 1}, [(0, 2)]),
        ({"startInterval": 1}, [(0, 2)]),
        ({"startInterval": 9}, [(0, 4)]),
        ({"frequency": 2, "numIntervals": 3, "repeat": -1}, [(0, 2), (1, 4)]),
    ],
)
def test_which_intervals_a_report_covers(described: dict[str, Any], expected: list[Any]) -> None:
    descriptor = ReportDescriptor.model_validate({"payloadType": "USAGE", **described})
    found = due(descriptor, windows(4), now_ms=at_ms(16))
    assert [(each.start, each.stop) for each in found] == [
        (each.start, each.stop) if isinstance(each, range) else each for each in expected
    ]


def test_a_report_is_due_when_its_last_interval_has_ended() -> None:
    descriptor = ReportDescriptor(payload_type="USAGE", frequency=1, repeat=-1)
    assert due(descriptor, windows(4), now_ms=at_ms(12.5)) == []
    assert len(due(descriptor, windows(4), now_ms=at_ms(14))) == 2


def test_the_acknowledgement_tells_what_was_asked_done_and_when() -> None:
    body = acknowledgement(event(), windows(1), {0: [ended()]})
    assert body is not None
    told = {each["type"]: each["values"][0] for each in body.intervals[0]["payloads"]}
    assert told == {
        "LOADSTAR_STATE": "ENDED",
        "LOADSTAR_ASKED": "LIMIT 40000 W",
        "OPERATING_STATE": "NORMAL",
        "LOADSTAR_RECEIVED": "2026-05-01T11:00:00.000Z",
        "LOADSTAR_APPLIED": "2026-05-01T12:00:00.000Z",
        "LOADSTAR_MET": "2026-05-01T12:00:36.000Z",
        "LOADSTAR_FINISHED": "2026-05-01T13:00:00.000Z",
        "SETPOINT": 40.0,
        "BASELINE": 50.0,
        "DEMAND": 20.0,
        "DELTA_USAGE": -10.0,
    }
    document = body.document(client_name="depot", resource_name="feeder-north", program_id="p")
    assert document["programID"] == "p"
    assert document["resources"][0]["intervals"][0]["intervalPeriod"] == {
        "start": "2026-05-01T12:00:00.000Z",
        "duration": "PT3600S",
    }


def test_nothing_is_acknowledged_where_nothing_was_done() -> None:
    assert acknowledgement(event(), windows(1), {}) is None
