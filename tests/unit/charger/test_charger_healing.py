"""Repair from afar, and when it is left alone."""

from __future__ import annotations

from typing import Any

from charger_driver import SETTINGS, Charger

from controlplane.actor import Call
from controlplane.ocpp import commands

PAUSE_MS = 2 * SETTINGS.call_timeout_ms


def settled(version: str = "ocpp1.6", **description: Any) -> Charger:
    charger = Charger()
    charger.settle(version, **description)
    charger.all.clear()
    return charger


def resets(charger: Charger) -> int:
    return sum(1 for effect in charger.all if isinstance(effect, Call) and effect.action == "Reset")


def stages(charger: Charger) -> list[str]:
    return [entry["stage"] for entry in charger.journal("charger.healing")]


def test_a_faulted_connector_gets_a_soft_reset_after_a_pause() -> None:
    charger = settled()
    charger.status_16("Faulted", error="OtherError")
    assert charger.journal("charger.fault")[0]["error_code"] == "OtherError"
    charger.wait(PAUSE_MS - 1)
    assert resets(charger) == 0
    charger.wait(1)
    assert charger.last_call().payload == {"type": "Soft"}
    charger.answer()
    charger.status_16("Available")
    assert stages(charger) == ["found", "reset", "reset_answered", "recovered"]
    charger.wait(1_000 * PAUSE_MS)
    assert resets(charger) == 1


def test_a_fault_that_goes_by_itself_needs_no_reset() -> None:
    charger = settled()
    charger.status_16("Faulted", error="OtherError")
    charger.wait(PAUSE_MS // 2)
    charger.status_16("Available")
    charger.wait(10 * PAUSE_MS)
    assert resets(charger) == 0


def test_a_lasting_fault_gets_three_resets_with_growing_pauses_also_across_hosts() -> None:
    charger = settled()
    charger.status_16("Faulted", error="GroundFailure")
    charger.wait(PAUSE_MS)
    charger.answer()
    charger.wait(5 * PAUSE_MS - 1)
    assert resets(charger) == 1
    other = charger.reborn()
    other.connect(resumed=True, name=charger.connection)
    other.wait(5 * PAUSE_MS)
    other.answer()
    other.wait(25 * PAUSE_MS)
    other.answer()
    assert resets(other) == 2
    other.wait(1_000 * PAUSE_MS)
    assert resets(other) == 2
    assert "last_attempt" in stages(other)


def test_a_session_that_delivers_is_never_interrupted() -> None:
    charger = settled(connectors=2)
    number = charger.start_16(0, connector=2)
    charger.status_16("Faulted", error="OtherError")
    charger.wait(10 * PAUSE_MS)
    assert resets(charger) == 0
    charger.stop_16(number, 100)
    charger.wait(PAUSE_MS)
    assert resets(charger) == 1


def test_a_session_that_draws_nothing_does_not_stand_in_the_way() -> None:
    charger = settled(connectors=2)
    charger.start_16(0, connector=2)
    charger.call(
        "MeterValues",
        connectorId=2,
        transactionId=1,
        meterValue=[
            {
                "timestamp": charger.at(),
                "sampledValue": [{"value": "0", "measurand": "Power.Active.Import", "unit": "W"}],
            }
        ],
    )
    charger.status_16("Faulted", error="OtherError")
    charger.wait(PAUSE_MS)
    assert resets(charger) == 1


def test_a_session_that_we_have_paused_is_not_interrupted() -> None:
    charger = settled(connectors=2)
    number = charger.start_16(0, connector=2)
    charger.limit(1, 0, "CP1-1", connector=2)
    charger.answer()
    charger.call(
        "MeterValues",
        connectorId=2,
        transactionId=number,
        meterValue=[
            {
                "timestamp": charger.at(),
                "sampledValue": [{"value": "0", "measurand": "Power.Active.Import", "unit": "W"}],
            }
        ],
    )
    charger.status_16("Faulted", error="OtherError")
    charger.wait(10 * PAUSE_MS)
    assert resets(charger) == 0


def test_a_station_that_answers_no_call_is_reset() -> None:
    charger = settled("ocpp2.0.1")
    for number in range(3):
        charger.execute(commands.GetSettings(("A.B",)), ask_id=str(number))
        charger.wait(SETTINGS.call_timeout_ms)
    assert stages(charger) == ["found"]
    charger.wait(PAUSE_MS)
    assert charger.last_call().payload == {"type": "OnIdle"}
    charger.answer()
    assert stages(charger)[-1] == "reset_answered"
    assert "recovered" in stages(charger)


def test_one_answer_in_between_is_a_sign_of_life() -> None:
    charger = settled()
    for number in range(6):
        charger.execute(commands.GetSettings(("A",)), ask_id=str(number))
        if number % 2:
            charger.answer(configurationKey=[])
        else:
            charger.wait(SETTINGS.call_timeout_ms)
    charger.wait(10 * PAUSE_MS)
    assert resets(charger) == 0
