"""What a charger says of its settings: asked for once for each firmware, collected, stored."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import SETTINGS, Charger

from controlplane.actor import Ask, Call
from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.ocpp import commands
from controlplane.site.messages import ChargerPresence, ConnectorState
from controlplane.store.records import (
    MonitorRecord,
    MonitorRemoved,
    MonitorsReplaced,
    VariableRecord,
    VariablesReplaced,
    VariableValue,
)

WAIT_MS = SETTINGS.call_timeout_ms
MEASURANDS = "SampledDataCtrlr.TxUpdatedMeasurands"


def boot(charger: Charger, version: str, firmware: str = "1") -> None:
    if version == "ocpp1.6":
        charger.call(
            "BootNotification",
            chargePointVendor="Vendor",
            chargePointModel="Model",
            firmwareVersion=firmware,
        )
        return
    charger.call(
        "BootNotification",
        reason="PowerUp",
        chargingStation={"model": "Model", "vendorName": "Vendor", "firmwareVersion": firmware},
    )


def asked(version: str = "ocpp2.0.1", **description: Any) -> Charger:
    """A charger that has been cleared, limited and is now asked for its settings."""
    charger = Charger()
    charger.assign(**description)
    charger.connect(version)
    boot(charger, version)
    charger.wait(SETTINGS.settle_ms)
    charger.answer()
    charger.answer()
    return charger


def row(name: str, value: str = "1", **more: Any) -> dict[str, Any]:
    component, variable = name.split(".")
    evse = more.pop("evse", None)
    where = {"name": component} if evse is None else {"name": component, "evse": {"id": evse}}
    return {
        "component": where,
        "variable": {"name": variable},
        "variableAttribute": [{"value": value, **more.pop("attribute", {})}],
        **more,
    }


def characteristics(**said: Any) -> dict[str, Any]:
    return {"dataType": "string", "supportsMonitoring": False, **said}


def part(charger: Charger, seq_no: int, *rows: dict[str, Any], tbc: bool, request: int = 1) -> None:
    charger.call(
        "NotifyReport",
        requestId=request,
        seqNo=seq_no,
        tbc=tbc,
        generatedAt="2024-01-01T00:00:00Z",
        reportData=list(rows) or [row("C.V")],
    )


def view(charger: Charger) -> ChargerView:
    charger.tell(Ask("view", GetCharger()))
    answer = charger.answered("view")[-1]
    assert isinstance(answer, ChargerView)
    return answer


def called(charger: Charger) -> list[str]:
    return [effect.action for effect in charger.all if isinstance(effect, Call)]


def test_the_default_profile_comes_before_the_question_and_the_question_before_sampling() -> None:
    charger = asked()
    assert charger.last_call().payload == {"requestId": 1, "reportBase": "FullInventory"}
    charger.answer(status="NotSupported")
    charger.accept_all()
    assert called(charger) == [
        "ClearChargingProfile",
        "SetChargingProfile",
        "GetBaseReport",
        "SetVariables",
        "SetVariables",
    ]


def test_a_station_is_settled_while_its_report_is_on_its_way_and_sampled_by_it() -> None:
    charger = asked()
    charger.answer()
    assert charger.told(ChargerPresence)[-1].settled
    assert charger.outstanding is None
    supported = characteristics(values="x", dataType="MemberList")
    supported["valuesList"] = "Energy.Active.Import.Register,Power.Active.Import,Voltage"
    del supported["values"]
    part(charger, 0, tbc=True)
    part(charger, 1, row(MEASURANDS, "", variableCharacteristics=supported), tbc=False)
    charger.accept_all()
    (written,) = charger.last_call().payload["setVariableData"]
    assert written["attributeValue"] == "Power.Active.Import,Energy.Active.Import.Register"
    assert charger.journal("charger.inventory")[-1]["complete"]
    assert view(charger).settings_complete_ms == charger.now_ms


def test_a_complete_report_replaces_what_was_known_before_it() -> None:
    charger = asked()
    charger.answer()
    began_ms = charger.now_ms
    charger.wait(1_000)
    part(charger, 1, row("C.B"), tbc=False)
    assert not charger.records(VariablesReplaced), "a part before it is missing"
    part(charger, 0, row("C.A"), tbc=True)
    assert [record.key for record in charger.records(VariableRecord)] == ["C.B", "C.A"]
    assert charger.records(VariablesReplaced) == [VariablesReplaced("CP1", began_ms)]  # type: ignore[arg-type]


def test_a_repeated_part_is_stored_once() -> None:
    charger = asked()
    charger.answer()
    for _ in range(3):
        part(charger, 0, row("C.A"), tbc=True)
    assert len(charger.records(VariableRecord)) == 1


def test_a_report_with_a_lost_part_is_noticed_and_asked_for_again_at_the_next_boot() -> None:
    charger = asked()
    charger.answer()
    part(charger, 0, tbc=True)
    part(charger, 2, tbc=False)
    charger.wait(WAIT_MS)
    (told,) = charger.journal("charger.inventory")
    assert (told["complete"], told["missing"]) == (False, [1])
    charger.accept_all()
    assert called(charger)[-1] == "SetVariables", "it is sampled without it"
    assert not charger.records(VariablesReplaced)
    boot(charger, "ocpp2.0.1")
    charger.wait(SETTINGS.settle_ms)
    charger.answer()
    assert charger.last_call().payload["requestId"] == 2


def test_a_station_may_count_its_parts_from_one() -> None:
    charger = asked()
    charger.answer()
    part(charger, 1, tbc=True)
    part(charger, 2, tbc=False)
    charger.wait(WAIT_MS)
    assert [told["complete"] for told in charger.journal("charger.inventory")] == [True]


def test_every_part_prolongs_the_patience() -> None:
    charger = asked()
    charger.answer()
    for seq_no in range(4):
        charger.wait(WAIT_MS - 1)
        part(charger, seq_no, tbc=True)
    charger.wait(WAIT_MS - 1)
    part(charger, 4, tbc=False)
    assert [told["complete"] for told in charger.journal("charger.inventory")] == [True]


def test_a_station_that_promises_and_never_reports_is_asked_three_times() -> None:
    charger = asked()
    for _ in range(5):
        charger.accept_all()
        charger.wait(WAIT_MS)
        charger.accept_all()
        assert charger.told(ChargerPresence)[-1].settled
        boot(charger, "ocpp2.0.1")
        charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    assert called(charger).count("GetBaseReport") == 3


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
def test_a_station_that_restarts_when_it_is_asked_is_spared_after_three_times(version: str) -> None:
    charger = asked(version)
    question = charger.last_call().action
    for _ in range(5):
        charger.disconnect()
        charger = charger.reborn()
        charger.connect(version)
        boot(charger, version)
        charger.wait(SETTINGS.settle_ms)
        charger.answer()
        if charger.last_call().action != question:
            break
    charger.accept_all()
    assert question not in called(charger)
    assert charger.told(ChargerPresence)[-1].settled


def test_a_station_that_never_answers_the_question_settles() -> None:
    charger = asked()
    charger.wait(WAIT_MS)
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1].settled
    assert called(charger)[-2:] == ["SetVariables", "SetVariables"]


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
def test_it_is_asked_again_only_for_new_firmware(version: str) -> None:
    charger = asked(version)
    question = charger.last_call().action
    charger.refuse()
    charger.accept_all()
    for firmware, times in (("1", 1), ("2", 2)):
        boot(charger, version, firmware)
        charger.wait(SETTINGS.settle_ms)
        charger.accept_all()
        assert called(charger).count(question) == times


def test_the_keys_of_1_6_are_stored_and_steer() -> None:
    charger = asked("ocpp1.6")
    assert charger.last_call().payload == {}
    keys = {
        "ChargingScheduleAllowedChargingRateUnit": ("Power", True),
        "MeterValueSampleInterval": ("60", True),
        "MeterValuesSampledData": ("Energy.Active.Import.Register", False),
        "MeterValuesSampledDataMaxLength": ("2", True),
        "AuthorizationKey": ("secret", False),
    }
    charger.answer(
        configurationKey=[
            {"key": key, "value": value, "readonly": readonly}
            for key, (value, readonly) in keys.items()
        ]
    )
    rows = {record.key: record for record in charger.records(VariableRecord)}
    assert rows["MeterValueSampleInterval"].mutability == "ReadOnly"
    assert rows["MeterValuesSampledData"].component == ""
    assert rows["AuthorizationKey"].value is None, "a password is not kept"
    assert charger.last_call().payload == {
        "key": "MeterValuesSampledData",
        "value": "Power.Active.Import,Energy.Active.Import.Register",
    }, "the interval cannot be changed, and it takes two measurands"
    charger.accept_all()
    number = charger.start_16()
    charger.limit(1, 10_000, "CP1-1")
    profile = charger.last_call().payload["csChargingProfiles"]
    assert profile["transactionId"] == number
    assert profile["chargingSchedule"]["chargingRateUnit"] == "W"


def test_the_description_goes_before_the_report() -> None:
    charger = asked("ocpp1.6", limit_unit="A")
    told = {"key": "ChargingScheduleAllowedChargingRateUnit", "value": "Power", "readonly": True}
    charger.answer(configurationKey=[told])
    charger.accept_all()
    charger.limit(1, 10_000, None)
    profile = charger.last_call().payload["csChargingProfiles"]
    assert profile["chargingSchedule"]["chargingRateUnit"] == "A"


def test_a_default_profile_refused_in_the_wrong_unit_is_sent_in_the_right_one() -> None:
    charger = Charger()
    charger.assign()
    charger.connect("ocpp1.6")
    boot(charger, "ocpp1.6")
    charger.wait(SETTINGS.settle_ms)
    charger.answer()
    charger.answer(status="Rejected")
    assert charger.last_call().action == "GetConfiguration"
    told = {"key": "ChargingScheduleAllowedChargingRateUnit", "value": "Power", "readonly": True}
    charger.answer(configurationKey=[told])
    profile = charger.last_call().payload["csChargingProfiles"]
    assert profile["chargingSchedule"]["chargingRateUnit"] == "W"
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1].default_ma == 6_000


def test_measurands_that_it_has_are_not_tried_out() -> None:
    """There are chargers that restart when they are asked for one they do not have."""
    charger = asked("ocpp1.6")
    has = "Voltage,Current.Import,Energy.Active.Import.Register,Power.Active.Import"
    charger.answer(
        configurationKey=[{"key": "MeterValuesSampledData", "value": has, "readonly": False}]
    )
    charger.answer()
    assert charger.last_call().payload["value"] == (
        "Current.Import,Power.Active.Import,Energy.Active.Import.Register"
    )
    charger.answer(status="Rejected")
    assert charger.outstanding is None, "there is no other list to try"


def test_measurands_that_nobody_can_change_are_left_alone() -> None:
    charger = asked()
    charger.answer()
    fixed = row(MEASURANDS, "SoC", attribute={"mutability": "ReadOnly"})
    part(charger, 0, fixed, tbc=False)
    charger.accept_all()
    assert called(charger)[-1] == "SetVariables"
    assert called(charger).count("SetVariables") == 1


def test_a_list_of_measurands_is_no_longer_than_it_takes() -> None:
    charger = asked()
    charger.answer()
    short = characteristics(maxLimit=50)
    part(charger, 0, row(MEASURANDS, "", variableCharacteristics=short), tbc=False)
    charger.accept_all()
    (written,) = charger.last_call().payload["setVariableData"]
    assert written["attributeValue"] == "Power.Active.Import,Energy.Active.Import.Register"


def test_the_power_of_an_evse_makes_what_a_session_can_take_smaller_and_never_larger() -> None:
    charger = asked()
    charger.answer()
    charger.call(
        "TransactionEvent",
        eventType="Started",
        timestamp=charger.at(),
        triggerReason="Authorized",
        seqNo=0,
        transactionInfo={"transactionId": "T"},
        evse={"id": 1, "connectorId": 1},
        idToken={"idToken": "TAG", "type": "ISO14443"},
    )
    limit = characteristics(maxLimit=7.4, unit="kW")
    part(charger, 0, row("EVSE.Power", "0", evse=1, variableCharacteristics=limit), tbc=False)
    state = charger.told(ConnectorState)[-1]
    assert state.session is not None
    assert state.session.vehicle is not None
    assert state.session.vehicle.power_max_w == 7_400
    needs = {"evMaxPower": 5_000, "evMaxCurrent": 100, "evMaxVoltage": 500}
    for power_w, taken_w in ((5_000, 5_000), (9_000, 7_400)):
        charger.call(
            "NotifyEVChargingNeeds",
            evseId=1,
            chargingNeeds={
                "requestedEnergyTransfer": "DC",
                "dcChargingParameters": {**needs, "evMaxPower": power_w},
            },
        )
        session = charger.told(ConnectorState)[-1].session
        assert session is not None
        assert session.vehicle is not None
        assert session.vehicle.power_max_w == taken_w


def test_what_is_set_and_read_later_is_stored() -> None:
    charger = asked()
    charger.answer(status="NotSupported")
    charger.accept_all()
    charger.execute(commands.SetSettings({"C.Colour": "red", "C.Sound": "loud"}))
    place = {"component": {"name": "C"}}
    charger.answer(
        setVariableResult=[
            {"attributeStatus": "RebootRequired", **place, "variable": {"name": "Colour"}},
            {"attributeStatus": "Rejected", **place, "variable": {"name": "Sound"}},
        ]
    )
    charger.execute(commands.GetSettings(("C.Light/Target",)))
    charger.answer(
        getVariableResult=[
            {
                "attributeStatus": "Accepted",
                "attributeType": "Target",
                "attributeValue": "dim",
                **place,
                "variable": {"name": "Light"},
            }
        ]
    )
    stored = [
        (record.key, record.attribute, record.value)
        for record in charger.records(VariableValue)
        if record.component == "C"
    ]
    assert stored[-2:] == [("C.Colour", "Actual", "red"), ("C.Light", "Target", "dim")]


def test_settings_go_as_many_at_a_time_as_it_takes_and_are_told_as_one_answer() -> None:
    charger = asked()
    charger.answer()
    most = row("DeviceDataCtrlr.ItemsPerMessage", "2")
    most["variable"]["instance"] = "GetVariables"
    part(charger, 0, most, tbc=False)
    charger.accept_all()
    charger.execute(commands.GetSettings(("C.A", "C.B", "C.D")))
    for names in (("A", "B"), ("D",)):
        data = charger.last_call().payload["getVariableData"]
        assert tuple(each["variable"]["name"] for each in data) == names
        charger.answer(
            getVariableResult=[
                {**each, "attributeStatus": "Accepted", "attributeValue": "1"} for each in data
            ]
        )
    (result,) = charger.answered()
    assert isinstance(result, commands.CommandResult)
    assert len(result.payload["getVariableResult"]) == 3


def test_a_report_is_asked_for_again_on_another_host() -> None:
    charger = asked()
    charger.answer()
    part(charger, 0, tbc=True)
    other = charger.reborn()
    other.connect("ocpp2.0.1", resumed=True, name=charger.connection)
    other.wait(SETTINGS.settle_ms)
    assert other.last_call().action == "GetBaseReport"


def test_monitors_are_stored_as_they_are_set_reported_and_cleared() -> None:
    charger = asked()
    charger.answer(status="NotSupported")
    charger.accept_all()
    wanted = commands.MonitorWanted("EVSE{1}.Power", "UpperThreshold", 9_000, 4)
    charger.execute(commands.SetVariableMonitoring((wanted,)))
    place = {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Power"}}
    result = {"status": "Accepted", "type": "UpperThreshold", "severity": 4, **place}
    charger.answer(setMonitoringResult=[{"id": 11, **result}])
    (stored,) = charger.records(MonitorRecord)
    assert (stored.monitor_id, stored.key, stored.severity) == (11, "EVSE{1}.Power", 4)

    charger.execute(commands.GetMonitoringReport())
    request_id = charger.last_call().payload["requestId"]
    charger.answer()
    told = {"id": 12, "transaction": True, "value": 5, "type": "Delta", "severity": 9}
    charger.call(
        "NotifyMonitoringReport",
        requestId=request_id,
        seqNo=0,
        generatedAt=charger.at(),
        monitor=[{**place, "variableMonitoring": [told]}],
    )
    assert charger.records(MonitorRecord)[-1].monitor_id == 12
    assert len(charger.records(MonitorsReplaced)) == 1

    charger.execute(commands.ClearVariableMonitoring((12,)))
    charger.answer(clearMonitoringResult=[{"id": 12, "status": "Accepted"}])
    assert [record.monitor_id for record in charger.records(MonitorRemoved)] == [12]
