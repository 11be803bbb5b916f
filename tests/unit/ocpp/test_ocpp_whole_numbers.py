"""For a JSON schema 80.0 is an integer; what is remembered of it must be one for the store too."""

from __future__ import annotations

import pytest

from controlplane.ocpp import schemas
from controlplane.ocpp.events import ChargingNeedsNotified
from controlplane.ocpp.versions import DIALECTS


@pytest.mark.parametrize("version", [version for version in DIALECTS if version != "ocpp1.6"])
def test_a_state_of_charge_with_a_point_is_a_whole_number(version: str) -> None:
    direct = {"evMaxCurrent": 100, "evMaxVoltage": 400, "evEnergyCapacity": 60_000}
    payload = {
        "evseId": 1,
        "chargingNeeds": {
            "requestedEnergyTransfer": "DC",
            "dcChargingParameters": direct | {"stateOfCharge": 80.0, "fullSoC": 90.0},
        },
    }
    if schemas.check_call(version, "NotifyEVChargingNeeds", payload) is not None:
        pytest.skip("this version has other parameters")
    event = DIALECTS[version].event("NotifyEVChargingNeeds", payload)
    assert isinstance(event, ChargingNeedsNotified)
    assert (repr(event.soc_percent), repr(event.energy_wh)) == ("80", "6000")
