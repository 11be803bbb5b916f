"""Samples that a site wants before the station takes one by itself."""

from __future__ import annotations

import pytest
from charger_driver import Charger

from controlplane.actor import Call
from controlplane.charger.messages import SampleWanted


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        ("ocpp1.6", {"requestedMessage": "MeterValues", "connectorId": 1}),
        ("ocpp2.0.1", {"requestedMessage": "TransactionEvent", "evse": {"id": 1}}),
        ("ocpp2.1", {"requestedMessage": "TransactionEvent", "evse": {"id": 1}}),
    ],
)
def test_the_station_is_asked_to_measure(version: str, asked: dict[str, object]) -> None:
    charger = Charger()
    charger.settle(version)
    charger.tell(SampleWanted(1))
    assert charger.found(Call)[0].payload == asked
    charger.tell(SampleWanted(1))
    assert charger.found(Call) == [], "it has not answered yet"
    charger.answer()
    charger.tell(SampleWanted(1))
    assert charger.found(Call)[0].payload == asked


def test_a_station_that_cannot_is_asked_once_on_a_connection() -> None:
    charger = Charger()
    charger.settle()
    charger.tell(SampleWanted(1))
    charger.refuse("NotImplemented")
    charger.tell(SampleWanted(1))
    assert charger.found(Call) == []
    charger.disconnect()
    charger.tell(SampleWanted(1))
    assert charger.found(Call) == []
    charger.connect()
    charger.wait(2_000)
    charger.accept_all()
    charger.tell(SampleWanted(1))
    assert len(charger.found(Call)) == 1
