"""Which of a program's prices holds when."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from openadr_events import PROGRAM, at_ms, event, hours

from controlplane.integrations.openadr.prices import (
    AHEAD_DAYS,
    STEPS_MAX,
    PriceStep,
    price_steps,
    timeline,
)
from controlplane.integrations.openadr.timing import FOREVER_MS, lay_out
from controlplane.integrations.openadr.wire import Program
from controlplane.units import MS_PER_HOUR

DAY_MS = 24 * MS_PER_HOUR


def read(*values: Any, program: Program = PROGRAM, **described: Any) -> Any:
    given = event(intervals=hours(*(("PRICE", value) for value in values)), **described)
    return price_steps(given, program, lay_out(given, program, ven_name="v", seen_ms=0))


def step(
    price: str, start_h: float, end_h: float, *, priority: int = 9, written_ms: int = 0
) -> PriceStep:
    start_ms, end_ms = at_ms(start_h), at_ms(end_h)
    return PriceStep("e", 0, written_ms, priority, Decimal(price), "", start_ms, end_ms)


def held(*steps: PriceStep, now_h: float = 0) -> list[tuple[str, float, float]]:
    found = timeline(steps, now_ms=at_ms(now_h))
    return [
        (
            f"{each.price_per_kwh:f}",
            (each.start_ms - at_ms(0)) / MS_PER_HOUR,
            (each.end_ms - at_ms(0)) / MS_PER_HOUR,
        )
        for each in found
    ]


def test_every_interval_has_its_price() -> None:
    first, second = read(0.2, -0.031)[0]
    assert (first.price_per_kwh, first.start_ms, first.end_ms) == (
        Decimal("0.2"), at_ms(12), at_ms(13),
    )  # fmt: skip
    assert (second.price_per_kwh, second.start_ms) == (Decimal("-0.031"), at_ms(13))


@pytest.mark.parametrize(
    ("units", "value", "price"),
    [("KWH", 0.2, "0.2"), ("mwh", 85.5, "0.0855"), ("WH", 0.0002, "0.2")],
)
def test_units_and_currency_are_those_of_event_or_program(
    units: str, value: float, price: str
) -> None:
    described = [{"payloadType": "PRICE", "units": units, "currency": "usd"}]
    program = Program.model_validate(
        {"id": "p", "programName": "rtp", "payloadDescriptors": described}
    )
    for steps, _ in (read(value, payloadDescriptors=described), read(value, program=program)):
        assert (steps[0].price_per_kwh, steps[0].currency) == (Decimal(price), "USD")


@pytest.mark.parametrize(
    ("value", "units", "reason"),
    [
        ("dear", "KWH", "VALUE_INVALID"),
        (float("inf"), "KWH", "VALUE_INVALID"),
        (10**400, "KWH", "VALUE_INVALID"),
        (10_001, "KWH", "VALUE_INVALID"),
        (0.2, "THERM", "UNITS_UNKNOWN"),
    ],
)
def test_what_is_no_price_is_said(value: Any, units: str, reason: str) -> None:
    steps, (ignored,) = read(value, payloadDescriptors=[{"payloadType": "PRICE", "units": units}])
    assert steps == []
    assert (ignored.payload_type, ignored.reason) == ("PRICE", reason)


def test_one_price_holds_at_every_instant() -> None:
    day, emergency = step("0.1", 0, 24), step("0.9", 6, 8, priority=1)
    assert held(day, emergency) == [("0.1", 0, 6), ("0.9", 6, 8), ("0.1", 8, 24)]
    assert held(emergency, day) == held(day, emergency)


def test_of_equal_events_the_one_that_was_written_last_holds() -> None:
    old, new = step("0.1", 0, 4, written_ms=1), step("0.2", 2, 6, written_ms=2)
    assert held(old, new) == held(new, old) == [("0.1", 0, 2), ("0.2", 2, 6)]


def test_a_price_that_nothing_cuts_stays_in_one_piece() -> None:
    assert held(step("0.1", 0, 10, priority=1), step("0.5", 3, 4)) == [("0.1", 0, 10)]


def test_a_price_without_an_end_is_told_for_days_and_the_same_all_day() -> None:
    endless = PriceStep("e", 0, 0, 0, Decimal("0.3"), "", at_ms(0) - 9 * DAY_MS, FOREVER_MS)
    assert held(endless, now_h=1) == held(endless, now_h=23) == [("0.3", 0, AHEAD_DAYS * 24)]


def test_what_is_past_or_far_ahead_is_left_out() -> None:
    assert held(step("0.1", 0, 1), step("0.2", 1, 2), now_h=1) == [("0.2", 1, 2)]
    assert held(step("0.1", 24 * AHEAD_DAYS, 24 * AHEAD_DAYS + 1)) == []


def test_no_more_is_told_than_a_site_keeps() -> None:
    minutes = [step("0.1", n / 60, (n + 1) / 60) for n in range(STEPS_MAX + 50)]
    assert len(timeline(minutes, now_ms=at_ms(0))) == STEPS_MAX


def test_times_are_whole_seconds() -> None:
    first = PriceStep("e", 0, 0, 0, Decimal(1), "", at_ms(0), at_ms(1) + 400)
    second = PriceStep("e", 1, 0, 0, Decimal(2), "", at_ms(1) + 400, at_ms(1) + 900)
    assert held(first, second) == [("1", 0, 1)]


def test_which_was_written_last_is_a_matter_of_instants() -> None:
    (early,), _ = read(0.1, modificationDateTime="2026-05-01T10:00:00+02:00")
    (late,), _ = read(0.2, modificationDateTime="2026-05-01T08:00:00.5Z")
    for steps in ([early, late], [late, early]):
        (found,) = timeline(steps, now_ms=at_ms(9))
        assert found.price_per_kwh == Decimal("0.2")
