"""Composite schedules worked out by hand, as profiles go over the wire.

Each case is a JSON file: the rule with its source, the profiles as SetChargingProfile carries them,
the question, and `composite`, pairs of a second after the question and the limit from then on.
Loadstar's own computation must come to it, and so must the simulated station's, which was written
apart from it; of what is not for every station Loadstar's alone."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from controlplane.ocpp.composite import (
    Kind,
    Profile,
    ProfilePeriod,
    Purpose,
    RunningTransaction,
    composite,
)
from controlplane.ocpp.readings import instant_ms
from controlplane.sim import profiles as simulated

FOLDER = Path(__file__).parent
CASES = sorted(path.stem for path in FOLDER.glob("*.json"))
PURPOSES = {
    "ChargePointMaxProfile": Purpose.STATION_MAX,
    "ChargingStationMaxProfile": Purpose.STATION_MAX,
    "ChargingStationExternalConstraints": Purpose.EXTERNAL,
    "TxDefaultProfile": Purpose.DEFAULT,
    "TxProfile": Purpose.TRANSACTION,
    "PriorityCharging": Purpose.PRIORITY,
    "LocalGeneration": Purpose.LOCAL_GENERATION,
}
OF_EVERY_STATION = {Purpose.STATION_MAX, Purpose.DEFAULT, Purpose.TRANSACTION}


def read(name: str) -> dict[str, Any]:
    case: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return case


def parts(told: dict[str, Any]) -> tuple[int, dict[str, Any], dict[str, Any]]:
    """Connector, profile and schedule of a SetChargingProfile of either version."""
    if "evseId" in told:
        profile = told["chargingProfile"]
        return told["evseId"], profile, profile["chargingSchedule"][0]
    profile = told["csChargingProfiles"]
    return told["connectorId"], profile, profile["chargingSchedule"]


def loadstars(told: dict[str, Any]) -> Profile:
    connector_id, profile, schedule = parts(told)
    kind = profile["chargingProfileKind"]
    transaction_id = profile.get("transactionId")
    return Profile(
        profile_id=profile["id"] if "id" in profile else profile["chargingProfileId"],
        connector_id=connector_id,
        stack_level=profile["stackLevel"],
        purpose=PURPOSES[profile["chargingProfilePurpose"]],
        kind=Kind((profile["recurrencyKind"] if kind == "Recurring" else kind).lower()),
        unit=schedule["chargingRateUnit"],
        periods=tuple(
            ProfilePeriod(
                each["startPeriod"], round(each["limit"] * 1_000), each.get("numberPhases")
            )
            for each in schedule["chargingSchedulePeriod"]
        ),
        start_ms=instant_ms(schedule.get("startSchedule")),
        duration_s=schedule.get("duration"),
        valid_from_ms=instant_ms(profile.get("validFrom")),
        valid_to_ms=instant_ms(profile.get("validTo")),
        transaction_id=None if transaction_id is None else str(transaction_id),
    )


def at_ms(text: str) -> int:
    found = instant_ms(text)
    assert found is not None
    return found


@pytest.mark.parametrize("name", CASES)
def test_loadstar_computes_what_the_specification_says(name: str) -> None:
    case = read(name)
    running = case["transaction"]
    found = composite(
        map(loadstars, case["profiles"]),
        connector_id=case["connector_id"],
        at_ms=at_ms(case["at"]),
        duration_s=case["duration_s"],
        unit=case["unit"],
        voltage_v=case["voltage_v"],
        phases=case["phases"],
        transaction=running
        and RunningTransaction(
            running["id"], at_ms(running["started"]), running.get("priority", False)
        ),
    )
    told = [(each.start_s, each.limit_milli) for each in found]
    wanted = [(start_s, limit * 1_000) for start_s, limit in case["composite"]]
    assert told == wanted, case["rule"]


@pytest.mark.parametrize("name", CASES)
def test_the_simulated_station_computes_the_same(name: str) -> None:
    case = read(name)
    told = [parts(each) for each in case["profiles"]]
    purposes = {PURPOSES[profile["chargingProfilePurpose"]] for _, profile, _ in told}
    if not purposes <= OF_EVERY_STATION:
        pytest.skip("the simulated station has no such purpose")
    book = simulated.ProfileBook()
    for connector_id, profile, schedule in told:
        book.install(simulated.profile_from_wire(snake(profile), snake(schedule), connector_id))
    running = case["transaction"]
    situation = simulated.Situation(
        connector_id=case["connector_id"],
        voltage_v=case["voltage_v"],
        phases=case["phases"],
        current_max_a=32,
        transaction_id=running and running["id"],
        transaction_start_ms=running and at_ms(running["started"]),
    )
    found = book.composite(
        situation, at_ms=at_ms(case["at"]), duration_s=case["duration_s"], unit=case["unit"]
    )
    assert [list(each) for each in found] == case["composite"], case["rule"]


def snake(given: Any) -> Any:
    """As the `ocpp` package hands payloads on."""
    if isinstance(given, dict):
        return {re.sub(r"(?=[A-Z])", "_", key).lower(): snake(each) for key, each in given.items()}
    return [snake(each) for each in given] if isinstance(given, list) else given
