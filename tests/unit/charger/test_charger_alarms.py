"""What a 2.x station notices: alarms that stand until they are cleared, faults, states."""

from __future__ import annotations

from typing import Any

from charger_driver import SETTINGS, Charger

from controlplane.actor import Ask, Call
from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.ocpp import commands
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.messages import ConnectorState
from controlplane.store.records import VariableValue

HEALING_PAUSE_MS = 2 * SETTINGS.call_timeout_ms


def watched() -> Charger:
    charger = Charger()
    charger.settle("ocpp2.0.1")
    return charger


def notify(
    charger: Charger,
    variable: str,
    value: str,
    *,
    trigger: str = "Alerting",
    component: str = "EVSE",
    evse: int = 1,
    **more: Any,
) -> None:
    event = {
        "eventId": 1,
        "timestamp": charger.at(),
        "trigger": trigger,
        "actualValue": value,
        "eventNotificationType": "HardWiredMonitor",
        "component": {"name": component, "evse": {"id": evse}} if evse else {"name": component},
        "variable": {"name": variable},
        **more,
    }
    charger.call("NotifyEvent", generatedAt=charger.at(), seqNo=0, eventData=[event])


def view(charger: Charger) -> ChargerView:
    charger.tell(Ask("view", GetCharger()))
    answer = charger.answered("view")[-1]
    assert isinstance(answer, ChargerView)
    return answer


def test_an_alert_stands_until_it_is_cleared_on_whatever_host() -> None:
    charger = watched()
    wanted = commands.MonitorWanted("EVSE{1}.Temperature", "UpperThreshold", 70, 3)
    charger.execute(commands.SetVariableMonitoring((wanted,)))
    place = {"component": {"name": "EVSE", "evse": {"id": 1}}, "variable": {"name": "Temperature"}}
    told = {"id": 5, "status": "Accepted", "type": "UpperThreshold", "severity": 3, **place}
    charger.answer(setMonitoringResult=[told])
    notify(charger, "Temperature", "71", variableMonitoringId=5, techCode="T1", transactionId="TX")
    (alert,) = charger.journal("charger.alert")
    assert (alert["variable"], alert["severity"]) == ("EVSE{1}.Temperature", 3)
    assert (alert["connector_id"], alert["transaction_id"]) == (1, "TX")
    charger.wait(60_000)
    notify(charger, "Temperature", "75", variableMonitoringId=5)
    other = charger.reborn()
    (alarm,) = view(other).alarms
    assert (alarm.value, alarm.severity, alarm.fault) == ("75", 3, False)
    assert alarm.since_ms < other.now_ms - 60_000
    other.connect("ocpp2.0.1")
    notify(other, "Temperature", "50", variableMonitoringId=5, cleared=True)
    assert view(other).alarms == ()
    assert len(other.journal("charger.alert_cleared")) == 1
    values = [record.value for record in charger.records(VariableValue)]
    assert values[-2:] == ["71", "75"]


def test_the_most_severe_alarm_is_shown_first() -> None:
    charger = watched()
    notify(charger, "Fan", "0", component="CoolingSystem", evse=0)
    for severity, variable in ((6, "Humidity"), (1, "Temperature")):
        wanted = commands.MonitorWanted(f"EVSE{{1}}.{variable}", "UpperThreshold", 1, severity)
        charger.execute(commands.SetVariableMonitoring((wanted,)))
        place = {"component": {"name": "EVSE"}, "variable": {"name": variable}}
        told = {"status": "Accepted", "type": "UpperThreshold", "severity": severity, **place}
        charger.answer(setMonitoringResult=[{"id": severity, **told}])
        notify(charger, variable, "9", variableMonitoringId=severity)
    assert [(alarm.severity, alarm.variable) for alarm in view(charger).alarms] == [
        (1, "EVSE{1}.Temperature"),
        (6, "EVSE{1}.Humidity"),
        (None, "CoolingSystem.Fan"),
    ]


def test_alarms_are_bounded_and_faults_are_the_last_to_go() -> None:
    charger = watched()
    notify(charger, "Problem", "true", trigger="Delta")
    for number in range(100):
        notify(charger, f"V{number}", "1")
    alarms = view(charger).alarms
    assert len(alarms) == 64
    assert [alarm.variable for alarm in alarms if alarm.fault] == ["EVSE{1}.Problem"]


def test_a_change_is_no_alarm() -> None:
    charger = watched()
    notify(charger, "Power", "3000", trigger="Periodic")
    notify(charger, "Power", "4000", trigger="Delta")
    assert view(charger).alarms == ()
    assert [told["value"] for told in charger.journal("charger.variable")] == ["3000", "4000"]


def test_a_problem_is_a_fault_that_is_healed() -> None:
    charger = watched()
    notify(charger, "Problem", "true", trigger="Delta", component="Connector")
    (alarm,) = view(charger).alarms
    assert alarm.fault
    assert charger.journal("charger.healing")[-1]["connectors"] == [1]
    charger.wait(HEALING_PAUSE_MS)
    assert charger.last_call().action == "Reset"
    charger.answer()
    notify(charger, "Problem", "false", trigger="Delta", component="Connector")
    assert view(charger).alarms == ()
    assert charger.journal("charger.healing")[-1]["stage"] == "recovered"


def test_a_connector_that_is_free_again_has_no_problem() -> None:
    charger = watched()
    notify(charger, "Problem", "true", trigger="Delta", component="Connector")
    charger.call(
        "StatusNotification",
        timestamp=charger.at(),
        connectorStatus="Available",
        evseId=1,
        connectorId=1,
    )
    assert view(charger).alarms == ()
    assert charger.journal("charger.healing")[-1]["stage"] == "recovered"


def test_the_availability_of_a_connector_counts_as_its_status() -> None:
    charger = watched()
    notify(charger, "AvailabilityState", "Occupied", trigger="Delta", component="Connector")
    assert charger.told(ConnectorState)[-1].status is ConnectorStatus.OCCUPIED
    notify(charger, "AvailabilityState", "Faulted", trigger="Delta", component="Connector")
    assert charger.told(ConnectorState)[-1].status is ConnectorStatus.FAULTED
    assert charger.journal("charger.healing")[-1]["reason"] == "connector_faulted"
    notify(charger, "AvailabilityState", "?", trigger="Delta", component="Connector")
    assert charger.told(ConnectorState)[-1].status is ConnectorStatus.FAULTED


def test_a_notice_asks_nothing_of_the_station() -> None:
    charger = watched()
    calls = len([effect for effect in charger.all if isinstance(effect, Call)])
    notify(charger, "Temperature", "99")
    assert len([effect for effect in charger.all if isinstance(effect, Call)]) == calls
