"""What a vehicle says over ISO 15118 reaches its site, for the session it is about."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import START_MS, Charger

from controlplane.site.messages import ConnectorState, VehicleLimits
from controlplane.units import MS_PER_HOUR, iso_from_ms

ALTERNATING = {"energyAmount": 22_000, "evMinCurrent": 6, "evMaxCurrent": 16, "evMaxVoltage": 230}


def settled() -> Charger:
    charger = Charger()
    charger.settle("ocpp2.0.1")
    return charger


def needs(charger: Charger, *, evse: int = 1, mode: str = "AC_two_phase", **said: Any) -> str:
    answer = charger.call(
        "NotifyEVChargingNeeds",
        evseId=evse,
        chargingNeeds={"requestedEnergyTransfer": mode, **said},
    )
    return str(answer["status"])


def event(charger: Charger, kind: str, seq_no: int, wh: int) -> None:
    charger.call(
        "TransactionEvent",
        eventType=kind,
        timestamp=charger.at(),
        triggerReason="Authorized",
        seqNo=seq_no,
        transactionInfo={"transactionId": "f3a1", "chargingState": "Charging"},
        evse={"id": 1},
        idToken={"idToken": "ANN", "type": "eMAID"},
        meterValue=[{"timestamp": charger.at(), "sampledValue": [{"value": wh}]}],
    )


def said(charger: Charger) -> VehicleLimits:
    session = charger.told(ConnectorState)[-1].session
    assert session is not None
    assert session.id_token == "ANN"
    assert session.vehicle is not None
    return session.vehicle


def test_needs_on_alternating_current() -> None:
    charger = settled()
    event(charger, "Started", 0, 1_000)
    charger.wait(MS_PER_HOUR)
    event(charger, "Updated", 1, 6_000)
    leaves_ms = START_MS + 9 * MS_PER_HOUR
    status = needs(charger, departureTime=iso_from_ms(leaves_ms), acChargingParameters=ALTERNATING)
    assert status == "Accepted"
    assert said(charger) == VehicleLimits(
        current_min_ma=6_000,
        current_max_ma=16_000,
        phases=2,
        need_wh=27_000,
        departure_ms=leaves_ms,
        said_ms=charger.now_ms,
    )
    journal = charger.journal("session.vehicle_needs")
    assert journal[-1]["need_wh"] == 27_000


@pytest.mark.parametrize(
    ("direct", "power_w", "need_wh"),
    [
        ({"evMaxPower": 50_000, "energyAmount": 30_000}, 50_000, 30_000),
        ({"stateOfCharge": 40, "evEnergyCapacity": 60_000}, 80_000, 36_000),
        ({"stateOfCharge": 40, "evEnergyCapacity": 60_000, "fullSoC": 90}, 80_000, 30_000),
        ({"stateOfCharge": 95, "evEnergyCapacity": 60_000, "fullSoC": 90}, 80_000, 0),
        ({"stateOfCharge": 40}, 80_000, None),
    ],
)
def test_needs_on_direct_current(direct: dict[str, int], power_w: int, need_wh: int | None) -> None:
    charger = settled()
    event(charger, "Started", 0, 0)
    parameters = {"evMaxCurrent": 200, "evMaxVoltage": 400, **direct}
    assert needs(charger, mode="DC", dcChargingParameters=parameters) == "Accepted"
    vehicle = said(charger)
    assert (vehicle.power_max_w, vehicle.need_wh) == (power_w, need_wh)
    assert vehicle.current_max_ma is None, "amperes of the battery are none of the grid"
    assert vehicle.phases is None


def test_zeros_and_wild_departures_count_as_not_said() -> None:
    charger = settled()
    event(charger, "Started", 0, 0)
    for departure_ms in (START_MS - MS_PER_HOUR, START_MS + 1_000 * MS_PER_HOUR):
        needs(
            charger,
            departureTime=iso_from_ms(departure_ms),
            acChargingParameters=dict.fromkeys(ALTERNATING, 0),
        )
        assert said(charger) == VehicleLimits(phases=2, said_ms=charger.now_ms)


def test_needs_before_the_transaction_wait_for_it() -> None:
    charger = settled()
    assert needs(charger, acChargingParameters=ALTERNATING) == "Processing"
    charger = charger.reborn()
    charger.connect("ocpp2.0.1", resumed=True)
    event(charger, "Started", 0, 0)
    assert said(charger).need_wh == 22_000


def test_needs_of_a_vehicle_that_went_away_are_forgotten() -> None:
    charger = settled()
    needs(charger, acChargingParameters=ALTERNATING)
    charger.wait(MS_PER_HOUR)
    event(charger, "Started", 0, 0)
    session = charger.told(ConnectorState)[-1].session
    assert session is not None
    assert session.vehicle is None


def test_no_limit_will_follow_for_what_is_not_described() -> None:
    charger = settled()
    assert needs(charger, evse=0) == needs(charger, evse=9) == "Rejected"
    stranger = Charger()
    stranger.connect("ocpp2.0.1")
    assert needs(stranger) == "Rejected"
