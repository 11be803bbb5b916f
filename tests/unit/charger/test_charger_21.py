"""What a charger's actor keeps of a 2.1 station, and what it never lets pile up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from charger_driver import Charger
from token_charger import TokenCharger

from controlplane.actor import Answer, Ask, Emit, Reply
from controlplane.charger.event_streams import STREAMS_MAX
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import (
    DerState,
    DriverTariffSet,
    GetDerState,
    SetDriverTariff,
    StationRefused,
    StationSent,
)
from controlplane.charger.vat_numbers import compact_vat_number
from controlplane.charging_tariff import Tariff
from controlplane.errors import Refusal
from controlplane.ocpp import commands, der
from controlplane.ocpp.event_streams import StreamRate
from controlplane.tokens import Token, TokenState

TARIFF = msgspec.convert(
    {"tariff_id": "T", "currency": "EUR", "energy": [{"per_kwh": "0.3"}]}, Tariff
)


@pytest.fixture
def charger() -> Charger:
    charger = Charger()
    charger.settle("ocpp2.1")
    return charger


def told(charger: Charger, prefix: str) -> list[dict[str, Any]]:
    return [
        effect.data
        for effect in charger.effects
        if isinstance(effect, Emit) and effect.kind.startswith(prefix)
    ]


def answer(charger: Charger, request: Any) -> Any:
    charger.tell(Ask("a", request))
    (given,) = [effect for effect in charger.effects if isinstance(effect, Answer)]
    return given.response


def send(charger: Charger, stream_id: int, *values: str) -> None:
    data = [{"t": index, "v": value} for index, value in enumerate(values)]
    payload = {"id": stream_id, "pending": 0, "basetime": "2024-01-01T00:00:00Z", "data": data}
    charger.tell(StationSent(charger.connection, "NotifyPeriodicEventStream", payload))


def open_stream(charger: Charger, stream_id: int, **params: int) -> str:
    data = {"id": stream_id, "variableMonitoringId": 1, "params": params}
    return str(charger.call("OpenPeriodicEventStream", constantStreamData=data)["status"])


# --- streams --------------------------------------------------------------------------------------


def test_only_so_many_streams_are_open(charger: Charger) -> None:
    statuses = [open_stream(charger, number, interval=5) for number in range(STREAMS_MAX + 1)]
    assert statuses == ["Accepted"] * STREAMS_MAX + ["Rejected"]
    charger.call("ClosePeriodicEventStream", id=0)
    assert open_stream(charger, STREAMS_MAX, interval=5) == "Accepted"


def test_values_are_written_no_faster_than_agreed(charger: Charger) -> None:
    open_stream(charger, 1, interval=10, values=1)
    written = []
    for _ in range(40):
        send(charger, 1, "x")
        written += told(charger, "stream.values")
        charger.wait(1_000)
    assert len(written) == 8
    assert sum(len(line["values"]) + line["left_out"] for line in written) >= 35


def test_a_pack_of_values_is_bounded(charger: Charger) -> None:
    open_stream(charger, 1, values=500)
    send(charger, 1, *["v" * 2_500] * 1_000)
    (line,) = told(charger, "stream.values")
    assert len(line["values"]) + line["left_out"] == 1_000
    assert len(msgspec.json.encode(line)) < 32_000
    assert not any(isinstance(effect, Reply) for effect in charger.effects)


def test_a_monitor_begins_a_stream_and_takes_it_along(charger: Charger) -> None:
    rate = StreamRate(interval_s=5, values=10)
    monitor = commands.MonitorWanted("EVSE{1}.Power", "TargetDelta", 2.0, 7, stream=rate)
    charger.execute(commands.SetVariableMonitoring((monitor,)))
    (told_of,) = charger.last_call().payload["setMonitoringData"]
    assert told_of["periodicEventStream"] == {"interval": 5, "values": 10}
    place = {"component": told_of["component"], "variable": told_of["variable"]}
    result = {"id": 1, "status": "Accepted", "type": "TargetDelta", "severity": 7} | place
    charger.answer(setMonitoringResult=[result])
    open_stream(charger, 3, interval=5, values=10)
    charger.execute(commands.ClearVariableMonitoring((1,)))
    charger.answer(clearMonitoringResult=[{"id": 1, "status": "Accepted"}])
    assert told(charger, "stream.closed")[0]["stream_id"] == 3
    old = Charger()
    old.settle("ocpp2.0.1")
    old.execute(commands.SetVariableMonitoring((monitor,)))
    (refused,) = old.answered()
    assert isinstance(refused, Refusal)
    assert refused.reason == "COMMAND_INVALID"


def test_values_of_another_connection_are_nothing(charger: Charger) -> None:
    open_stream(charger, 1, interval=1)
    charger.tell(StationSent("older", "NotifyPeriodicEventStream", {}))
    assert charger.effects == []


# --- grid support ---------------------------------------------------------------------------------


def test_a_control_that_stands_over_another_lets_go_of_it(charger: Charger) -> None:
    for control_id in ("low", "high"):
        charger.execute(
            commands.SetDerControl(control_id, der.DerKind.GRADIENTS, True, der.Gradient())
        )
        charger.answer(status="Accepted")
    event = {"controlId": "high", "timestamp": "2024-01-01T00:00:00Z", "supersededIds": ["low"]}
    charger.call("NotifyDERStartStop", started=True, **event)
    state = answer(charger, GetDerState())
    assert isinstance(state, DerState)
    assert {each.control_id: each.superseded for each in state.controls} == {
        "low": True,
        "high": False,
    }
    charger.call("NotifyDERStartStop", started=False, **event)
    state = answer(charger, GetDerState())
    assert [each.superseded for each in state.controls] == [False, False]


def test_alarms_survive_the_host(charger: Charger) -> None:
    alarm = {"controlType": "LVMustTrip", "timestamp": "2024-01-01T00:00:00Z"}
    charger.call("NotifyDERAlarm", gridEventFault="UnderVoltage", **alarm)
    again = Charger(snapshot=charger.snapshot)
    (known,) = answer(again, GetDerState()).alarms
    assert (known.kind, known.fault) == (der.DerKind.LV_MUST_TRIP, "UnderVoltage")


def test_an_exchanged_station_has_nothing_of_the_old_one(charger: Charger) -> None:
    old = {"model": "Old", "vendorName": "Maker"}
    charger.call("BootNotification", reason="PowerUp", chargingStation=old)
    open_stream(charger, 1, interval=1)
    charger.call("NotifyDERAlarm", controlType="LVMustTrip", timestamp="2024-01-01T00:00:00Z")
    charger.call("BootNotification", reason="PowerUp", chargingStation=old)
    assert answer(charger, GetDerState()).alarms
    new = {"model": "New", "vendorName": "Maker"}
    charger.call("BootNotification", reason="PowerUp", chargingStation=new)
    assert answer(charger, GetDerState()) == DerState((), ())
    send(charger, 1, "x")
    assert told(charger, "stream.unknown")


# --- drivers --------------------------------------------------------------------------------------


def test_a_driver_is_told_the_tariff_with_the_authorisation(charger: Charger) -> None:
    assert isinstance(answer(charger, SetDriverTariff("TAG", TARIFF)), DriverTariffSet)
    token = {"idToken": "TAG", "type": "ISO14443"}
    told = charger.call("Authorize", idToken=token)
    assert told["tariff"]["energy"] == {"prices": [{"priceKwh": 0.3}]}
    assert answer(charger, SetDriverTariff("TAG", None)) == DriverTariffSet("TAG")
    assert "tariff" not in charger.call("Authorize", idToken=token)


def test_a_token_brings_its_owners_tariff_to_every_charger() -> None:
    charger = TokenCharger()
    charger.settle("ocpp2.1")
    shown = {"idToken": "anna", "type": "ISO14443"}

    def told_tariff() -> Any:
        return charger.call("Authorize", idToken=shown).get("tariff", {}).get("tariffId")

    anna = Token("ANNA", tariff=TARIFF)
    charger.store(anna)
    assert told_tariff() == "T"
    # What was agreed for this charger alone goes before it.
    here = msgspec.structs.replace(TARIFF, tariff_id="HERE")
    answer(charger, SetDriverTariff("anna", here))
    assert told_tariff() == "HERE"
    answer(charger, SetDriverTariff("anna", None))
    charger.store(msgspec.structs.replace(anna, state=TokenState.BLOCKED))
    assert told_tariff() is None
    charger.store(Token("ANNA"))
    assert told_tariff() is None


def test_tariffs_of_drivers_are_bounded_and_right(charger: Charger) -> None:
    wrong = msgspec.structs.replace(TARIFF, currency="euro")
    refused = answer(charger, SetDriverTariff("TAG", wrong))
    assert isinstance(refused, Refusal)
    assert refused.reason == "TARIFF_INVALID"
    answers = [answer(charger, SetDriverTariff(f"TAG{number}", TARIFF)) for number in range(65)]
    assert isinstance(answers[63], DriverTariffSet)
    assert isinstance(answers[64], Refusal)


def test_other_versions_know_no_tariff() -> None:
    charger = Charger()
    charger.settle("ocpp2.0.1")
    answer(charger, SetDriverTariff("TAG", TARIFF))
    told = charger.call("Authorize", idToken={"idToken": "TAG", "type": "ISO14443"})
    assert told == {"idTokenInfo": {"status": "Accepted"}}


def test_an_answer_that_the_station_cannot_take_is_noted(charger: Charger) -> None:
    charger.tell(StationRefused(charger.connection, "m", "FormatViolation", "why"))
    (line,) = told(charger, "charger.answer_refused")
    assert line["error_code"] == "FormatViolation"


def test_what_was_remembered_before_21_is_read() -> None:
    memory = {"charger_id": "CP1", "sessions": [], "connectors": {}}
    read = msgspec.msgpack.decode(msgspec.msgpack.encode(memory), type=ChargerMemory)
    assert read.der_controls == {}
    assert read.streams == {}


@pytest.mark.parametrize(
    ("typed", "compact"),
    [
        ("de 136.695.976", "DE136695976"),
        ("EL023456780", "EL023456780"),
        ("GB980780684", "GB980780684"),
        ("CHE-107.787.577 IVA", "CHE107787577IVA"),
        ("NO995525828MVA", "NO995525828MVA"),
        ("DE136695977", None),
        ("XX123", None),
        ("", None),
        ("\u0661\u0662", None),
        ("D.", None),
    ],
)
def test_vat_numbers_have_the_form_of_their_country(typed: str, compact: str | None) -> None:
    assert compact_vat_number(typed) == compact


def test_what_a_report_leaves_out_is_gone(charger: Charger) -> None:
    """Whoever took it out of the station: in two parts here, of all default controls."""
    for control_id, is_default in (("a", True), ("b", True), ("timed", False)):
        setting = der.Gradient()
        command = commands.SetDerControl(control_id, der.DerKind.GRADIENTS, is_default, setting)
        charger.execute(command)
        charger.answer(status="Accepted")
    charger.execute(commands.GetDerControls(request_id=9, is_default=True))
    charger.answer(status="Accepted")
    gradient = {"id": "b", "gradient": {"priority": 0, "gradient": 1.0, "softGradient": 1.0}}
    charger.call("ReportDERControl", requestId=9, tbc=True, gradient=[gradient])
    assert len(answer(charger, GetDerState()).controls) == 3
    charger.call("ReportDERControl", requestId=9)
    assert told(charger, "der.cleared")[0]["control_ids"] == ["a"]
    assert {each.control_id for each in answer(charger, GetDerState()).controls} == {"b", "timed"}
    charger.execute(commands.GetDerControls(request_id=10, is_default=False))
    charger.answer(status="NotFound")
    assert {each.control_id for each in answer(charger, GetDerState()).controls} == {"b"}


# --- batteries ------------------------------------------------------------------------------------


def swap(charger: Charger, step: str, serial_number: str) -> None:
    battery = {"evseId": 1, "serialNumber": serial_number, "soC": 20, "soH": 90}
    charger.call(
        "BatterySwap",
        eventType=step,
        requestId=1,
        idToken={"idToken": "TAG", "type": "Central"},
        batteryData=[battery],
    )


def test_a_swap_that_is_told_again_is_one_and_the_next_of_the_same_battery_another(
    charger: Charger,
) -> None:
    """Stations begin to count their requests at 1 again after a restart."""
    for _ in range(2):
        swap(charger, "BatteryIn", "A")
        swap(charger, "BatteryOut", "B")
    assert len(charger.journal("battery.swap")) == 2
    swap(charger, "BatteryIn", "B")
    swap(charger, "BatteryOut", "A")
    swap(charger, "BatteryIn", "A")
    steps = [each["batteries"][0]["serial_number"] for each in charger.journal("battery.swap")]
    assert steps == ["A", "B", "B", "A", "A"]


def test_a_swap_from_afar_is_for_a_token_that_counts() -> None:
    charger = TokenCharger()
    charger.settle_known("ocpp2.1")
    charger.store(Token("TAG"), Token("LOST", state=TokenState.BLOCKED))
    charger.execute(commands.RequestBatterySwap("LOST"))
    (refused,) = charger.answered()
    assert isinstance(refused, Refusal)
    charger.execute(commands.RequestBatterySwap("TAG"), "ask-2")
    assert charger.last_call().action == "RequestBatterySwap"
