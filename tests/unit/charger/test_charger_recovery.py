"""Ends that are lost, unnamed, early or late, and events that never come."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import START_MS, Charger
from hypothesis import given
from hypothesis import strategies as st

from controlplane.charger.sequence import Sequence
from controlplane.site.messages import ConnectorState
from controlplane.store.records import (
    MeterSample,
    QuarantineCleared,
    QuarantineRecord,
    QuarantineState,
    SessionRecord,
    SessionState,
)
from controlplane.units import iso_from_ms

MINUTE_MS = 60_000
HOUR_MS = 3_600_000


def settled(version: str = "ocpp1.6", **description: Any) -> Charger:
    charger = Charger()
    charger.settle(version, **description)
    return charger


def sessions(charger: Charger) -> dict[str, SessionRecord]:
    """The latest word on every session."""
    return {record.session_id: record for record in charger.records(SessionRecord)}


def reasons(charger: Charger) -> list[str]:
    return [record.reason for record in charger.records(QuarantineRecord)]


# --- after a reset or a loss of power -------------------------------------------------------------


def test_a_free_connector_closes_the_session_whose_stop_was_lost_with_the_last_reading() -> None:
    charger = settled()
    number = charger.start_16(1_000)
    charger.wait(10 * MINUTE_MS)
    charger.meter_16(2_500, number)
    charger.call("BootNotification", chargePointVendor="V", chargePointModel="M")
    charger.status_16("Available")
    free_ms = charger.now_ms
    charger.wait(6 * MINUTE_MS)
    record = sessions(charger)["CP1-1"]
    assert (record.state, record.energy_wh) == (SessionState.ENDED, 1_500)
    assert (record.stop_reason, record.ended_ms) == ("StopLost", free_ms)
    assert charger.told(ConnectorState)[-1].session is None
    charger.start_16(2_500)
    assert charger.actor.open_sessions == ("CP1-2",)
    assert len(charger.journal("session.ended")) == 1


def test_a_lost_stop_is_waited_for_on_another_host_too() -> None:
    charger = settled()
    charger.start_16(1_000)
    charger.status_16("Available")
    other = charger.reborn()
    other.wait(6 * MINUTE_MS)
    assert sessions(other)["CP1-1"].stop_reason == "StopLost"


def test_a_stop_that_comes_after_all_has_the_last_word() -> None:
    charger = settled()
    number = charger.start_16(1_000)
    charger.wait(10 * MINUTE_MS)
    charger.status_16("Available")
    charger.wait(10 * MINUTE_MS)
    charger.stop_16(number, 2_500)
    record = sessions(charger)["CP1-1"]
    assert (record.state, record.energy_wh, record.stop_reason) == (
        SessionState.ENDED,
        1_500,
        "Local",
    )


def test_a_session_that_goes_on_after_a_reboot_goes_on() -> None:
    charger = settled()
    number = charger.start_16(1_000)
    charger.status_16("Charging")
    charger.wait(MINUTE_MS)
    charger.call("BootNotification", chargePointVendor="V", chargePointModel="M")
    charger.status_16("Available")
    charger.wait(MINUTE_MS)
    charger.meter_16(1_100, number)
    charger.wait(10 * MINUTE_MS)
    assert charger.actor.open_sessions == ("CP1-1",)
    charger.stop_16(number, 1_200)
    assert sessions(charger)["CP1-1"].energy_wh == 200


def test_a_2x_transaction_before_the_cable_does_not_end_because_the_connector_is_free() -> None:
    charger = settled("ocpp2.0.1")
    charger.call("TransactionEvent", **event("Started", 0, charger.now_ms))
    charger.call(
        "StatusNotification",
        timestamp=charger.at(),
        connectorStatus="Occupied",
        evseId=1,
        connectorId=1,
    )
    charger.call(
        "StatusNotification",
        timestamp=charger.at(),
        connectorStatus="Available",
        evseId=1,
        connectorId=1,
    )
    charger.wait(10 * MINUTE_MS)
    assert charger.actor.open_sessions == ("CP1-1",)


def test_a_fault_is_told_in_the_makers_own_words() -> None:
    charger = settled()
    words = {"vendorId": "Maker", "vendorErrorCode": "E-17", "info": "relay 2 welded"}
    charger.call(
        "StatusNotification", connectorId=1, errorCode="OtherError", status="Faulted", **words
    )
    (fault,) = charger.journal("charger.fault")
    assert (fault["error_code"], fault["vendor_error_code"]) == ("OtherError", "E-17")
    assert fault["info"] == "relay 2 welded"


def plug(charger: Charger, number: int, status: str) -> None:
    charger.call(
        "StatusNotification",
        evseId=1,
        connectorId=number,
        connectorStatus=status,
        timestamp=charger.at(),
    )


def test_the_other_plug_of_an_evse_says_nothing_about_the_one_in_use() -> None:
    """CCS and CHAdeMO of one EVSE: the free one frees, and the broken one breaks, neither the
    session nor the EVSE."""
    charger = settled("ocpp2.0.1")
    plug(charger, 1, "Available")
    plug(charger, 2, "Available")
    plug(charger, 1, "Occupied")
    started = event("Started", 0, charger.now_ms)
    started["transactionInfo"]["chargingState"] = "SuspendedEV"
    charger.call("TransactionEvent", **started)
    plug(charger, 2, "Unavailable")
    plug(charger, 2, "Available")
    charger.wait(10 * MINUTE_MS)
    assert sessions(charger)["CP1-1"].state is SessionState.ACTIVE
    plug(charger, 2, "Faulted")
    assert len(charger.journal("charger.fault")) == 1
    assert [each["status"] for each in charger.journal("connector.status")] == [
        "available",
        "occupied",
    ]
    charger.call("TransactionEvent", **event("Ended", 1, charger.now_ms))
    plug(charger, 1, "Available")
    assert charger.journal("connector.status")[-1]["status"] == "available"
    plug(charger, 1, "Unavailable")
    assert charger.journal("connector.status")[-1]["status"] == "faulted"


def test_connector_0_says_nothing_about_the_others() -> None:
    charger = settled(connectors=2)
    charger.start_16(0)
    charger.status_16("Charging")
    told = len(charger.told(ConnectorState))
    for status in ("Faulted", "Unavailable", "Available"):
        charger.status_16(status, connector=0)
    assert len(charger.told(ConnectorState)) == told
    charger.wait(10 * MINUTE_MS)
    assert charger.actor.open_sessions == ("CP1-1",)


def test_of_two_current_transactions_after_a_reboot_each_watt_hour_counts_once() -> None:
    charger = settled()
    first = charger.start_16(1_000)
    charger.wait(10 * MINUTE_MS)
    charger.meter_16(2_000, first)
    charger.call("BootNotification", chargePointVendor="V", chargePointModel="M")
    second = charger.start_16(2_200)
    for meter_wh in (2_500, 3_000):
        charger.wait(5 * MINUTE_MS)
        charger.meter_16(meter_wh, first)
        charger.meter_16(meter_wh, second)
    charger.stop_16(first, 3_000)
    charger.stop_16(second, 3_000)
    energies = {name: record.energy_wh for name, record in sessions(charger).items()}
    assert energies == {"CP1-1": 1_200, "CP1-2": 800}
    assert reasons(charger) == ["register_overlaps"]


# --- ends without a name --------------------------------------------------------------------------


@pytest.mark.parametrize("transaction_id", [0, -1])
@pytest.mark.parametrize("more", [{}, {"idTag": "HardReset", "reason": "HardReset"}])
def test_an_unnamed_stop_ends_the_only_session_that_it_can_mean(
    transaction_id: int, more: dict[str, str]
) -> None:
    charger = settled()
    charger.start_16(1_000)
    charger.wait(10 * MINUTE_MS)
    charger.meter_16(2_000, transaction_id)
    charger.wait(10 * MINUTE_MS)
    charger.call(
        "StopTransaction",
        transactionId=transaction_id,
        meterStop=3_000,
        timestamp=charger.at(),
        **more,
    )
    record = sessions(charger)["CP1-1"]
    assert (record.state, record.energy_wh) == (SessionState.ENDED, 2_000)
    (kept,) = charger.records(QuarantineRecord)
    assert (kept.reason, kept.state, kept.session_id) == (
        "transaction_unnamed",
        QuarantineState.RELEASED,
        "CP1-1",
    )
    assert [sample.session_id for sample in charger.records(MeterSample)] == ["CP1-1"]


@pytest.mark.parametrize("meter_stop", [500, 900_000])
def test_an_unnamed_stop_that_does_not_go_on_from_the_session_is_held(meter_stop: int) -> None:
    charger = settled()
    charger.start_16(1_000)
    charger.wait(MINUTE_MS)
    assert charger.stop_16(0, meter_stop) == {}
    assert reasons(charger) == ["transaction_unknown"]
    assert charger.actor.open_sessions == ("CP1-1",)


def test_an_unnamed_stop_of_one_of_two_sessions_is_held() -> None:
    charger = settled(connectors=2)
    charger.start_16(1_000)
    charger.start_16(1_000, connector=2)
    charger.wait(MINUTE_MS)
    charger.stop_16(-1, 1_100)
    assert reasons(charger) == ["transaction_unknown"]


def test_an_id_that_is_resent_for_ever_is_held_once() -> None:
    charger = settled()
    stop = {"transactionId": 9_223_372_036_854_775_807, "meterStop": 7, "timestamp": charger.at()}
    for _ in range(20):
        assert charger.call("StopTransaction", **stop) == {}
        charger.wait(1_000)
    assert reasons(charger) == ["transaction_unknown"]


# --- late and closing readings --------------------------------------------------------------------


def test_closing_readings_after_the_stop_are_kept_in_their_session() -> None:
    charger = settled()
    number = charger.start_16(1_000)
    charger.wait(10 * MINUTE_MS)
    charger.stop_16(number, 2_000)
    charger.wait(1_000)
    charger.meter_16(2_000, number)
    assert charger.records(MeterSample)[-1].session_id == "CP1-1"
    assert sessions(charger)["CP1-1"].energy_wh == 1_000


def test_the_stop_of_a_replaced_session_still_counts_up_to_the_next_one() -> None:
    charger = settled()
    first = charger.start_16(1_000)
    charger.wait(10 * MINUTE_MS)
    charger.start_16(2_000)
    assert sessions(charger)["CP1-1"].energy_wh == 0
    charger.stop_16(first, 2_000)
    record = sessions(charger)["CP1-1"]
    assert (record.energy_wh, record.stop_reason) == (1_000, "Replaced")
    assert charger.actor.open_sessions == ("CP1-2",)


def test_a_fault_that_is_over_when_it_is_told_resets_nothing() -> None:
    charger = settled()
    for status, ago_ms in (("Faulted", 3 * HOUR_MS), ("Available", 2 * HOUR_MS)):
        charger.call(
            "StatusNotification",
            connectorId=1,
            errorCode="NoError",
            status=status,
            timestamp=charger.at(-ago_ms),
        )
    charger.wait(HOUR_MS)
    assert charger.outstanding is None


# --- registers ------------------------------------------------------------------------------------


def test_readings_in_kwh_called_wh_are_taken_for_what_they_are() -> None:
    charger = settled()
    number = charger.start_16(909_948)
    for meter_kwh in (912.1, 914.3):
        charger.wait(10 * MINUTE_MS)
        charger.meter_16(meter_kwh, number)
    charger.wait(10 * MINUTE_MS)
    charger.stop_16(number, 916_000)
    assert sessions(charger)["CP1-1"].energy_wh == 916_000 - 909_948
    assert reasons(charger) == []
    assert [each["deviation"] for each in charger.journal("charger.deviation")] == [
        "register_in_kwh"
    ]


def test_a_register_far_below_its_own_power_is_held_for_review() -> None:
    charger = settled()
    number = charger.start_16(909)
    for minute in range(0, 61, 10):
        charger.call(
            "MeterValues",
            connectorId=1,
            transactionId=number,
            meterValue=[
                {
                    "timestamp": charger.at(),
                    "sampledValue": [
                        {"value": str(909 + minute * 11 / 60), "unit": "Wh"},
                        {"value": "11000", "measurand": "Power.Active.Import", "unit": "W"},
                    ],
                }
            ],
        )
        charger.wait(10 * MINUTE_MS)
    charger.stop_16(number, 920)
    assert sessions(charger)["CP1-1"].energy_wh == 11
    (record,) = charger.records(QuarantineRecord)
    assert record.reason == "register_below_power"
    assert record.payload["facts"]["held_wh"] == 11 * 999


# --- events that are missing ----------------------------------------------------------------------


def event(kind: str, seq_no: int, at_ms: int, transaction: str = "tx") -> dict[str, Any]:
    return {
        "eventType": kind,
        "timestamp": iso_from_ms(at_ms),
        "triggerReason": "MeterValuePeriodic",
        "seqNo": seq_no,
        "transactionInfo": {"transactionId": transaction},
        "evse": {"id": 1},
    }


def test_a_missing_event_is_flagged_and_unflagged_when_it_comes() -> None:
    charger = settled("ocpp2.0.1")
    now_ms = charger.now_ms
    charger.call("TransactionEvent", **event("Started", 0, now_ms))
    charger.call("TransactionEvent", **event("Updated", 1, now_ms + 1_000))
    charger.call("TransactionEvent", **event("Ended", 4, now_ms + 4_000))
    (flag,) = charger.journal("session.events_missing")
    assert (flag["session_id"], flag["missing"], flag["gaps"]) == ("CP1-1", 2, [(2, 3)])
    assert sessions(charger)["CP1-1"].events_missing == 2
    charger.call("TransactionEvent", **event("Updated", 3, now_ms + 3_000))
    assert sessions(charger)["CP1-1"].events_missing == 1
    assert charger.journal("session.events_complete") == []
    charger.call("TransactionEvent", **event("Updated", 2, now_ms + 2_000))
    assert sessions(charger)["CP1-1"].events_missing == 0
    assert len(charger.journal("session.events_complete")) == 1


def test_what_another_host_may_have_heard_is_not_missing() -> None:
    """Readings alone are no reason for a snapshot: the next host does not know how far the
    station has counted, until it hears of something that happened since it took over."""
    charger = settled("ocpp2.0.1")
    for number in range(5):
        kind = "Updated" if number else "Started"
        charger.call("TransactionEvent", **event(kind, number, charger.now_ms))
        charger.wait(MINUTE_MS)
    other = charger.reborn()
    other.connect("ocpp2.0.1")
    other.call("TransactionEvent", **event("Updated", 5, other.now_ms - 1_000))
    other.call("TransactionEvent", **event("Updated", 7, other.now_ms - 500))
    assert other.journal("session.events_missing") == []
    other.call("TransactionEvent", **event("Updated", 8, other.now_ms))
    other.call("TransactionEvent", **event("Updated", 10, other.now_ms + 1_000))
    (flag,) = other.journal("session.events_missing")
    assert flag["gaps"] == [(9, 9)]


def test_a_lost_start_is_flagged() -> None:
    charger = settled("ocpp2.0.1")
    charger.call("TransactionEvent", **event("Updated", 1, charger.now_ms))
    assert sessions(charger)["CP1-1"].events_missing == 1


@pytest.mark.parametrize("numbers", [(0, 0, 0), (57, 58, 59), (0, 1, 0)])
def test_other_ways_of_counting_miss_nothing(numbers: tuple[int, int, int]) -> None:
    charger = settled("ocpp2.0.1")
    kinds = ("Started", "Updated", "Ended")
    for step, (kind, seq_no) in enumerate(zip(kinds, numbers, strict=True)):
        charger.call("TransactionEvent", **event(kind, seq_no, START_MS + 10_000 + step * 1_000))
    assert sessions(charger)["CP1-1"].events_missing == 0
    assert charger.journal("session.events_missing") == []


def test_an_end_that_finds_its_transaction_leaves_the_quarantine() -> None:
    charger = settled("ocpp2.0.1")
    charger.call("TransactionEvent", **event("Ended", 1, charger.now_ms))
    (held,) = charger.records(QuarantineRecord)
    assert held.transaction_id == "tx"
    charger.call("TransactionEvent", **event("Started", 0, charger.now_ms - 1_000))
    (cleared,) = charger.records(QuarantineCleared)
    assert (cleared.transaction_id, cleared.session_id) == ("tx", "CP1-1")


@given(st.permutations(range(12)), st.sets(st.integers(0, 11)))
def test_exactly_what_was_not_heard_is_missing(order: list[int], lost: set[int]) -> None:
    sequence = Sequence()
    heard = [number for number in order if number not in lost]
    for number in heard:
        sequence.take(number, begins=number == 0)
    expected = set(range(max(heard, default=-1))) - set(heard)
    assert sequence.missing == len(expected)


def test_what_is_remembered_of_gaps_is_bounded() -> None:
    sequence = Sequence()
    for number in range(0, 1_000, 2):
        sequence.take(number, begins=number == 0)
    assert len(sequence.gaps) <= 16
    assert sequence.missing >= 499
