"""What a station says is in force, beside what it was told."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import Charger

from controlplane.actor import Call


def ready(*, offers: bool = True, **description: Any) -> Charger:
    """A charger that has settled, and has said whether it does smart charging."""
    charger = Charger()
    charger.assign(offline_a=6.0, **description)
    charger.connect()
    charger.call("BootNotification", chargePointVendor="V", chargePointModel="M")
    charger.wait(2_000)
    while charger.outstanding is not None:
        if charger.outstanding.action == "GetConfiguration" and offers:
            key = {"key": "ChargeProfileMaxStackLevel", "value": "8", "readonly": True}
            charger.answer(configurationKey=[key])
        else:
            charger.answer()
    return charger


def limited(charger: Charger, session: str, limit_ma: int = 16_000) -> None:
    charger.limit(7, limit_ma, session)
    charger.accept_all()


def questions(charger: Charger) -> list[dict[str, Any]]:
    return [
        effect.payload
        for effect in charger.all
        if isinstance(effect, Call) and effect.action == "GetCompositeSchedule"
    ]


def schedule(limit: float, *, unit: str = "A") -> dict[str, Any]:
    return {
        "status": "Accepted",
        "connectorId": 1,
        "chargingSchedule": {
            "chargingRateUnit": unit,
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": limit}],
        },
    }


def test_the_station_is_asked_once_for_each_session_when_its_limit_has_settled() -> None:
    charger = ready()
    transaction_id = charger.start_16()
    limited(charger, "CP1-1")
    assert questions(charger) == []
    charger.wait(10_000)
    assert questions(charger) == [{"connectorId": 1, "duration": 60, "chargingRateUnit": "A"}]
    charger.answer(**schedule(16.0))
    limited(charger, "CP1-1", 10_000)
    charger.wait(60_000)
    assert len(questions(charger)) == 1
    assert charger.journal("charger.schedule_differs") == []
    charger.stop_16(transaction_id, 2_000)
    charger.start_16()
    limited(charger, "CP1-2")
    charger.wait(10_000)
    assert len(questions(charger)) == 2


@pytest.mark.parametrize(
    ("said", "differs"), [(16.9, False), (15.1, False), (32.0, True), (6, True)]
)
def test_what_differs_by_more_than_an_ampere_is_journalled(said: float, differs: bool) -> None:
    charger = ready()
    charger.start_16()
    limited(charger, "CP1-1")
    charger.wait(10_000)
    assert len(questions(charger)) == 1
    charger.answer(**schedule(said))
    found = charger.journal("charger.schedule_differs")
    assert [(each["session_id"], each["expected"], each["said"]) for each in found] == (
        [("CP1-1", 16.0, said)] if differs else []
    )


def test_watts_are_compared_with_watts() -> None:
    charger = ready(limit_unit="W")
    charger.start_16()
    limited(charger, "CP1-1")
    charger.wait(10_000)
    assert questions(charger)[0]["chargingRateUnit"] == "W"
    charger.answer(**schedule(16 * 230 * 3, unit="W"))
    assert charger.journal("charger.schedule_differs") == []


def test_a_station_that_offers_no_schedules_is_never_asked() -> None:
    charger = ready(offers=False)
    charger.start_16()
    limited(charger, "CP1-1")
    charger.wait(60_000)
    assert questions(charger) == []


def test_a_station_that_refuses_is_not_asked_again_until_it_comes_back() -> None:
    charger = ready()
    transaction_id = charger.start_16()
    limited(charger, "CP1-1")
    charger.wait(10_000)
    charger.refuse("NotSupported")
    charger.stop_16(transaction_id, 2_000)
    transaction_id = charger.start_16()
    limited(charger, "CP1-2")
    charger.wait(60_000)
    assert len(questions(charger)) == 1
    charger.stop_16(transaction_id, 3_000)
    charger.disconnect()
    charger.connect()
    charger.wait(2_000)
    charger.accept_all()
    charger.start_16()
    limited(charger, "CP1-3")
    charger.wait(10_000)
    assert len(questions(charger)) == 2


def test_nothing_is_asked_while_a_newer_limit_is_on_its_way() -> None:
    charger = ready()
    charger.start_16()
    limited(charger, "CP1-1")
    charger.wait(9_000)
    charger.limit(8, 10_000, "CP1-1")
    charger.wait(5_000)
    assert questions(charger) == []
    charger.answer()
    charger.wait(10_000)
    assert len(questions(charger)) == 1
