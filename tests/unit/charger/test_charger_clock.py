"""Clocks that are wrong, and histories that only look like it."""

from __future__ import annotations

import pytest
from charger_driver import START_MS, Charger
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.actor import Call
from controlplane.charger.clock import StationClock
from controlplane.site.messages import ConnectorMetered
from controlplane.store.records import QuarantineRecord, SessionRecord, SessionState
from controlplane.units import iso_from_ms

MINUTE_MS = 60_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def settled() -> Charger:
    charger = Charger()
    charger.settle()
    return charger


def last_session(charger: Charger) -> SessionRecord:
    return charger.records(SessionRecord)[-1]


def start(charger: Charger, offset_ms: int, meter_wh: int = 1_000) -> int:
    answer = charger.call(
        "StartTransaction",
        connectorId=1,
        idTag="TAG",
        meterStart=meter_wh,
        timestamp=charger.at(offset_ms),
    )
    return int(answer["transactionId"])


def stop(charger: Charger, number: int, offset_ms: int, meter_wh: int) -> None:
    charger.call(
        "StopTransaction",
        transactionId=number,
        meterStop=meter_wh,
        timestamp=charger.at(offset_ms),
    )


@pytest.mark.parametrize(
    "offset_ms",
    [0, 2 * HOUR_MS, -5 * HOUR_MS, -DAY_MS, -START_MS, -90 * DAY_MS, 40 * 365 * DAY_MS],
    ids=["right", "+2 h", "-5 h", "-1 day", "1970", "-90 days", "+40 years"],
)
def test_a_session_under_a_wrong_clock_closes_with_corrected_times(offset_ms: int) -> None:
    charger = settled()
    began_ms = charger.now_ms
    number = start(charger, offset_ms)
    for minute in range(1, 31):
        charger.wait(MINUTE_MS)
        charger.meter_16(1_000 + minute * 100, number, at=charger.at(offset_ms))
    stop(charger, number, offset_ms, 4_000)
    record = last_session(charger)
    assert (record.state, record.energy_wh) == (SessionState.ENDED, 3_000)
    assert (record.started_ms, record.ended_ms) == (began_ms, charger.now_ms)
    assert (record.started_station_ms, record.started_received_ms) == (
        began_ms + offset_ms,
        began_ms,
    )
    assert (record.ended_station_ms, record.ended_received_ms) == (
        charger.now_ms + offset_ms,
        charger.now_ms,
    )
    estimates = [data["offset_ms"] for data in charger.journal("charger.clock")]
    assert estimates == ([offset_ms] if offset_ms else [])


def test_a_history_told_in_seconds_is_no_wrong_clock() -> None:
    charger = settled()
    number = start(charger, -6 * HOUR_MS)
    for minute in range(0, 300, 30):
        charger.wait(100)
        at = charger.at(-6 * HOUR_MS + minute * MINUTE_MS)
        charger.meter_16(1_000 + minute * 10, number, at=at)
    charger.wait(100)
    began_ms = last_session(charger).started_ms
    stop(charger, number, -HOUR_MS, 4_000)
    record = last_session(charger)
    assert began_ms == record.started_station_ms
    assert (record.ended_ms, record.energy_wh) == (charger.now_ms - HOUR_MS, 3_000)
    assert charger.journal("charger.clock") == []


def tell_history(
    charger: Charger, pauses_ms: list[int], *, late_ms: int, wh_per_reading: int = 61
) -> SessionRecord:
    """A session that is over is told of, measured every half minute; before each reading the
    station halts. Returns it as it is stored then."""
    began_ms = charger.now_ms - late_ms
    number = start(charger, -late_ms)
    for count, pause_ms in enumerate(pauses_ms, 1):
        charger.wait(pause_ms)
        at = iso_from_ms(began_ms + count * MINUTE_MS // 2)
        charger.meter_16(1_000 + count * wh_per_reading, number, at=at)
    charger.wait(40)
    ended_ms = began_ms + (len(pauses_ms) + 1) * MINUTE_MS // 2
    register_wh = 1_000 + (len(pauses_ms) + 1) * wh_per_reading
    stop(charger, number, ended_ms - charger.now_ms, register_wh)
    return last_session(charger)


@pytest.mark.parametrize("halts_at", [0, 10, 28])
def test_a_history_that_halts_as_long_as_its_readings_are_apart_is_no_wrong_clock(
    halts_at: int,
) -> None:
    """A station calls once more after half a minute without an answer. For that long its history
    runs in step with our clock, and looks like the present by a clock that is behind."""
    charger = settled()
    began_ms = charger.now_ms - 32 * MINUTE_MS
    pauses_ms = [40] * 29
    pauses_ms[halts_at] = MINUTE_MS // 2
    record = tell_history(charger, pauses_ms, late_ms=32 * MINUTE_MS)
    assert len(charger.journal("charger.clock")) == 2
    assert (record.state, record.energy_wh) == (SessionState.ENDED, 30 * 61)
    assert (record.started_ms, record.ended_ms) == (began_ms, began_ms + 15 * MINUTE_MS)
    assert charger.records(QuarantineRecord) == []


def test_a_history_that_halted_goes_over_into_the_present_without_a_loss() -> None:
    """Its end may be lost: what was drawn counts without it."""
    charger = settled()
    began_ms = charger.now_ms - 32 * MINUTE_MS
    number = start(charger, -32 * MINUTE_MS)
    for count in range(1, 64):
        charger.wait(MINUTE_MS // 2 if count == 3 else 40)
        at = iso_from_ms(began_ms + count * MINUTE_MS // 2)
        charger.meter_16(1_000 + count * 61, number, at=at)
    charger.wait(MINUTE_MS)
    charger.meter_16(5_000, number)
    assert charger.told(ConnectorMetered)[-1].energy_wh == 4_000
    assert charger.records(QuarantineRecord) == []


def test_a_clock_that_is_set_again_while_it_is_wrong_takes_nothing_back() -> None:
    charger = settled()
    began_ms = charger.now_ms
    number = start(charger, -2 * HOUR_MS)
    for count in range(1, 21):
        charger.wait(MINUTE_MS // 2)
        charger.meter_16(1_000 + count * 61, number, at=charger.at(-2 * HOUR_MS))
    # Somebody sets it, and mistakes the zone.
    for count in range(21, 41):
        charger.wait(MINUTE_MS // 2)
        charger.meter_16(1_000 + count * 61, number, at=charger.at(-HOUR_MS))
    stop(charger, number, -HOUR_MS, 3_440)
    record = last_session(charger)
    assert (record.started_ms, record.ended_ms) == (began_ms, charger.now_ms)
    assert record.energy_wh == 2_440


@given(st.dictionaries(st.integers(0, 39), st.sampled_from([15_000, 30_000, 60_000]), max_size=4))
@settings(max_examples=40, deadline=None)
def test_a_history_is_counted_to_the_watt_hour_however_it_halts(halts_ms: dict[int, int]) -> None:
    charger = settled()
    pauses_ms = [halts_ms.get(count, 40) for count in range(40)]
    record = tell_history(charger, pauses_ms, late_ms=2 * HOUR_MS, wh_per_reading=150)
    assert record.energy_wh == 41 * 150
    assert charger.records(QuarantineRecord) == []


def test_a_history_told_by_a_clock_that_is_ahead_is_corrected_as_history() -> None:
    charger = settled()
    charger.call(
        "StatusNotification",
        connectorId=1,
        errorCode="NoError",
        status="Preparing",
        timestamp=charger.at(2 * HOUR_MS),
    )
    start(charger, 2 * HOUR_MS - 30 * MINUTE_MS)
    assert last_session(charger).started_ms == charger.now_ms - 30 * MINUTE_MS


def test_a_clock_that_is_set_right_is_believed_at_once() -> None:
    charger = settled()
    number = start(charger, 2 * HOUR_MS)
    began_ms = charger.now_ms
    charger.wait(10 * MINUTE_MS)
    charger.meter_16(1_500, number)
    charger.wait(10 * MINUTE_MS)
    stop(charger, number, 0, 2_000)
    record = last_session(charger)
    assert (record.started_ms, record.ended_ms) == (began_ms, charger.now_ms)
    assert record.energy_wh == 1_000


def test_what_a_clock_was_found_to_be_survives_the_host() -> None:
    charger = settled()
    number = start(charger, 2 * HOUR_MS)
    charger.wait(MINUTE_MS)
    charger.status_16("Charging")
    other = charger.reborn()
    other.connect()
    other.wait(MINUTE_MS)
    stop(other, number, 2 * HOUR_MS, 1_500)
    assert last_session(other).ended_ms == other.now_ms


def test_a_station_without_a_clock_cannot_end_what_runs_by_telling_of_the_past() -> None:
    charger = settled()
    never = "1970-01-01T00:00:00Z"
    running = start(charger, -charger.now_ms, 5_000)
    old = {"connectorId": 1, "idTag": "OLD", "meterStart": 1_000, "timestamp": never}
    told = charger.call("StartTransaction", **old)["transactionId"]
    assert told != running
    charger.wait(MINUTE_MS)
    charger.meter_16(5_200, running, at=never)
    assert charger.told(ConnectorMetered)[-1].energy_wh == 200
    # Its clock began to count when it was switched on: enough to measure by.
    later = "1970-01-01T00:20:00Z"
    charger.call("StopTransaction", transactionId=told, meterStop=3_000, timestamp=later)
    assert last_session(charger).energy_wh == 2_000
    # The same once more, while another one runs: it is that one again.
    assert charger.call("StartTransaction", **old)["transactionId"] == told
    assert list(charger.actor.open_sessions) == [f"CP1-{running}"]
    stop(charger, running, -charger.now_ms, 6_000)
    assert last_session(charger).energy_wh == 1_000


def test_what_was_taken_for_the_past_and_goes_on_is_the_present() -> None:
    charger = settled()
    never = "1970-01-01T00:00:00Z"
    start(charger, -charger.now_ms, 5_000)
    # The meter was exchanged, and the end of the first one lost.
    again = {"connectorId": 1, "idTag": "NEW", "meterStart": 0, "timestamp": never}
    number = charger.call("StartTransaction", **again)["transactionId"]
    for meter_wh in (100, 200, 300):
        charger.wait(MINUTE_MS)
        charger.meter_16(meter_wh, number, at=never)
    assert list(charger.actor.open_sessions) == [f"CP1-{number}"]
    assert charger.told(ConnectorMetered)[-1].energy_wh == 300


def test_no_command_is_sent_while_a_station_tells_its_history() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    for number in range(20):
        charger.wait(1_000)
        offset_ms = -10 * HOUR_MS + number * 10 * MINUTE_MS
        transaction = start(charger, offset_ms, number * 100)
        stop(charger, transaction, offset_ms + 5 * MINUTE_MS, number * 100 + 100)
        assert [each for each in charger.all if isinstance(each, Call)] == []
    charger.wait(2_000)
    assert [each for each in charger.all if isinstance(each, Call)]
    assert len(charger.journal("session.ended")) == 20


def test_a_station_that_never_ends_its_history_is_steered_all_the_same() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    for minute in range(60):
        charger.wait(1_000)
        charger.meter_16(minute, None, at=charger.at(-5 * HOUR_MS + minute * 7 * MINUTE_MS))
    assert [each for each in charger.all if isinstance(each, Call)]


def test_currents_of_the_past_are_not_told_as_present() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    at = charger.at(-HOUR_MS)
    sample = {"measurand": "Current.Import", "phase": "L1", "value": "16"}
    charger.call(
        "MeterValues",
        connectorId=1,
        meterValue=[{"timestamp": at, "sampledValue": [sample]}],
    )
    assert charger.told(ConnectorMetered) == []


@given(st.lists(st.tuples(st.integers(0, DAY_MS), st.integers(0, 10 * MINUTE_MS)), max_size=40))
def test_a_right_clock_is_never_taken_for_one_that_is_ahead(told: list[tuple[int, int]]) -> None:
    """However late things are told."""
    clock, now_ms = StationClock(), START_MS
    for late_ms, pause_ms in told:
        now_ms += pause_ms
        clock.hear(now_ms - late_ms, now_ms)
        assert clock.offset_ms <= 0


@given(
    st.integers(-20 * 365 * DAY_MS, 20 * 365 * DAY_MS),
    st.lists(st.integers(0, 5_000), min_size=5, max_size=20),
)
def test_a_steady_clock_is_found_whatever_it_shows(offset_ms: int, delays_ms: list[int]) -> None:
    clock, now_ms = StationClock(), START_MS
    for delay_ms in delays_ms:
        now_ms += MINUTE_MS
        clock.hear(now_ms + offset_ms - delay_ms, now_ms)
    assert abs(clock.offset_ms - offset_ms) <= 25_000
    true_ms = clock.correct(now_ms + offset_ms, now_ms)
    assert abs(true_ms - now_ms) <= 70_000


def test_a_time_that_nobody_gave_is_when_it_was_heard() -> None:
    assert StationClock().correct(None, START_MS) == START_MS
    assert iso_from_ms(StationClock().correct(START_MS - HOUR_MS, START_MS)) == iso_from_ms(
        START_MS - HOUR_MS
    )


def test_a_session_told_late_by_a_clock_that_was_set_right_keeps_its_energy() -> None:
    """Its beginning looks like tomorrow to who knows the clock as it was, and counts as when it was
    heard; and the history halts for so long that it looks like a clock that is behind. So much as
    was drawn cannot have passed since."""
    charger = Charger()
    charger.settle("ocpp2.0.1")

    def event(kind: str, number: int, offset_ms: int, meter_wh: int, **more: object) -> None:
        sample = {"value": meter_wh, "measurand": "Energy.Active.Import.Register"}
        charger.call(
            "TransactionEvent",
            eventType=kind,
            timestamp=charger.at(offset_ms),
            triggerReason="MeterValuePeriodic",
            seqNo=number,
            transactionInfo={"transactionId": "T"},
            evse={"id": 1, "connectorId": 1},
            meterValue=[{"timestamp": charger.at(offset_ms), "sampledValue": [sample]}],
            **more,
        )

    for _ in range(3):
        charger.call(
            "StatusNotification",
            timestamp=charger.at(-DAY_MS),
            connectorStatus="Available",
            evseId=1,
            connectorId=1,
        )
        charger.wait(20_000)
    event("Started", 0, -8 * MINUTE_MS, 4_600, offline=True)
    event("Updated", 1, -7 * MINUTE_MS, 4_900)
    charger.wait(35_000)
    event("Updated", 2, -7 * MINUTE_MS, 5_400)
    for number, meter_wh in enumerate((5_900, 6_400, 6_900, 7_400), 3):
        charger.wait(100)
        event("Updated", number, (number - 9) * MINUTE_MS, meter_wh)
    event("Ended", 7, -1_000, 7_900)
    record = last_session(charger)
    assert (record.state, record.energy_wh) == (SessionState.ENDED, 3_300)
