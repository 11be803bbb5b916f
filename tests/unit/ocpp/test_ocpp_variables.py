"""Names of settings in text, and what 2.0.1 stations say and are asked of their device model."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.ocpp import commands, events
from controlplane.ocpp.answers import settings_answered
from controlplane.ocpp.commands import Command, CommandState
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.relabel import registers_in_kwh
from controlplane.ocpp.schemas import check_command
from controlplane.ocpp.variables import Attribute, VariableName, parse_key
from controlplane.ocpp.versions import DIALECTS

NEW = DIALECTS["ocpp2.0.1"]
OLD = DIALECTS["ocpp1.6"]

identifiers = st.text("abcXYZ09*-_=:+|@.%", min_size=1, max_size=8)
variables = identifiers.filter(lambda text: "." not in text and "%" not in text)


@given(
    st.builds(
        VariableName,
        component=identifiers,
        variable=variables,
        component_instance=variables | st.just(""),
        variable_instance=variables | st.just(""),
        evse_id=st.integers(0, 1_000),
        connector_id=st.just(0),
    ),
    st.sampled_from(Attribute),
)
def test_a_key_is_the_name_again(name: VariableName, attribute: Attribute) -> None:
    key = name.key if attribute is Attribute.ACTUAL else f"{name.key}/{attribute}"
    assert parse_key(key) == (name, attribute)


@pytest.mark.parametrize("key", ["", "HeartbeatInterval", ".V", "C.", "C{x}.V", "C[a.V"])
def test_what_is_no_variable_is_none(key: str) -> None:
    assert parse_key(key) is None


def written(command: Command, version: Any = NEW) -> dict[str, Any]:
    call = version.call(command, 0)
    assert not isinstance(call, Fault)
    action, payload = call
    assert check_command(version.version, action, payload) is None
    return payload  # type: ignore[no-any-return]


def test_settings_of_evses_and_other_attributes_are_asked_for_and_told() -> None:
    key = "Connector[a]{1.2}.Power[b]/MaxSet"
    (asked,) = written(commands.GetSettings((key,)))["getVariableData"]
    assert asked == {
        "attributeType": "MaxSet",
        "component": {
            "name": "Connector",
            "instance": "a",
            "evse": {"id": 1, "connectorId": 2},
        },
        "variable": {"name": "Power", "instance": "b"},
    }
    result = {**asked, "attributeStatus": "Accepted", "attributeValue": "7"}
    (told,) = settings_answered({"getVariableResult": [result]})
    assert (told.key, told.value) == (key, "7")


@pytest.mark.parametrize(
    ("command", "payload"),
    [
        (
            commands.GetBaseReport(base="summary", request_id=3),
            {"requestId": 3, "reportBase": "SummaryInventory"},
        ),
        (
            commands.GetReport(criteria=("Problem",), keys=("EVSE", "EVSE{1}.Power"), request_id=4),
            {
                "requestId": 4,
                "componentCriteria": ["Problem"],
                "componentVariable": [
                    {"component": {"name": "EVSE"}},
                    {
                        "component": {"name": "EVSE", "evse": {"id": 1}},
                        "variable": {"name": "Power"},
                    },
                ],
            },
        ),
        (
            commands.GetMonitoringReport(criteria=("DeltaMonitoring",), request_id=5),
            {"requestId": 5, "monitoringCriteria": ["DeltaMonitoring"]},
        ),
        (commands.SetMonitoringBase("factory"), {"monitoringBase": "FactoryDefault"}),
        (commands.SetMonitoringLevel(4), {"severity": 4}),
        (commands.ClearVariableMonitoring((1, 2)), {"id": [1, 2]}),
        (
            commands.SetVariableMonitoring(
                (commands.MonitorWanted("EVSE{1}.Power", "Delta", 5.0, 3, monitor_id=8),)
            ),
            {
                "setMonitoringData": [
                    {
                        "value": 5.0,
                        "type": "Delta",
                        "severity": 3,
                        "transaction": False,
                        "component": {"name": "EVSE", "evse": {"id": 1}},
                        "variable": {"name": "Power"},
                        "id": 8,
                    }
                ]
            },
        ),
    ],
)
def test_what_is_asked(command: Command, payload: dict[str, Any]) -> None:
    assert written(command) == payload


@pytest.mark.parametrize(
    "command",
    [
        commands.GetReport(keys=("EVSE{.Power",)),
        commands.GetMonitoringReport(keys=("",)),
        commands.SetVariableMonitoring((commands.MonitorWanted("EVSE", "Delta", 1, 1),)),
        commands.GetSettings(("HeartbeatInterval",)),
    ],
)
def test_what_names_no_variable_is_refused(command: Command) -> None:
    assert isinstance(NEW.call(command, 0), Fault)


def test_an_old_station_is_asked_for_all_its_keys() -> None:
    assert OLD.call(commands.GetBaseReport(), 0) == ("GetConfiguration", {})
    assert isinstance(OLD.call(commands.SetMonitoringLevel(1), 0), Fault)


@pytest.mark.parametrize(
    ("command", "payload", "state", "status"),
    [
        (
            commands.GetReport(),
            {"status": "EmptyResultSet"},
            CommandState.ACCEPTED,
            "EmptyResultSet",
        ),
        (
            commands.GetBaseReport(),
            {"status": "NotSupported"},
            CommandState.REJECTED,
            "NotSupported",
        ),
        (
            commands.ClearVariableMonitoring((1, 2)),
            {"clearMonitoringResult": [{"id": 1, "status": "NotFound"}]},
            CommandState.ACCEPTED,
            "Accepted",
        ),
        (
            commands.SetVariableMonitoring(()),
            {"setMonitoringResult": [{"status": "Accepted"}, {"status": "Duplicate"}]},
            CommandState.REJECTED,
            "Duplicate",
        ),
    ],
)
def test_what_becomes_of_it(
    command: Command, payload: dict[str, Any], state: CommandState, status: str
) -> None:
    result = NEW.result(command, payload)
    assert (result.state, result.status) == (state, status)


def test_a_report_is_read_with_the_defaults_of_the_specification() -> None:
    event = NEW.event(
        "NotifyReport",
        {
            "requestId": 7,
            "seqNo": 2,
            "generatedAt": "2024-01-01T00:00:00Z",
            "reportData": [
                {
                    "component": {"name": "EVSE", "evse": {"id": 1}},
                    "variable": {"name": "Power"},
                    "variableAttribute": [{"value": "0"}],
                }
            ],
        },
    )
    assert isinstance(event, events.VariablesReported)
    assert event.part == events.ReportPart(7, 2, more=False)
    (variable,) = event.variables
    assert variable.name.key == "EVSE{1}.Power"
    (attribute,) = variable.attributes
    assert (attribute.attribute, attribute.mutability) == ("Actual", "ReadWrite")


def test_a_notice_is_read() -> None:
    event = NEW.event(
        "NotifyEvent",
        {
            "generatedAt": "2024-01-01T00:00:00Z",
            "seqNo": 0,
            "eventData": [
                {
                    "eventId": 1,
                    "timestamp": "2024-01-01T00:00:00Z",
                    "trigger": "Alerting",
                    "actualValue": "90",
                    "eventNotificationType": "CustomMonitor",
                    "variableMonitoringId": 5,
                    "transactionId": "T",
                    "component": {"name": "Connector", "evse": {"id": 1, "connectorId": 1}},
                    "variable": {"name": "Temperature"},
                }
            ],
        },
    )
    assert isinstance(event, events.VariablesNoticed)
    (notice,) = event.notices
    assert (notice.name.key, notice.monitor_id) == ("Connector{1.1}.Temperature", 5)
    assert (notice.transaction_id, notice.cleared) == ("T", False)


def test_registers_in_kilowatt_hours_are_labelled_so_and_nothing_else_is() -> None:
    sample = {"value": "0.5", "unit": "Wh"}
    power = {"value": "7", "measurand": "Power.Active.Import", "unit": "W"}
    payload = {
        "meterStop": 12.5,
        "transactionData": [{"timestamp": "t", "sampledValue": [sample, power, {"value": "1"}]}],
    }
    corrected = registers_in_kwh(payload)
    assert corrected["meterStop"] == 12_500
    assert corrected["transactionData"][0]["sampledValue"] == [
        {"value": "0.5", "unit": "kWh"},
        power,
        {"value": "1", "unit": "kWh"},
    ]
    assert payload["meterStop"] == 12.5, "what was said is kept for quarantine"
    new = {"meterValue": [{"sampledValue": [{"value": 1, "unitOfMeasure": {"unit": "Wh"}}]}]}
    (moment,) = registers_in_kwh(new)["meterValue"]
    assert moment["sampledValue"][0]["unitOfMeasure"] == {"unit": "kWh"}
    status = {"connectorId": 1, "status": "Available"}
    assert registers_in_kwh(status) is status
