"""What the schemas let through, and the CALLERROR for what they do not."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.ocpp.schemas import (
    VERSIONS,
    Direction,
    actions,
    check_call,
    check_command,
    check_result,
)

START_16: dict[str, Any] = {
    "connectorId": 1,
    "idTag": "TAG",
    "meterStart": 0,
    "timestamp": "2024-01-01T00:00:00Z",
}


def code(version: str, action: str, payload: dict[str, Any]) -> str | None:
    fault = check_call(version, action, payload)
    return None if fault is None else fault.code


def test_every_schema_of_every_version_compiles() -> None:
    for version in VERSIONS:
        for action in actions(version, Direction.STATION):
            check_call(version, action, {})
            check_result(version, action, {})
        for action in actions(version, Direction.CSMS):
            check_command(version, action, {})
            check_result(version, action, {})


def test_every_message_is_sent_by_one_side() -> None:
    for version, count in {"ocpp1.6": 39, "ocpp2.0.1": 64, "ocpp2.1": 91}.items():
        station, csms = actions(version, Direction.STATION), actions(version, Direction.CSMS)
        assert station & csms == {"DataTransfer"}
        assert len(station | csms) == count


def test_unknown_and_foreign_actions_are_told_apart() -> None:
    assert code("ocpp1.6", "TransactionEvent", {}) == "NotImplemented"
    assert code("ocpp1.6", "HeartBeat", {}) == "NotImplemented"
    assert code("ocpp2.0.1", "Reset", {"type": "Immediate"}) == "NotSupported"
    assert check_command("ocpp2.0.1", "Heartbeat", {}) is not None


@pytest.mark.parametrize(
    ("change", "old_code"),
    [
        ({"connectorId": "1"}, "TypeConstraintViolation"),
        ({"idTag": None}, "TypeConstraintViolation"),
        ({"extra": 1}, "FormationViolation"),
        ({"idTag": "x" * 300}, "PropertyConstraintViolation"),
    ],
)
def test_violations_have_the_code_of_their_kind(change: dict[str, Any], old_code: str) -> None:
    assert code("ocpp1.6", "StartTransaction", START_16) is None
    assert code("ocpp1.6", "StartTransaction", START_16 | change) == old_code


def test_a_missing_field_is_spelled_as_each_version_does() -> None:
    assert code("ocpp1.6", "StartTransaction", {}) == "OccurenceConstraintViolation"
    assert code("ocpp2.0.1", "StatusNotification", {}) == "OccurrenceConstraintViolation"
    fault = check_call("ocpp1.6", "Authorize", {"idTag": 5})
    assert fault is not None
    assert fault.description.startswith("idTag: ")


def test_a_description_is_bounded_whatever_the_payload() -> None:
    fault = check_call("ocpp1.6", "Authorize", {"idTag": "x" * 60_000})
    assert fault is not None
    assert len(fault.description) <= 255


def sampled(**sample: Any) -> dict[str, Any]:
    return {
        "connectorId": 1,
        "meterValue": [{"timestamp": "2024-01-01T00:00:00", "sampledValue": [sample]}],
    }


@pytest.mark.parametrize(
    "payload",
    [
        sampled(value="1", context="sample.periodic"),
        sampled(value=1.5, phase="L1+N", unit="wh"),
        {
            "connectorId": 1,
            "meterValue": [{"timestamp": "yesterday", "sampledValue": []}],
        },
    ],
)
def test_meter_values_are_taken_as_meters_send_them(payload: dict[str, Any]) -> None:
    assert code("ocpp1.6", "MeterValues", payload) is None


def test_a_fractional_meter_start_and_a_long_tag_do_not_lose_the_transaction() -> None:
    payload = START_16 | {"meterStart": 12.7, "idTag": "04E91F3A2B5C80-SUFFIX-OF-READER"}
    assert code("ocpp1.6", "StartTransaction", payload) is None


def test_tenths_of_an_ampere_pass_whatever_their_binary_fraction() -> None:
    for tenths in range(4_000):
        payload = {
            "connectorId": 1,
            "csChargingProfiles": {
                "chargingProfileId": 1,
                "stackLevel": 0,
                "chargingProfilePurpose": "TxDefaultProfile",
                "chargingProfileKind": "Relative",
                "chargingSchedule": {
                    "chargingRateUnit": "A",
                    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": tenths / 10}],
                },
            },
        }
        assert check_command("ocpp1.6", "SetChargingProfile", payload) is None


def test_what_cannot_be_written_as_a_frame_is_refused() -> None:
    fault = check_command("ocpp2.0.1", "DataTransfer", {"vendorId": "V", "data": 10**30})
    assert fault is not None


def test_an_answer_is_checked_against_the_answer() -> None:
    assert check_result("ocpp1.6", "Reset", {"status": "Accepted"}) is None
    assert check_result("ocpp1.6", "Reset", {"status": "Maybe"}) is not None
    assert check_result("ocpp1.6", "Nonsense", {}) is not None
