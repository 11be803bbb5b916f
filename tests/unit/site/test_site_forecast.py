"""What is expected of sessions, from those that ended."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.sim.acn import DATA, load_stays
from controlplane.site import forecast
from controlplane.site.forecast import History, Vehicle
from controlplane.units import MS_PER_HOUR, ms_from_datetime

ZONE = ZoneInfo("America/Los_Angeles")
DAY_MS = 24 * MS_PER_HOUR
MONDAY_MS = ms_from_datetime(datetime(2019, 6, 3, 8, 10, tzinfo=ZONE))


def visited(history: History, token: str | None, *, hours: float, wh: int, day: int = 0) -> bool:
    started_ms = MONDAY_MS + day * DAY_MS
    return history.ended(
        token,
        started_ms=started_ms,
        ended_ms=started_ms + int(hours * MS_PER_HOUR),
        energy_wh=wh,
        zone=ZONE,
    )


def test_the_drivers_own_visits_come_first() -> None:
    history = History()
    for _ in range(10):
        visited(history, None, hours=2, wh=5_000)
    for day, hours in enumerate((8, 9, 10, 9)):
        visited(history, "ann", hours=hours, wh=20_000, day=day)
    own = history.forecast("ann", started_ms=MONDAY_MS, now_ms=MONDAY_MS, zone=ZONE)
    assert own is not None
    assert own.own
    assert own.departure_ms == MONDAY_MS + 8 * MS_PER_HOUR, "the quarter quantile"
    assert own.need_wh == 20_000
    stranger = history.forecast("bob", started_ms=MONDAY_MS, now_ms=MONDAY_MS, zone=ZONE)
    assert stranger is not None
    assert not stranger.own
    assert stranger.departure_ms == MONDAY_MS + 2 * MS_PER_HOUR


def test_too_little_is_known() -> None:
    history = History()
    for _ in range(2):
        visited(history, "ann", hours=8, wh=9_000)
    assert history.forecast("ann", started_ms=MONDAY_MS, now_ms=MONDAY_MS, zone=ZONE) is None


def test_days_and_hours_differ() -> None:
    history = History()
    for _ in range(8):
        visited(history, None, hours=8, wh=9_000)
    saturday_ms = MONDAY_MS + 5 * DAY_MS
    evening_ms = MONDAY_MS + 10 * MS_PER_HOUR
    for other_ms in (saturday_ms, evening_ms):
        assert history.forecast(None, started_ms=other_ms, now_ms=other_ms, zone=ZONE) is None


def test_who_outstays_a_forecast_is_forecast_from_those_who_stayed_longer() -> None:
    history = History()
    for hours in (2, 2, 2, 2, 9, 9, 10, 10):
        visited(history, None, hours=hours, wh=9_000)

    def departure_h(now_h: float) -> float | None:
        now_ms = MONDAY_MS + int(now_h * MS_PER_HOUR)
        found = history.forecast(None, started_ms=MONDAY_MS, now_ms=now_ms, zone=ZONE)
        assert found is not None
        if found.departure_ms is None:
            return None
        assert found.departure_ms > now_ms
        return (found.departure_ms - MONDAY_MS) / MS_PER_HOUR

    assert [departure_h(hour) for hour in (0, 2, 9.5, 10)] == [2, 9, 10, None]


def test_failed_starts_and_forgotten_cables_teach_nothing() -> None:
    history = History()
    assert not visited(history, "ann", hours=0.01, wh=10)
    assert not visited(history, "ann", hours=24 * 30, wh=10_000)
    assert not visited(history, "ann", hours=3, wh=0)
    assert history == History()


def test_what_was_learned_of_a_vehicle_stays_with_its_driver() -> None:
    history = History()
    vehicle = Vehicle(start_ma=8_000, phases=1, sleeps=True)
    history.ended(
        "ann",
        started_ms=MONDAY_MS,
        ended_ms=MONDAY_MS + MS_PER_HOUR,
        energy_wh=4_000,
        zone=ZONE,
        vehicle=vehicle,
    )
    restored = History.restore(history.snapshot())
    assert restored == history
    assert restored.vehicle("ann") == vehicle
    assert restored.vehicle("bob") == restored.vehicle(None) == Vehicle()


@settings(max_examples=20, deadline=None)
@given(
    visits=st.lists(
        st.tuples(
            st.integers(0, 500), st.integers(0, 30), st.integers(1, 60), st.integers(-9, 10**6)
        ),
        max_size=300,
    )
)
def test_history_stays_bounded_and_forecasts_lie_ahead(
    visits: list[tuple[int, int, int, int]],
) -> None:
    history = History()
    for token, day, hours, wh in visits * 3:
        visited(history, f"t{token}", hours=hours, wh=wh, day=day)
    assert len(history.drivers) <= forecast.DRIVERS_MAX
    assert all(len(each.visits) <= forecast.VISITS_MAX for each in history.drivers.values())
    assert len(history.site) <= 48
    assert all(len(each) <= forecast.SITE_VISITS_MAX for each in history.site.values())
    for now_h in (0, 5, 70):
        now_ms = MONDAY_MS + now_h * MS_PER_HOUR
        found = history.forecast("t1", started_ms=MONDAY_MS, now_ms=now_ms, zone=ZONE)
        if found is not None:
            assert found.departure_ms is None or found.departure_ms > now_ms
            assert found.need_wh is not None
            assert 0 < found.need_wh <= 500_000


def test_who_has_not_come_for_longest_is_forgotten_first() -> None:
    history = History()
    for number in range(forecast.DRIVERS_MAX):
        visited(history, f"t{number}", hours=1, wh=1_000)
    visited(history, "t0", hours=1, wh=1_000)
    visited(history, "new", hours=1, wh=1_000)
    assert "t0" in history.drivers
    assert "t1" not in history.drivers


def test_a_real_day_is_forecast_from_real_stays() -> None:
    """The stays of one day, forecast from themselves: the quantile is what it says."""
    history = History()
    stays = load_stays(DATA / "acn_jpl_2019-06-12.csv")
    for stay in stays:
        history.ended(
            None,
            started_ms=stay.arrival_ms,
            ended_ms=stay.departure_ms,
            energy_wh=stay.delivered_wh,
            zone=ZONE,
        )
    given_for = early = 0
    for stay in stays:
        found = history.forecast(
            None, started_ms=stay.arrival_ms, now_ms=stay.arrival_ms, zone=ZONE
        )
        if found is not None and found.departure_ms is not None:
            given_for += 1
            early += stay.departure_ms < found.departure_ms
    assert given_for > len(stays) // 2, "mornings are busy enough"
    assert early <= given_for * 0.3, "departs before its forecast in about one case of four"
