"""Domain events and commands in the words of each version."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.ocpp import events
from controlplane.ocpp.commands import AnyCommand, LimitPurpose, RawCall, SetLimit
from controlplane.ocpp.events import ConnectorStatus, MeterReading
from controlplane.ocpp.schemas import Direction, actions, check_command
from controlplane.ocpp.versions import DIALECTS, SUBPROTOCOLS

NOW_MS = 1_704_067_200_000
AT = "2024-01-01T00:00:00Z"
OLD, NEW = DIALECTS["ocpp1.6"], DIALECTS["ocpp2.0.1"]


def call(version: str, command: AnyCommand) -> dict[str, Any]:
    written = DIALECTS[version].call(command, NOW_MS)
    assert isinstance(written, tuple), written
    action, payload = written
    assert check_command(version, action, payload) is None
    return payload


def limit(purpose: LimitPurpose, **change: Any) -> SetLimit:
    values: dict[str, Any] = {
        "connector_id": 2,
        "purpose": purpose,
        "limit_ma": 13_990,
        "limit_w": 9_653,
        "unit": "A",
        "phases": 3,
    }
    return SetLimit(**values | change)


def test_the_newest_version_is_preferred() -> None:
    assert SUBPROTOCOLS == ("ocpp2.0.1", "ocpp1.6")


# --- profiles -------------------------------------------------------------------------------------


def test_a_transaction_profile_of_1_6() -> None:
    command = limit(LimitPurpose.TRANSACTION, transaction_id="7")
    assert call("ocpp1.6", command) == {
        "connectorId": 2,
        "csChargingProfiles": {
            "chargingProfileId": 23,
            "transactionId": 7,
            "stackLevel": 0,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Relative",
            "chargingSchedule": {
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 13.9}],
            },
        },
    }


def test_a_transaction_profile_of_2_0_1() -> None:
    command = limit(LimitPurpose.TRANSACTION, transaction_id="f3a1", unit="W", phases=1)
    assert call("ocpp2.0.1", command) == {
        "evseId": 2,
        "chargingProfile": {
            "id": 23,
            "transactionId": "f3a1",
            "stackLevel": 0,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Relative",
            "chargingSchedule": [
                {
                    "id": 1,
                    "chargingRateUnit": "W",
                    "chargingSchedulePeriod": [
                        {"startPeriod": 0, "limit": 9_653, "numberPhases": 1}
                    ],
                }
            ],
        },
    }


def test_the_whole_chargers_limit_is_absolute_because_it_is_relative_to_nothing() -> None:
    command = limit(LimitPurpose.CHARGER_MAX, connector_id=0)
    old = call("ocpp1.6", command)["csChargingProfiles"]
    new = call("ocpp2.0.1", command)["chargingProfile"]
    assert old["chargingProfilePurpose"] == "ChargePointMaxProfile"
    assert new["chargingProfilePurpose"] == "ChargingStationMaxProfile"
    assert old["chargingProfileKind"] == new["chargingProfileKind"] == "Absolute"
    assert old["chargingSchedule"]["startSchedule"] == "2024-01-01T00:00:00Z"
    assert new["chargingSchedule"][0]["startSchedule"] == "2024-01-01T00:00:00Z"


def test_a_limit_is_never_rounded_up() -> None:
    for limit_ma in (0, 1, 99, 5_999, 6_000, 16_099, 31_999):
        profile = call("ocpp1.6", limit(LimitPurpose.DEFAULT, limit_ma=limit_ma))
        schedule = profile["csChargingProfiles"]["chargingSchedule"]
        sent_a = schedule["chargingSchedulePeriod"][0]["limit"]
        assert 0 <= limit_ma - sent_a * 1_000 < 100.001


def test_one_profile_for_each_connector_and_purpose() -> None:
    ids = {
        call("ocpp1.6", limit(purpose, connector_id=connector))["csChargingProfiles"][
            "chargingProfileId"
        ]
        for purpose in LimitPurpose
        for connector in range(20)
    }
    assert len(ids) == 60


@pytest.mark.parametrize("version", DIALECTS)
def test_every_other_action_of_a_csms_can_be_sent_raw(version: str) -> None:
    for action in actions(version, Direction.CSMS):
        assert DIALECTS[version].call(RawCall(action, {"a": 1}), NOW_MS) == (action, {"a": 1})


# --- events ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("Available", ConnectorStatus.AVAILABLE),
        ("Preparing", ConnectorStatus.PREPARING),
        ("Charging", ConnectorStatus.CHARGING),
        ("SuspendedEV", ConnectorStatus.SUSPENDED_EV),
        ("SuspendedEVSE", ConnectorStatus.SUSPENDED_EVSE),
        ("Finishing", ConnectorStatus.FINISHING),
        ("Reserved", ConnectorStatus.RESERVED),
        ("Unavailable", ConnectorStatus.UNAVAILABLE),
        ("Faulted", ConnectorStatus.FAULTED),
    ],
)
def test_statuses_of_1_6(status: str, expected: ConnectorStatus) -> None:
    payload = {"connectorId": 1, "errorCode": "NoError", "status": status, "timestamp": AT}
    assert OLD.event("StatusNotification", payload) == events.StatusChanged(1, expected, "", NOW_MS)


def test_a_boot_without_the_optional_fields() -> None:
    payload = {"chargePointVendor": "V", "chargePointModel": "M", "chargeBoxSerialNumber": "B1"}
    assert OLD.event("BootNotification", payload) == events.Booted("V", "M", "", "B1")


def test_an_integer_transaction_id_is_text_whatever_its_size() -> None:
    event = OLD.event(
        "StopTransaction",
        {"transactionId": 9_223_372_036_854_775_807, "meterStop": 1, "timestamp": AT},
    )
    assert isinstance(event, events.TransactionEnded)
    assert event.transaction_id == "9223372036854775807"
    assert event.reason == "Local"


def test_the_registers_at_begin_and_end_are_those_that_say_so() -> None:
    meter_value = [
        {"timestamp": AT, "sampledValue": [{"value": wh, "context": context}]}
        for wh, context in ((5, "Sample.Periodic"), (1, "Transaction.Begin"), (9, "Sample.Clock"))
    ]
    payload = {
        "eventType": "Started",
        "timestamp": AT,
        "triggerReason": "RemoteStart",
        "seqNo": 0,
        "transactionInfo": {"transactionId": "t", "remoteStartId": 4, "chargingState": "Charging"},
        "evse": {"id": 3, "connectorId": 1},
        "idToken": {"idToken": "TAG", "type": "Central"},
        "meterValue": meter_value,
        "offline": True,
    }
    event = NEW.event("TransactionEvent", payload)
    assert isinstance(event, events.TransactionStarted)
    assert (event.connector_id, event.meter_start_wh, event.remote_start_id) == (3, 1, 4)
    assert (event.charging_state, event.offline) == (ConnectorStatus.CHARGING, True)
    assert event.readings[0] == MeterReading(NOW_MS, 5, context="Sample.Periodic")
    ended = NEW.event("TransactionEvent", payload | {"eventType": "Ended"})
    assert isinstance(ended, events.TransactionEnded)
    assert ended.meter_stop_wh == 9


def test_an_evse_number_out_of_all_bounds_is_the_station_itself() -> None:
    event = NEW.event("MeterValues", {"evseId": 2**40, "meterValue": []})
    assert isinstance(event, events.MeterReported)
    assert event.connector_id == 0


@pytest.mark.parametrize("version", DIALECTS)
def test_notices_are_noted_and_the_rest_means_nothing(version: str) -> None:
    dialect = DIALECTS[version]
    for action in actions(version, Direction.STATION) - (dialect.handled - dialect.notices):
        event = dialect.event(action, {"a": 1})
        if action in dialect.notices:
            assert event == events.Noted(action, {"a": 1})
        else:
            assert event is None
