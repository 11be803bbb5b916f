"""Prices of slots are the means of their minutes, each worked out the slow and obvious way."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from controlplane.network_tariff import TariffConfig
from controlplane.planning.tariff import Tariff

ZONES = ["Europe/Berlin", "America/Los_Angeles", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]
STARTS = [
    datetime(2026, 3, 7, tzinfo=UTC),
    datetime(2026, 3, 28, tzinfo=UTC),
    datetime(2026, 10, 3, tzinfo=UTC),
    datetime(2026, 10, 24, tzinfo=UTC),
]
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
SEASONS = [
    {"id": "spring", "from": "03-08", "to": "10-03"},
    {"id": "rest", "from": "10-04", "to": "03-07"},
]

minutes = st.integers(0, 95).map(lambda at: at * 15) | st.integers(0, 1_439)


@st.composite
def hours(draw: st.DrawFn) -> dict[str, Any]:
    begins = draw(minutes)
    ends = draw(minutes.filter(lambda each: each != begins) | st.just(1_440))
    return {
        "seasons": draw(st.sampled_from([[], ["spring"], ["rest"]])),
        "days": draw(st.lists(st.sampled_from(DAYS), min_size=1, unique=True)),
        "from": f"{begins // 60:02}:{begins % 60:02}",
        "to": f"{ends // 60:02}:{ends % 60:02}",
    }


periods = st.lists(
    st.tuples(st.integers(-50, 50), st.lists(hours(), min_size=1, max_size=2)), max_size=3
)


def holds(described: dict[str, Any], wall: datetime, holidays: set[date]) -> bool:
    """Whether hours cover a time of the clock on the wall."""
    begins, ends = (
        timedelta(hours=int(described[name][:2]), minutes=int(described[name][3:]))
        for name in ("from", "to")
    )
    for day in (wall.date(), wall.date() - timedelta(days=1)):
        weekday = "sun" if day in holidays else DAYS[day.weekday()]
        spring = date(day.year, 3, 8) <= day <= date(day.year, 10, 3)
        season = "spring" if spring else "rest"
        if weekday not in described["days"] or season not in (described["seasons"] or [season]):
            continue
        midnight = datetime.combine(day, time())
        until = midnight + (ends if ends > begins else ends + timedelta(days=1))
        if midnight + begins <= wall < until:
            return True
    return False


@given(
    st.sampled_from(ZONES),
    st.sampled_from(STARTS),
    st.integers(0, 300),
    st.sampled_from([300, 900, 1_800, 3_600]),
    periods,
)
def test_a_slot_costs_the_mean_of_its_minutes(
    zone_name: str,
    near: datetime,
    steps: int,
    slot_s: int,
    several: list[tuple[int, list[dict[str, Any]]]],
) -> None:
    zone, holidays = ZoneInfo(zone_name), {date(2026, 10, 26)}
    config = TariffConfig.model_validate(
        {
            "currency": "EUR",
            "import_price_per_kwh": "1",
            "seasons": SEASONS,
            "holidays": sorted(holidays),
            "periods": [
                {"import_price_per_kwh": Decimal(price), "hours": each} for price, each in several
            ],
            "demand_charges": [
                {"name": f"c{at}", "price_per_kw": "1", "hours": each}
                for at, (_, each) in enumerate(several)
            ],
        }
    )
    tariff = Tariff(config, zone)
    start_ms = int(near.timestamp() * 1_000) + steps * 600_000
    found = tariff.prices(start_ms=start_ms, slot_s=slot_s, slots=8).import_price_per_kwh
    for slot in range(8):
        begin_ms = start_ms + slot * slot_s * 1_000
        walls = [
            datetime.fromtimestamp(at_ms / 1_000, zone).replace(tzinfo=None)
            for at_ms in range(begin_ms, begin_ms + slot_s * 1_000, 60_000)
        ]
        prices = [
            next(
                (price for price, each in several if any(holds(h, wall, holidays) for h in each)), 1
            )
            for wall in walls
        ]
        assert abs(found[slot] - Decimal(sum(prices)) / len(prices)) <= Decimal("0.000001")
        for charge, (_, each) in zip(config.demand_charges, several, strict=True):
            expected = any(holds(h, wall, holidays) for h in each for wall in walls)
            length_ms = slot_s * 1_000
            assert tariff.measured(charge.hours, start_ms=begin_ms, length_ms=length_ms) == expected
