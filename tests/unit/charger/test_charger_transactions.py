"""Sessions: repeated, reordered, offline, unknown, and what they cost."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from charger_driver import START_MS, Charger

from controlplane.actor import Ask
from controlplane.charger.messages import AbandonSession, SetSessionNeed
from controlplane.errors import Refusal
from controlplane.ids import SessionId
from controlplane.site.messages import ConnectorMetered, ConnectorState
from controlplane.store.records import (
    ActorSnapshot,
    MeterSample,
    QuarantineRecord,
    SessionRecord,
    SessionState,
)
from controlplane.units import iso_from_ms

HOUR_MS = 3_600_000


def settled(version: str = "ocpp1.6", **description: Any) -> Charger:
    charger = Charger()
    charger.settle(version, **description)
    return charger


def last_session(charger: Charger) -> SessionRecord:
    return charger.records(SessionRecord)[-1]


# --- OCPP 1.6 -------------------------------------------------------------------------------------


def test_a_session_from_start_to_stop() -> None:
    charger = settled()
    transaction_id = charger.start_16(1_000)
    assert last_session(charger).state is SessionState.ACTIVE
    demand = charger.told(ConnectorState)[-1].session
    assert demand is not None
    assert (demand.session_id, demand.charging) == ("CP1-1", True)
    charger.wait(HOUR_MS // 2)
    charger.meter_16(4_000, transaction_id)
    assert charger.told(ConnectorMetered)[-1].energy_wh == 3_000
    assert charger.records(ActorSnapshot, latest=True) == []
    charger.wait(HOUR_MS // 2)
    charger.stop_16(transaction_id, 7_500)
    record = last_session(charger)
    assert (record.state, record.energy_wh) == (SessionState.ENDED, 6_500)
    assert (record.meter_start_wh, record.meter_stop_wh) == (1_000, 7_500)
    assert charger.told(ConnectorState)[-1].session is None
    assert charger.journal("session.ended")[0]["energy_wh"] == 6_500


def test_a_start_three_times_is_one_transaction_also_on_another_host() -> None:
    charger = settled()
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 5, "timestamp": charger.at()}
    first = charger.call("StartTransaction", **start)
    assert charger.call("StartTransaction", **start) == first
    other = charger.reborn()
    other.connect()
    assert other.call("StartTransaction", **start) == first
    assert len(charger.records(SessionRecord) + other.records(SessionRecord)) == 1
    other.wait(60_000)
    other.stop_16(first["transactionId"], 9)
    assert other.call("StartTransaction", **start) == first
    assert last_session(other).state is SessionState.ENDED


def test_a_stop_three_times_ends_once() -> None:
    charger = settled()
    transaction_id = charger.start_16()
    charger.wait(60_000)
    for _ in range(3):
        assert charger.stop_16(transaction_id, 1_050) == {}
    assert len(charger.journal("session.ended")) == 1
    assert len(charger.records(SessionRecord)) == 2


def test_every_transaction_has_its_own_number_across_hosts() -> None:
    charger = settled()
    numbers = []
    for meter_wh in (0, 10, 20):
        number = charger.start_16(meter_wh)
        charger.wait(10_000)
        charger.stop_16(number, meter_wh + 10)
        numbers.append(number)
        charger = charger.reborn()
        charger.connect()
    assert numbers == [1, 2, 3]


def test_an_unknown_stop_is_answered_and_quarantined_with_its_frame() -> None:
    charger = settled()
    assert charger.stop_16(0, 500) == {}
    (record,) = charger.records(QuarantineRecord)
    assert (record.reason, record.action) == ("transaction_unknown", "StopTransaction")
    assert record.payload["payload"]["meterStop"] == 500
    # A number handed out later is another transaction.
    charger.stop_16(1, 500)
    charger.start_16(500)
    assert charger.actor.open_sessions == ("CP1-1",)


def test_a_start_on_a_connector_in_use_ends_what_ran_there() -> None:
    charger = settled(connectors=2)
    charger.start_16(0, connector=2)
    first = charger.start_16(0)
    charger.wait(HOUR_MS)
    charger.meter_16(5_000, first)
    charger.start_16(5_000)
    replaced = [
        record for record in charger.records(SessionRecord) if record.session_id == "CP1-2"
    ][-1]
    assert (replaced.state, replaced.energy_wh) == (SessionState.ENDED, 5_000)
    assert replaced.stop_reason == "Replaced"
    assert charger.actor.open_sessions == ("CP1-1", "CP1-3")


def test_an_older_transaction_told_late_does_not_end_the_one_that_runs() -> None:
    charger = settled()
    charger.start_16(5_000)
    old = {"connectorId": 1, "idTag": "OLD", "meterStart": 1_000, "timestamp": charger.at(-HOUR_MS)}
    number = charger.call("StartTransaction", **old)["transactionId"]
    assert list(charger.actor.open_sessions) == ["CP1-1", "CP1-2"]
    session = charger.told(ConnectorState)[-1].session
    assert session is not None
    assert session.session_id == "CP1-1"
    charger.call(
        "StopTransaction",
        transactionId=number,
        meterStop=3_000,
        timestamp=charger.at(-HOUR_MS // 2),
    )
    assert list(charger.actor.open_sessions) == ["CP1-1"]
    assert last_session(charger).energy_wh == 2_000


def test_a_start_after_a_stale_status_wants_current() -> None:
    charger = settled()
    charger.status_16("Available")
    charger.start_16()
    session = charger.told(ConnectorState)[-1].session
    assert session is not None
    assert session.charging is True


def test_a_meter_broken_for_good_does_not_fill_the_quarantine() -> None:
    charger = settled()
    number = charger.start_16(0)
    for step in range(100):
        charger.wait(1_000)
        charger.meter_16(10**9 * (1 + step % 2 * 5), number)
    assert 0 < len(charger.records(QuarantineRecord)) <= 20


def test_a_late_stop_of_a_replaced_session_does_not_revive_it() -> None:
    charger = settled()
    first = charger.start_16(0)
    charger.wait(1_000)
    charger.start_16(0)
    charger.wait(1_000)
    charger.stop_16(first, 100)
    assert charger.actor.open_sessions == ("CP1-2",)


def test_readings_of_another_transaction_are_kept_without_a_session() -> None:
    charger = settled(connectors=2)
    first = charger.start_16(0)
    charger.start_16(0, connector=2)
    charger.meter_16(500, 99)
    charger.meter_16(600, first, connector=2)
    assert [sample.session_id for sample in charger.records(MeterSample)] == [None, None]


def test_readings_without_a_transaction_belong_to_the_session_that_ran() -> None:
    charger = settled()
    charger.wait(HOUR_MS)
    charger.start_16(1_000)
    charger.meter_16(900, None, at=charger.at(-HOUR_MS // 2))
    charger.wait(60_000)
    charger.meter_16(1_050, None)
    assert [sample.session_id for sample in charger.records(MeterSample)] == [None, "CP1-1"]
    charger.wait(60_000)
    charger.stop_16(1, 1_100)
    assert last_session(charger).energy_wh == 100


def test_a_repeated_reading_is_one_sample_also_on_another_host() -> None:
    charger = settled()
    number = charger.start_16(0)
    charger.wait(60_000)
    at = charger.at()
    charger.meter_16(100, number, at=at)
    charger.meter_16(100, number, at=at)
    samples = charger.records(MeterSample)
    assert len(samples) == 1
    other = charger.reborn()
    other.actor.restore_readings(samples)
    other.connect()
    other.meter_16(100, number, at=at)
    assert other.records(MeterSample) == []
    other.wait(60_000)
    other.stop_16(number, 250)
    assert last_session(other).energy_wh == 250


def test_messages_of_one_moment_are_no_repetitions_of_each_other() -> None:
    charger = settled()
    number = charger.start_16()
    for measurand, phase, value in (
        ("SoC", None, "40"),
        ("Current.Import", "L1", "16"),
        ("Current.Import", "L2", "15"),
    ):
        sample = {"measurand": measurand, "value": value} | ({"phase": phase} if phase else {})
        charger.call(
            "MeterValues",
            connectorId=1,
            transactionId=number,
            meterValue=[{"timestamp": charger.at(), "sampledValue": [sample]}],
        )
    assert len(charger.records(MeterSample)) == 3
    assert [metered.current_ma for metered in charger.told(ConnectorMetered)] == [
        (None, None, None),
        (16_000, None, None),
        (None, 15_000, None),
    ]


def test_restored_readings_give_the_energy_so_far() -> None:
    charger = settled()
    number = charger.start_16(1_000)
    for meter_wh in (1_100, 1_200, 1_300):
        charger.wait(60_000)
        charger.meter_16(meter_wh, number)
    other = charger.reborn()
    other.actor.restore_readings(charger.records(MeterSample))
    other.connect()
    demand = other.told(ConnectorState)[-1].session
    assert demand is not None
    other.status_16("Charging")
    demand = other.told(ConnectorState)[-1].session
    assert demand is not None
    assert demand.energy_wh == 300


@pytest.mark.parametrize(
    ("station_offset_ms", "trusted"),
    [
        (0, True),
        (-HOUR_MS, True),
        (-24 * HOUR_MS, True),
        (60_000, True),
        (2 * HOUR_MS, False),
        (-START_MS, False),
        (-90 * 24 * HOUR_MS, False),
    ],
)
def test_a_time_is_trusted_within_reason(station_offset_ms: int, trusted: bool) -> None:
    charger = settled()
    charger.call(
        "StartTransaction",
        connectorId=1,
        idTag="TAG",
        meterStart=0,
        timestamp=charger.at(station_offset_ms),
    )
    expected_ms = charger.now_ms + (station_offset_ms if trusted else 0)
    assert last_session(charger).started_ms == expected_ms
    charger.wait(60_000)
    charger.meter_16(10, 1, at=charger.at(station_offset_ms))
    (sample,) = charger.records(MeterSample)
    assert (sample.at_ms, sample.received_ms) == (
        charger.now_ms + station_offset_ms,
        charger.now_ms,
    )


def test_a_session_never_ends_before_it_began() -> None:
    charger = settled()
    number = charger.start_16()
    charger.call(
        "StopTransaction", transactionId=number, meterStop=1_000, timestamp=charger.at(-60_000)
    )
    record = last_session(charger)
    assert record.ended_ms == record.started_ms


def test_a_clock_that_was_set_back_loses_no_energy_at_the_stop() -> None:
    charger = settled()
    number = charger.start_16(1_000)
    charger.wait(60_000)
    charger.meter_16(1_500, number, at=charger.at(4 * 60_000))
    charger.wait(60_000)
    charger.stop_16(number, 2_000)
    assert last_session(charger).energy_wh == 1_000


@pytest.mark.parametrize("timestamp", ["1970-01-01T00:00:00Z", "now"])
def test_starts_of_a_station_without_a_clock_are_sessions_of_their_own(timestamp: str) -> None:
    charger = settled()
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": timestamp}
    numbers = []
    for _ in range(2):
        numbers.append(charger.call("StartTransaction", **start)["transactionId"])
        assert charger.call("StartTransaction", **start)["transactionId"] == numbers[-1]
        charger.wait(60_000)
        charger.stop_16(numbers[-1], 500)
        charger.wait(60_000)
    assert numbers == [1, 2]


def test_a_first_register_of_zero_costs_nothing() -> None:
    charger = settled()
    number = charger.start_16(0)
    charger.wait(60_000)
    charger.meter_16(909_948, number)
    charger.wait(60_000)
    charger.stop_16(number, 910_031)
    assert last_session(charger).energy_wh == 83
    assert [record.reason for record in charger.records(QuarantineRecord)] == ["register_jumped"]
    assert charger.journal("session.ended")[0]["doubtful"] is True


def test_a_meter_stop_below_the_start_is_never_negative() -> None:
    charger = settled()
    number = charger.start_16(5_000)
    charger.wait(60_000)
    charger.stop_16(number, 100)
    assert last_session(charger).energy_wh == 0
    assert [record.reason for record in charger.records(QuarantineRecord)] == ["register_decreased"]


def test_transaction_data_of_a_stop_is_kept_as_samples() -> None:
    charger = settled()
    number = charger.start_16(0)
    charger.wait(60_000)
    charger.call(
        "StopTransaction",
        transactionId=number,
        meterStop=100,
        timestamp=charger.at(),
        transactionData=[
            {"timestamp": charger.at(-30_000), "sampledValue": [{"value": "50"}]},
            {"timestamp": charger.at(), "sampledValue": []},
        ],
    )
    (sample,) = charger.records(MeterSample)
    assert (sample.energy_wh, sample.session_id) == (50, "CP1-1")


@pytest.mark.parametrize(
    ("status", "charging"),
    [
        ("Charging", True),
        ("SuspendedEVSE", True),
        ("SuspendedEV", False),
        ("Finishing", False),
        ("Available", False),
        ("Faulted", False),
    ],
)
def test_who_holds_the_session_decides_whether_it_wants_current(
    status: str, charging: bool
) -> None:
    charger = settled()
    charger.status_16("Available")
    charger.start_16()
    charger.status_16(status)
    demand = charger.told(ConnectorState)[-1].session
    assert demand is not None
    assert demand.charging is charging


# --- OCPP 2.0.1 -----------------------------------------------------------------------------------


def transaction_event(
    kind: str, seq_no: int, at_ms: int, meter_wh: float | None = None, **more: Any
) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "eventType": kind,
        "timestamp": iso_from_ms(at_ms),
        "triggerReason": "MeterValuePeriodic",
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": "tx"},
        "evse": {"id": 1},
    }
    if meter_wh is not None:
        payload["meterValue"] = [
            {"timestamp": iso_from_ms(at_ms), "sampledValue": [{"value": meter_wh}]}
        ]
    return payload | more


TOKEN = {"idToken": "TAG", "type": "ISO14443"}
DAY: list[dict[str, Any]] = [
    transaction_event("Started", 0, START_MS - 5 * HOUR_MS, 1_000, idToken=TOKEN),
    transaction_event("Updated", 1, START_MS - 4 * HOUR_MS, 3_000),
    transaction_event("Updated", 2, START_MS - 3 * HOUR_MS, 6_000),
    transaction_event("Updated", 3, START_MS - 2 * HOUR_MS, 7_000),
    transaction_event("Ended", 4, START_MS - 1 * HOUR_MS, 9_000),
]


@pytest.mark.parametrize("order", list(itertools.permutations(range(5))))
def test_every_order_of_a_transaction_gives_the_same_session(order: tuple[int, ...]) -> None:
    charger = settled("ocpp2.0.1")
    for index in order:
        charger.call("TransactionEvent", **DAY[index])
        charger.call("TransactionEvent", **DAY[index])
    record = last_session(charger)
    assert record.session_id == "CP1-1"
    assert (record.state, record.energy_wh) == (SessionState.ENDED, 8_000)
    assert (record.started_ms, record.ended_ms) == (
        START_MS - 5 * HOUR_MS,
        START_MS - 1 * HOUR_MS,
    )
    assert (record.id_token, record.meter_start_wh, record.meter_stop_wh) == ("TAG", 1_000, 9_000)
    assert len(charger.journal("session.ended")) == 1
    assert len(charger.records(MeterSample)) == 5
    assert charger.actor.open_sessions == ()


def test_a_repeated_event_gets_the_same_answer_and_no_second_sample() -> None:
    charger = settled("ocpp2.0.1")
    first = [charger.call("TransactionEvent", **event) for event in DAY]
    again = [charger.call("TransactionEvent", **event) for event in DAY]
    assert first == again
    assert len(charger.records(MeterSample)) == 5


def test_a_station_that_never_counts_loses_no_energy() -> None:
    charger = settled("ocpp2.0.1")
    for event in DAY:
        charger.call("TransactionEvent", **event | {"seqNo": 0})
    assert last_session(charger).energy_wh == 8_000


def test_a_token_that_comes_later_authorises_the_session() -> None:
    charger = settled("ocpp2.0.1")
    now_ms = charger.now_ms
    info = {"transactionId": "tx", "chargingState": "EVConnected"}
    charger.call(
        "TransactionEvent", **transaction_event("Started", 0, now_ms, transactionInfo=info)
    )
    demand = charger.told(ConnectorState)[-1].session
    assert demand is not None
    assert demand.charging is False
    answer = charger.call(
        "TransactionEvent", **transaction_event("Updated", 1, now_ms, idToken=TOKEN)
    )
    assert answer == {"idTokenInfo": {"status": "Accepted"}}
    demand = charger.told(ConnectorState)[-1].session
    assert demand is not None
    assert demand.charging is True
    assert last_session(charger).id_token == "TAG"


def test_an_event_without_an_evse_is_that_of_the_only_connector() -> None:
    charger = settled("ocpp2.0.1")
    event = DAY[0].copy()
    del event["evse"]
    charger.call("TransactionEvent", **event)
    assert last_session(charger).connector_id == 1


def test_a_late_start_tells_on_which_evse_the_transaction_runs() -> None:
    charger = Charger()
    charger.settle("ocpp2.0.1", connectors=2)
    now_ms = charger.now_ms
    starts = []
    for evse, name in ((1, "one"), (2, "two")):
        info = {"transactionId": name, "chargingState": "Charging"}
        start = transaction_event("Started", 0, now_ms, 0, transactionInfo=info, idToken=TOKEN)
        starts.append(start | {"evse": {"id": evse}})
        update = transaction_event("Updated", 1, now_ms + 1, 10, transactionInfo=info)
        del update["evse"]
        charger.call("TransactionEvent", **update)
    assert len(charger.actor.open_sessions) == 2, "neither has replaced the other"
    for start in starts:
        charger.call("TransactionEvent", **start)
    running = {state.connector_id: state.session for state in charger.told(ConnectorState)}
    assert {
        connector_id: session.session_id
        for connector_id, session in running.items()
        if session is not None
    } == {1: "CP1-1", 2: "CP1-2"}


def test_a_clock_aligned_reading_belongs_to_the_session_of_its_evse() -> None:
    charger = settled("ocpp2.0.1")
    charger.call("TransactionEvent", **transaction_event("Started", 0, charger.now_ms, 1_000))
    charger.wait(60_000)
    charger.call(
        "MeterValues",
        evseId=1,
        meterValue=[{"timestamp": charger.at(), "sampledValue": [{"value": 1_100}]}],
    )
    assert charger.told(ConnectorMetered)[-1].energy_wh == 100


def test_old_readings_are_kept_and_not_told_as_new() -> None:
    charger = settled("ocpp2.0.1")
    charger.call("TransactionEvent", **transaction_event("Started", 0, START_MS - HOUR_MS, 0))
    charger.call("TransactionEvent", **transaction_event("Updated", 2, START_MS, 900))
    told = len(charger.told(ConnectorMetered))
    charger.call(
        "TransactionEvent", **transaction_event("Updated", 1, START_MS - HOUR_MS // 2, 400)
    )
    assert len(charger.records(MeterSample)) == 3
    assert len(charger.told(ConnectorMetered)) == told


def test_what_is_remembered_of_ended_sessions_is_bounded() -> None:
    charger = settled()
    for meter_wh in range(100):
        number = charger.start_16(meter_wh)
        charger.wait(1_000)
        charger.stop_16(number, meter_wh + 1)
    assert charger.snapshot is not None
    assert len(charger.snapshot) < 4_000


# --- the driver's wish ----------------------------------------------------------------------------


def test_a_need_is_stored_journalled_and_told() -> None:
    charger = settled()
    charger.start_16()
    charger.tell(Ask("a", SetSessionNeed(SessionId("CP1-1"), need_wh=20_000)))
    charger.tell(Ask("b", SetSessionNeed(SessionId("CP1-1"), departure_ms=START_MS + HOUR_MS)))
    (record,) = charger.answered("b")
    assert isinstance(record, SessionRecord)
    assert (record.need_wh, record.departure_ms) == (20_000, START_MS + HOUR_MS)
    demand = charger.told(ConnectorState)[-1].session
    assert demand is not None
    assert (demand.need_wh, demand.departure_ms) == (20_000, START_MS + HOUR_MS)
    assert len(charger.journal("session.need")) == 2
    other = charger.reborn()
    demand = other.told(ConnectorState)[-1].session
    assert demand is not None
    assert demand.need_wh == 20_000


def test_a_need_that_is_taken_back_counts_as_never_said() -> None:
    charger = settled()
    charger.start_16()
    leaves_ms = START_MS + HOUR_MS
    charger.tell(Ask("a", SetSessionNeed(SessionId("CP1-1"), 20_000, departure_ms=leaves_ms)))
    charger.tell(Ask("b", SetSessionNeed(SessionId("CP1-1"), forget_departure=True)))
    demand = charger.told(ConnectorState)[-1].session
    assert demand is not None
    assert (demand.need_wh, demand.departure_ms) == (20_000, None)
    charger.tell(Ask("c", SetSessionNeed(SessionId("CP1-1"), forget_need=True)))
    (record,) = charger.answered("c")
    assert isinstance(record, SessionRecord)
    assert (record.need_wh, record.departure_ms) == (None, None)


def test_a_boost_is_stored_told_and_survives_the_host() -> None:
    charger = settled()
    charger.start_16()
    until_ms = charger.now_ms + HOUR_MS
    charger.tell(Ask("a", SetSessionNeed(SessionId("CP1-1"), boost_until_ms=until_ms)))
    assert last_session(charger).boost_until_ms == until_ms
    for each in (charger, charger.reborn()):
        demand = each.told(ConnectorState)[-1].session
        assert demand is not None
        assert (demand.boost_until_ms, demand.id_token) == (until_ms, "TAG")
    charger.tell(Ask("b", SetSessionNeed(SessionId("CP1-1"), boost_until_ms=charger.now_ms)))
    assert last_session(charger).boost_until_ms is None
    assert [each["boost_until_ms"] for each in charger.journal("session.need")] == [until_ms, None]


def test_a_boost_lasts_a_day_at_most() -> None:
    charger = settled()
    charger.start_16()
    long_ms = charger.now_ms + 24 * HOUR_MS + 1
    charger.tell(Ask("a", SetSessionNeed(SessionId("CP1-1"), 1_000, boost_until_ms=long_ms)))
    (refusal,) = charger.answered("a")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "BOOST_TOO_LONG"
    assert last_session(charger).need_wh is None, "nothing of it was taken"


def test_a_departure_that_is_past_is_refused() -> None:
    charger = settled()
    charger.start_16()
    past_ms = charger.now_ms - HOUR_MS
    charger.tell(Ask("a", SetSessionNeed(SessionId("CP1-1"), 1_000, departure_ms=past_ms)))
    (refusal,) = charger.answered("a")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "DEPARTURE_PAST"
    assert last_session(charger).need_wh is None, "nothing of it was taken"
    # Clocks may lie a little apart.
    now = SetSessionNeed(SessionId("CP1-1"), departure_ms=charger.now_ms - 5_000)
    charger.tell(Ask("b", now))
    (taken,) = charger.answered("b")
    assert isinstance(taken, SessionRecord)


@pytest.mark.parametrize(
    ("session_id", "need_wh", "kind"),
    [
        ("CP1-9", 1, "not_found"),
        ("CP1-1", 1, "precondition"),
        ("CP1-2", -1, "invalid_input"),
    ],
)
def test_impossible_needs_are_refused(session_id: str, need_wh: int, kind: str) -> None:
    charger = settled()
    charger.stop_16(charger.start_16(0), 0)
    charger.wait(1_000)
    charger.start_16(1)
    charger.tell(Ask("a", SetSessionNeed(SessionId(session_id), need_wh=need_wh)))
    (refusal,) = charger.answered("a")
    assert isinstance(refusal, Refusal)
    assert refusal.kind == kind


# --- given up -------------------------------------------------------------------------------------


def test_a_dead_chargers_session_can_be_given_up_and_comes_back_with_its_charger() -> None:
    charger = settled()
    number = charger.start_16(1_000)
    charger.wait(60_000)
    charger.meter_16(1_400, number)
    charger.tell(Ask("online", AbandonSession(SessionId("CP1-1"))))
    (refusal,) = charger.answered("online")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "CHARGER_ONLINE"

    charger.disconnect()
    charger.tell(Ask("gone", AbandonSession(SessionId("CP1-1"))))
    (closed,) = charger.answered("gone")
    assert isinstance(closed, SessionRecord)
    assert (closed.state, closed.energy_wh, closed.stop_reason) == (
        SessionState.ENDED,
        400,
        "Abandoned",
    )
    assert charger.told(ConnectorState)[-1].session is None
    charger.tell(Ask("again", AbandonSession(SessionId("CP1-1"))))
    (refusal,) = charger.answered("again")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "SESSION_ENDED"

    charger.connect()
    charger.meter_16(2_000, number)
    demand = charger.told(ConnectorState)[-1].session
    assert demand is not None
    assert demand.session_id == "CP1-1"
    assert last_session(charger).state is SessionState.ACTIVE
    charger.stop_16(number, 2_500)
    assert (last_session(charger).energy_wh, last_session(charger).stop_reason) == (1_500, "Local")


def test_a_connector_that_nobody_described_authorises_nobody() -> None:
    charger = settled()
    start = {"idTag": "TAG", "meterStart": 0, "timestamp": charger.at()}
    answer = charger.call("StartTransaction", connectorId=2, **start)
    assert answer["idTagInfo"]["status"] == "Invalid"
    assert charger.told(ConnectorState)[-1].connector_id == 2
    answer = charger.call("StartTransaction", connectorId=1, **start)
    assert answer["idTagInfo"]["status"] == "Accepted"
