"""Limits that other systems set on a charger, and schedules by which vehicles mean to charge."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import Charger

from controlplane.actor import Ask
from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.network import LimitUnit
from controlplane.site.messages import ConnectorState

Period = dict[str, Any]


def settled(**description: Any) -> Charger:
    charger = Charger()
    charger.settle("ocpp2.0.1", **description)
    charger.all.clear()
    return charger


def schedule(*limits: tuple[int, float], unit: str = "A", **more: Any) -> dict[str, Any]:
    periods = [{"startPeriod": start_s, "limit": limit} for start_s, limit in limits]
    return {"id": 1, "chargingRateUnit": unit, "chargingSchedulePeriod": periods, **more}


def limited(
    charger: Charger, *schedules: dict[str, Any], source: str = "EMS", evse: int | None = None
) -> None:
    payload: dict[str, Any] = {"chargingLimit": {"chargingLimitSource": source}}
    if schedules:
        payload["chargingSchedule"] = list(schedules)
    if evse is not None:
        payload["evseId"] = evse
    assert charger.call("NotifyChargingLimit", **payload) == {}


def cleared(charger: Charger, *, source: str = "EMS", evse: int | None = None) -> None:
    payload: dict[str, Any] = {"chargingLimitSource": source}
    if evse is not None:
        payload["evseId"] = evse
    assert charger.call("ClearedChargingLimit", **payload) == {}


def external_ma(charger: Charger) -> dict[int, int | None]:
    """What the site was told last of each connector."""
    return {state.connector_id: state.external_ma for state in charger.told(ConnectorState)}


def shown(charger: Charger) -> tuple[int | None, str]:
    charger.tell(Ask("view", GetCharger()))
    view = charger.answered("view")[-1]
    assert isinstance(view, ChargerView)
    return view.connectors[0].external_limit_ma, view.connectors[0].external_limit_source


# --- limits of other systems ----------------------------------------------------------------------


def test_a_limit_on_the_whole_charger_bounds_every_connector() -> None:
    charger = settled(connectors=2)
    limited(charger, schedule((0, 10.5)))
    assert external_ma(charger) == {1: 10_500, 2: 10_500}
    assert shown(charger) == (10_500, "EMS")
    (entry,) = charger.journal("charger.external_limit")
    assert (entry["connector_id"], entry["source"], entry["limit_ma"]) == (0, "EMS", 10_500)


def test_a_limit_in_watts_counts_on_all_phases_of_the_connector() -> None:
    charger = settled()
    limited(charger, schedule((0, 6_900), unit="W"), evse=1)
    assert external_ma(charger) == {1: 10_000}


def test_the_lowest_of_several_sources_and_schedules_counts() -> None:
    charger = settled()
    limited(charger, schedule((0, 16)), schedule((0, 12)), source="EMS")
    limited(charger, schedule((0, 14)), source="SO", evse=1)
    assert shown(charger) == (12_000, "EMS")
    cleared(charger, source="EMS")
    assert (external_ma(charger), shown(charger)) == ({1: 14_000}, (14_000, "SO"))
    cleared(charger, source="SO", evse=1)
    assert (external_ma(charger), shown(charger)) == ({1: None}, (None, ""))


def test_what_is_cleared_for_the_whole_charger_is_cleared_for_its_connectors() -> None:
    charger = settled(connectors=2)
    limited(charger, schedule((0, 10)), evse=1)
    limited(charger, schedule((0, 9)), evse=2)
    cleared(charger)
    assert external_ma(charger) == {1: None, 2: None}


def test_a_limit_follows_its_schedule_and_ends_with_it() -> None:
    charger = settled()
    limited(charger, schedule((0, 16), (600, 8), duration=900), evse=1)
    assert external_ma(charger) == {1: 16_000}
    charger.wait(600_000)
    assert external_ma(charger) == {1: 8_000}
    charger.wait(300_000)
    assert external_ma(charger) == {1: None}


def test_a_limit_that_begins_later_bounds_nothing_before() -> None:
    charger = settled()
    limited(charger, schedule((0, 7), startSchedule=charger.at(60_000)), evse=1)
    assert external_ma(charger) == {1: None}
    charger.wait(60_000)
    assert external_ma(charger) == {1: 7_000}


def test_a_limit_is_remembered_on_another_host_and_its_schedule_goes_on() -> None:
    charger = settled()
    limited(charger, schedule((0, 16), (600, 8)), evse=1)
    other = charger.reborn()
    assert external_ma(other) == {1: 16_000}
    other.wait(600_000)
    assert external_ma(other) == {1: 8_000}


def profile(level: int, limit_a: float, **more: Any) -> dict[str, Any]:
    return {
        "id": level + 1,
        "stackLevel": level,
        "chargingProfilePurpose": "ChargingStationExternalConstraints",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": [schedule((0, limit_a))],
        **more,
    }


def reported(charger: Charger, *profiles: dict[str, Any], source: str = "EMS") -> None:
    charger.call(
        "ReportChargingProfiles",
        requestId=1,
        chargingLimitSource=source,
        evseId=0,
        chargingProfile=list(profiles),
    )


def test_a_station_that_does_not_say_to_what_it_is_limited_is_asked() -> None:
    charger = settled()
    limited(charger)
    assert (external_ma(charger), shown(charger)) == ({1: None}, (None, "EMS"))
    call = charger.last_call()
    assert (call.action, call.payload) == (
        "GetChargingProfiles",
        {
            "requestId": 1,
            "evseId": 0,
            "chargingProfile": {"chargingProfilePurpose": "ChargingStationExternalConstraints"},
        },
    )
    limited(charger)
    charger.answer(status="Accepted")
    assert charger.outstanding is None, "it is asked once for both"
    reported(charger, profile(0, 20), profile(2, 9), profile(1, 16))
    assert (external_ma(charger), shown(charger)) == ({1: 9_000}, (9_000, "EMS"))
    cleared(charger)
    assert external_ma(charger) == {1: None}


def test_a_station_that_keeps_it_to_itself_is_bounded_by_nothing() -> None:
    charger = settled()
    limited(charger)
    charger.answer(status="NoProfiles")
    assert (external_ma(charger), shown(charger)) == ({1: None}, (None, "EMS"))


def test_a_reported_profile_holds_while_it_is_valid() -> None:
    charger = settled()
    begins, ends = charger.at(60_000), charger.at(120_000)
    reported(charger, profile(0, 9, validFrom=begins, validTo=ends))
    reported(charger, profile(0, 8, chargingProfileKind="Recurring"), source="SO")
    assert external_ma(charger) == {1: None}
    charger.wait(60_000)
    assert external_ma(charger) == {1: 9_000}
    charger.wait(60_000)
    assert external_ma(charger) == {1: None}


def test_what_was_notified_is_not_replaced_by_a_report() -> None:
    charger = settled()
    limited(charger, schedule((0, 12)))
    reported(charger, profile(0, 9))
    assert shown(charger) == (12_000, "EMS")


def test_a_boot_forgets_limits_and_a_triggered_one_does_not() -> None:
    charger = settled()
    limited(charger, schedule((0, 10)))
    for reason, left_ma in (("Triggered", 10_000), ("PowerUp", None)):
        charger.call(
            "BootNotification",
            reason=reason,
            chargingStation={"model": "M", "vendorName": "V"},
        )
        assert external_ma(charger) == {1: left_ma}


def test_the_latest_limits_count_where_there_is_no_room_for_all() -> None:
    charger = settled()
    limited(charger, schedule((0, 10)), evse=1)
    assert external_ma(charger) == {1: 10_000}
    for number in range(2, 18):
        limited(charger, schedule((0, 10)), evse=number)
    assert external_ma(charger) == {1: None}
    assert external_ma(charger.reborn()) == {1: None}


# --- schedules of vehicles ------------------------------------------------------------------------


def begun(charger: Charger, limit_ma: int = 16_000) -> None:
    """A session whose limit the station has acknowledged."""
    charger.call(
        "TransactionEvent",
        eventType="Started",
        timestamp=charger.at(),
        triggerReason="Authorized",
        seqNo=0,
        transactionInfo={"transactionId": "f3a1", "chargingState": "Charging"},
        evse={"id": 1},
        idToken={"idToken": "ANN", "type": "eMAID"},
    )
    charger.limit(1, limit_ma, "CP1-1")
    charger.accept_all()


def means_to_charge(charger: Charger, *limits: tuple[int, float], unit: str = "A") -> str:
    answer = charger.call(
        "NotifyEVChargingSchedule",
        timeBase=charger.at(),
        evseId=1,
        chargingSchedule=schedule(*limits, unit=unit),
    )
    return str(answer["status"])


@pytest.mark.parametrize(
    ("limits", "unit", "status"),
    [
        ([(0, 16)], "A", "Accepted"),
        ([(0, 10), (600, 16)], "A", "Accepted"),
        ([(0, 16.1)], "A", "Rejected"),
        ([(0, 10), (600, 32)], "A", "Rejected"),
        ([(0, 11_040)], "W", "Accepted"),
        ([(0, 11_100)], "W", "Rejected"),
    ],
)
def test_a_vehicles_schedule_is_held_against_its_limit(
    limits: list[tuple[int, float]], unit: str, status: str
) -> None:
    charger = settled()
    begun(charger)
    assert means_to_charge(charger, *limits, unit=unit) == status
    assert charger.journal("session.vehicle_schedule")[-1]["accepted"] is (status == "Accepted")


def test_efficiency_counts_where_the_vehicle_speaks_of_its_own_side() -> None:
    charger = settled(efficiency_percent=90, limit_unit=LimitUnit.W)
    begun(charger)
    assert means_to_charge(charger, (0, 9_936), unit="W") == "Accepted"
    assert means_to_charge(charger, (0, 9_940), unit="W") == "Rejected"


def test_the_site_is_asked_to_tell_a_rejected_vehicle_its_limit_anew() -> None:
    charger = settled()
    begun(charger)
    said = []
    for _ in range(5):
        charger.wait(1_000)
        assert means_to_charge(charger, (0, 32)) == "Rejected"
        states = charger.told(ConnectorState, latest=True)
        said += [
            state.session.vehicle.said_ms
            for state in states
            if state.session is not None and state.session.vehicle is not None
        ]
    assert len(said) == len(set(said)) == 3, "a vehicle that keeps to its schedule is left to it"


def test_a_schedule_on_a_connector_nobody_described_is_rejected() -> None:
    charger = settled()
    answer = charger.call(
        "NotifyEVChargingSchedule",
        timeBase=charger.at(),
        evseId=9,
        chargingSchedule=schedule((0, 6)),
    )
    assert answer["status"] == "Rejected"
