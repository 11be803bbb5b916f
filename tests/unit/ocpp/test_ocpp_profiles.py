"""An operator's own charging profiles, in the form that each version wants."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controlplane.ocpp import commands
from controlplane.ocpp.commands import ChargingProfile, LimitPeriod, ProfilePurpose, ScheduleKind
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.schemas import check_command
from controlplane.ocpp.versions import DIALECTS

NOW_MS = 1_767_268_800_000
PROFILE = ChargingProfile(
    500,
    ProfilePurpose.TRANSACTION,
    ScheduleKind.ABSOLUTE,
    "A",
    (LimitPeriod(15.99), LimitPeriod(8, 600, 1)),
    stack_level=3,
    transaction_id="7",
    duration_s=3_600,
    valid_until_ms=NOW_MS + 7_200_000,
)
DAILY = msgspec.structs.replace(
    PROFILE,
    purpose=ProfilePurpose.DEFAULT,
    kind=ScheduleKind.DAILY,
    transaction_id=None,
    start_ms=NOW_MS,
)


def written(version: str, profile: ChargingProfile, connector_id: int = 1) -> dict[str, Any]:
    call = DIALECTS[version].call(commands.SetProfile(connector_id, profile), NOW_MS)
    assert not isinstance(call, Fault), call
    action, payload = call
    assert action == "SetChargingProfile"
    assert check_command(version, action, payload) is None
    return payload


def refusal(version: str, command: commands.Command) -> str:
    fault = DIALECTS[version].call(command, NOW_MS)
    assert isinstance(fault, Fault)
    return fault.description


def test_a_profile_is_written_as_16_wants_it() -> None:
    assert written("ocpp1.6", PROFILE) == {
        "connectorId": 1,
        "csChargingProfiles": {
            "chargingProfileId": 500,
            "transactionId": 7,
            "stackLevel": 3,
            "chargingProfilePurpose": "TxProfile",
            "chargingProfileKind": "Absolute",
            "validTo": "2026-01-01T14:00:00Z",
            "chargingSchedule": {
                "duration": 3_600,
                "startSchedule": "2026-01-01T12:00:00Z",
                "chargingRateUnit": "A",
                "chargingSchedulePeriod": [
                    {"startPeriod": 0, "limit": 15.9},
                    {"startPeriod": 600, "limit": 8.0, "numberPhases": 1},
                ],
            },
        },
    }


@pytest.mark.parametrize("version", ["ocpp2.0.1", "ocpp2.1"])
def test_a_profile_is_written_as_2x_wants_it(version: str) -> None:
    own = msgspec.structs.replace(PROFILE, transaction_id="f3a1", kind=ScheduleKind.RELATIVE)
    profile = written(version, own)["chargingProfile"]
    assert (profile["id"], profile["transactionId"]) == (500, "f3a1")
    (schedule,) = profile["chargingSchedule"]
    assert "startSchedule" not in schedule


@pytest.mark.parametrize("version", DIALECTS)
def test_a_schedule_recurs_for_the_whole_charger(version: str) -> None:
    payload = written(version, DAILY, 0)
    profile = payload.get("csChargingProfiles") or payload["chargingProfile"]
    assert (profile["chargingProfileKind"], profile["recurrencyKind"]) == ("Recurring", "Daily")
    maximum = msgspec.structs.replace(DAILY, purpose=ProfilePurpose.CHARGER_MAX)
    written(version, maximum, 0)


@pytest.mark.parametrize("version", DIALECTS)
@pytest.mark.parametrize(
    ("connector_id", "change", "words"),
    [
        (1, {"profile_id": 12}, "Loadstar's own"),
        (1, {"periods": ()}, "1 to 1024 periods"),
        (1, {"periods": (LimitPeriod(6, 10),)}, "begins at 0"),
        (1, {"periods": (LimitPeriod(6), LimitPeriod(7))}, "after the one before"),
        (1, {"periods": (LimitPeriod(-6),)}, "0 or more"),
        (1, {"periods": (LimitPeriod(float("nan")),)}, "0 or more"),
        (1, {"transaction_id": None}, "names its transaction"),
        (0, {}, "on its own"),
        (1, {"kind": ScheduleKind.WEEKLY}, "has a start"),
    ],
)
def test_what_no_station_would_take_is_not_sent(
    version: str, connector_id: int, change: dict[str, Any], words: str
) -> None:
    wrong = msgspec.structs.replace(PROFILE, **change)
    assert words in refusal(version, commands.SetProfile(connector_id, wrong))


def test_a_version_without_a_word_says_so() -> None:
    generated = msgspec.structs.replace(DAILY, purpose=ProfilePurpose.LOCAL_GENERATION)
    written("ocpp2.1", generated)
    assert "local_generation" in refusal("ocpp1.6", commands.SetProfile(1, generated))
    named = msgspec.structs.replace(PROFILE, transaction_id="f3a1")
    assert "numbers" in refusal("ocpp1.6", commands.SetProfile(1, named))
    others = msgspec.structs.replace(DAILY, purpose=ProfilePurpose.EXTERNAL)
    assert "theirs" in refusal("ocpp2.0.1", commands.SetProfile(1, others))


@pytest.mark.parametrize("version", DIALECTS)
def test_a_profile_is_removed_by_its_number_but_for_loadstars_own(version: str) -> None:
    call = DIALECTS[version].call(commands.ClearProfile(500), NOW_MS)
    assert not isinstance(call, Fault)
    assert check_command(version, *call) is None
    assert 500 in call[1].values()
    assert "Loadstar's own" in refusal(version, commands.ClearProfile(11))
