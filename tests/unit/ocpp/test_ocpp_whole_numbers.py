"""For a JSON schema 80.0 is an integer; what is remembered of it must be one for the store too."""

from __future__ import annotations

import pytest

from controlplane.ocpp import schemas
from controlplane.ocpp.answers import streams_answered
from controlplane.ocpp.events import ChargingNeedsNotified, VariablesNoticed
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


@pytest.mark.parametrize("version", [version for version in DIALECTS if version != "ocpp1.6"])
def test_the_number_of_a_monitor_with_a_point_is_a_whole_one(version: str) -> None:
    data = {
        "eventId": 1.0,
        "timestamp": "2026-03-01T12:00:00Z",
        "trigger": "Alerting",
        "actualValue": "71",
        "eventNotificationType": "HardWiredMonitor",
        "variableMonitoringId": 5.0,
        "component": {"name": "Connector"},
        "variable": {"name": "Temperature"},
    }
    if version == "ocpp2.1":
        data["severity"] = 2.0
    payload = {"generatedAt": "2026-03-01T12:00:00Z", "seqNo": 0.0, "eventData": [data]}
    assert schemas.check_call(version, "NotifyEvent", payload) is None
    event = DIALECTS[version].event("NotifyEvent", payload)
    assert isinstance(event, VariablesNoticed)
    (notice,) = event.notices
    assert repr(notice.monitor_id) == "5"
    assert repr(notice.severity) == ("2" if version == "ocpp2.1" else "None")


def test_the_numbers_of_a_stream_with_a_point_are_whole_ones() -> None:
    stream = {"id": 7.0, "variableMonitoringId": 5.0, "params": {"interval": 60.0, "values": 10.0}}
    (found,) = streams_answered({"constantStreamData": [stream]})
    assert (repr(found.stream_id), repr(found.monitor_id)) == ("7", "5")
    assert (repr(found.rate.interval_s), repr(found.rate.values)) == ("60", "10")
