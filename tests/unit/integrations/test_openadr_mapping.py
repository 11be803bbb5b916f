"""What payloads ask for: the table of docs/integrations.md."""

from __future__ import annotations

from typing import Any

import pytest
from openadr_events import PROGRAM, at_ms, event, hours

from controlplane.integrations.openadr.mapping import (
    Ignored,
    Kind,
    Level,
    Wish,
    addressed,
    prevailing,
    read_level,
    shortened,
    wishes,
)
from controlplane.integrations.openadr.timing import lay_out
from controlplane.integrations.openadr.wire import Program, ValuesMap

LEVELS = {1: Level(Kind.REDUCE_BY, 50_000), 3: Level(Kind.LIMIT, 0)}


def read(
    *payloads: Any, program: Program = PROGRAM, **described: Any
) -> tuple[list[Wish], list[Ignored]]:
    given = event(intervals=hours(*payloads), **described)
    windows = lay_out(given, program, ven_name="v", seen_ms=0)
    return wishes(given, program, windows, LEVELS)


@pytest.mark.parametrize(
    ("type", "value", "kind", "power_w"),
    [
        ("IMPORT_CAPACITY_LIMIT", 100, Kind.LIMIT, 100_000),
        ("IMPORT_CAPACITY_LIMIT", 0, Kind.LIMIT, 0),
        ("IMPORT_CAPACITY_LIMIT", 99.9999, Kind.LIMIT, 99_999),
        ("IMPORT_CAPACITY_SUBSCRIPTION", 80.0, Kind.LIMIT, 80_000),
        ("DISPATCH_SETPOINT", 12.5, Kind.LIMIT, 12_500),
        ("DISPATCH_SETPOINT_RELATIVE", -40, Kind.REDUCE_BY, 40_000),
        ("SIMPLE", 1, Kind.REDUCE_BY, 50_000),
        ("SIMPLE", 3, Kind.LIMIT, 0),
        ("ALERT_GRID_EMERGENCY", "the grid is about to fail", Kind.LIMIT, 0),
        ("ALERT_BLACK_START", "resuming", Kind.LIMIT, 0),
        ("ALERT_FLEX_ALERT", "please", Kind.REDUCE_BY, 50_000),
    ],
)
def test_what_becomes_a_wish(type: str, value: Any, kind: Kind, power_w: int) -> None:
    (wish,), ignored = read((type, value))
    assert (wish.kind, wish.power_w) == (kind, power_w)
    assert (wish.start_ms, wish.end_ms) == (at_ms(12), at_ms(13))
    assert wish.source == "openadr:p/e/0"
    assert ignored == []


@pytest.mark.parametrize(
    ("type", "value", "reason"),
    [
        ("EXPORT_PRICE", 0.2, "NOT_FOR_CHARGING"),
        ("GHG", 400, "NOT_FOR_CHARGING"),
        ("EXPORT_CAPACITY_LIMIT", 100, "NOT_FOR_CHARGING"),
        ("ALERT_FIRE", "fire", "NOT_FOR_CHARGING"),
        ("OUR_OWN_WORD", 1, "PAYLOAD_UNKNOWN"),
        ("SIMPLE", 2, "LEVEL_NOT_CONFIGURED"),
        ("SIMPLE", 4, "VALUE_INVALID"),
        ("SIMPLE", 1.5, "VALUE_INVALID"),
        ("IMPORT_CAPACITY_RESERVATION", 20, "SUBSCRIPTION_UNKNOWN"),
        ("DISPATCH_SETPOINT_RELATIVE", 40, "NOTHING_TO_REDUCE"),
        ("IMPORT_CAPACITY_LIMIT", -1, "VALUE_INVALID"),
        ("IMPORT_CAPACITY_LIMIT", "100", "VALUE_INVALID"),
        ("IMPORT_CAPACITY_LIMIT", True, "VALUE_INVALID"),
        ("IMPORT_CAPACITY_LIMIT", [1, 2], "VALUE_INVALID"),
        ("IMPORT_CAPACITY_LIMIT", [], "VALUE_INVALID"),
        ("IMPORT_CAPACITY_LIMIT", float("nan"), "VALUE_INVALID"),
        ("IMPORT_CAPACITY_LIMIT", 1e300, "VALUE_INVALID"),
        ("IMPORT_CAPACITY_LIMIT", 10**400, "VALUE_INVALID"),
    ],
)
def test_what_is_ignored_with_a_reason(type: str, value: Any, reason: str) -> None:
    found, (ignored,) = read((type, value))
    assert found == []
    assert (ignored.event_id, ignored.payload_type, ignored.reason) == ("e", type, reason)
    assert ignored.words


def test_normal_operation_asks_for_nothing() -> None:
    assert read(("SIMPLE", 0)) == ([], [])


def test_a_reservation_is_added_to_its_subscription() -> None:
    (wish,), _ = read([("IMPORT_CAPACITY_SUBSCRIPTION", 80), ("IMPORT_CAPACITY_RESERVATION", 20)])
    assert wish.power_w == 100_000


def test_what_stands_twice_counts_once_and_is_said() -> None:
    (wish,), (ignored,) = read([("IMPORT_CAPACITY_LIMIT", 80), ("IMPORT_CAPACITY_LIMIT", 90)])
    assert wish.power_w == 80_000
    assert ignored.reason == "VALUE_INVALID"


@pytest.mark.parametrize(("units", "power_w"), [("W", 100), ("KW", 100_000), ("MW", 100_000_000)])
def test_units_come_from_the_event_or_else_from_the_program(units: str, power_w: int) -> None:
    described = [{"payloadType": "IMPORT_CAPACITY_LIMIT", "units": units}]
    program = Program.model_validate(
        {"id": "p", "programName": "peak", "payloadDescriptors": described}
    )
    payload = ("IMPORT_CAPACITY_LIMIT", 100)
    assert read(payload, payloadDescriptors=described)[0][0].power_w == power_w
    assert read(payload, program=program)[0][0].power_w == power_w
    in_megawatts = [{"payloadType": "IMPORT_CAPACITY_LIMIT", "units": "MW"}]
    found, _ = read(payload, program=program, payloadDescriptors=in_megawatts)
    assert found[0].power_w == 100_000_000


def test_other_units_are_not_guessed() -> None:
    described = [{"payloadType": "IMPORT_CAPACITY_LIMIT", "units": "AMPS"}]
    found, (ignored,) = read(("IMPORT_CAPACITY_LIMIT", 100), payloadDescriptors=described)
    assert found == []
    assert ignored.reason == "UNITS_UNKNOWN"


def test_each_wish_of_an_interval_has_a_name_of_its_own() -> None:
    found, _ = read([("IMPORT_CAPACITY_LIMIT", 100), ("SIMPLE", 1)])
    assert [wish.source for wish in found] == ["openadr:p/e/0:limit", "openadr:p/e/0:simple"]


def test_names_that_are_too_long_stay_within_a_source() -> None:
    long = "x" * 128
    assert len(shortened(long)) <= 40
    assert shortened(long) != shortened("x" * 127)
    found, _ = read(
        [("IMPORT_CAPACITY_LIMIT", 1), ("ALERT_BLACK_START", "x")], id=long, programID=long
    )
    assert all(len(wish.source) <= 118 for wish in found)


# --- priorities -----------------------------------------------------------------------------------


def wish(power_w: int, first: float, last: float, priority: int, **changed: Any) -> Wish:
    return Wish(
        **{
            "source": f"openadr:p/{power_w}/0",
            "event_id": str(power_w),
            "interval_id": 0,
            "payload_type": "IMPORT_CAPACITY_LIMIT",
            "version": "1",
            "priority": priority,
            "kind": Kind.LIMIT,
            "power_w": power_w,
            "start_ms": at_ms(first),
            "end_ms": at_ms(last),
            "immediate": False,
            **changed,
        }
    )


def spans(found: list[Wish], power_w: int) -> list[tuple[int, int]]:
    return [(each.start_ms, each.end_ms) for each in found if each.power_w == power_w]


def test_the_lower_number_holds_where_two_overlap() -> None:
    found = prevailing([wish(100, 12, 18, 5), wish(300, 14, 15, 0)])
    assert spans(found, 300) == [(at_ms(14), at_ms(15))]
    assert spans(found, 100) == [(at_ms(12), at_ms(14)), (at_ms(15), at_ms(18))]
    assert len({each.source for each in found}) == 3


def test_equal_priorities_all_hold() -> None:
    given = [wish(100, 12, 18, 1), wish(300, 14, 15, 1)]
    assert prevailing(given) == given


def test_payloads_of_different_types_do_not_conflict() -> None:
    given = [wish(100, 12, 18, 5), wish(300, 14, 15, 0, payload_type="SIMPLE")]
    assert prevailing(given) == given


def test_what_is_overruled_all_the_time_is_gone() -> None:
    assert spans(prevailing([wish(100, 14, 15, 5), wish(300, 12, 18, 0)]), 100) == []


# --- whom it concerns -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("targets", "ours"),
    [
        (None, True),
        ([], True),
        (["depot"], True),
        (["elsewhere"], False),
        (["elsewhere", "depot"], True),
        ([{"type": "VEN_NAME", "values": ["depot"]}], True),
        ([{"type": "GROUP", "values": ["elsewhere", "west"]}], True),
        ([{"type": "GROUP", "values": [7]}], False),
    ],
)
def test_targets_of_both_versions(targets: list[Any] | None, ours: bool) -> None:
    given = event(targets=targets).targets
    assert all(isinstance(target, str | ValuesMap) for target in given or [])
    assert addressed(given, {"depot", "west"}) is ours


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("80kW", Level(Kind.LIMIT, 80_000)),
        ("0kW", Level(Kind.LIMIT, 0)),
        ("-1.5 MW", Level(Kind.REDUCE_BY, 1_500_000)),
        ("250w", Level(Kind.LIMIT, 250)),
    ],
)
def test_levels_are_powers(text: str, level: Level) -> None:
    assert read_level(text) == level


@pytest.mark.parametrize("text", ["", "80", "80 %", "kW", "--1kW", "1e9kW"])
def test_what_is_no_level(text: str) -> None:
    with pytest.raises(ValueError, match="kW"):
        read_level(text)
