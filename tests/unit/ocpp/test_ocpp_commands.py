"""Every command is written as the schemas want it, and whatever is answered to it is read."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, get_args

import msgspec
import pytest
from command_examples import EXAMPLES
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schema_payloads import anything, request_schema

from controlplane.ocpp import commands, reports
from controlplane.ocpp.commands import (
    AnyCommand,
    Command,
    CommandState,
    DisplayMessage,
    DisplayPriority,
    MessageContent,
    ProfilePurpose,
    RawCall,
    TextFormat,
)
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.schemas import check_call, check_command
from controlplane.ocpp.versions import DIALECTS

NOW_MS = 1_704_067_200_000
AT = "2024-01-01T00:00:00Z"
OLD, NEW = DIALECTS["ocpp1.6"], DIALECTS["ocpp2.0.1"]


def written(version: str, command: Command) -> list[tuple[str, dict[str, Any]]]:
    """The CALLs of a command, each checked against its schema."""
    dialect = DIALECTS[version]
    calls = []
    for part in dialect.parts(command):
        call = dialect.call(part, NOW_MS)
        assert isinstance(call, tuple), call
        assert check_command(version, *call) is None, call
        calls.append(call)
    return calls


@pytest.mark.parametrize("version", EXAMPLES)
def test_every_command_is_written_as_its_schema_wants_it(version: str) -> None:
    sent = {action for command in EXAMPLES[version] for action, _ in written(version, command)}
    assert sent == set(DIALECTS[version].commanded.values())


def test_every_command_has_an_example() -> None:
    exemplified = {type(command) for examples in EXAMPLES.values() for command in examples}
    assert exemplified == set(get_args(AnyCommand)) - {RawCall}


@pytest.mark.parametrize("version", EXAMPLES)
def test_a_command_survives_the_way_to_another_host(version: str) -> None:
    decoder = msgspec.msgpack.Decoder(AnyCommand)
    for command in EXAMPLES[version]:
        assert decoder.decode(msgspec.msgpack.encode(command)) == command


@pytest.mark.parametrize("version", EXAMPLES)
def test_what_a_version_cannot_say_is_a_fault_that_names_it(version: str) -> None:
    dialect = DIALECTS[version]
    said = {type(command) for command in EXAMPLES[version]}
    for command in [each for examples in EXAMPLES.values() for each in examples]:
        if type(command) not in said:
            fault = dialect.call(command, NOW_MS)
            assert isinstance(fault, Fault)
            assert fault.description == f"{dialect.name} has no {type(command).__name__}"


# --- what 1.6 says in another way -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "action", "requested"),
    [
        ("Heartbeat", "TriggerMessage", "Heartbeat"),
        ("FirmwareStatusNotification", "TriggerMessage", "FirmwareStatusNotification"),
        (
            "SignedFirmwareStatusNotification",
            "ExtendedTriggerMessage",
            "FirmwareStatusNotification",
        ),
        ("LogStatusNotification", "ExtendedTriggerMessage", "LogStatusNotification"),
        ("SignChargePointCertificate", "ExtendedTriggerMessage", "SignChargePointCertificate"),
        ("SignChargingStationCertificate", "ExtendedTriggerMessage", "SignChargePointCertificate"),
    ],
)
def test_the_extended_trigger_is_used_where_only_it_will_do(
    message: str, action: str, requested: str
) -> None:
    ((sent, payload),) = written("ocpp1.6", commands.Trigger(message, 1))
    assert (sent, payload) == (action, {"requestedMessage": requested, "connectorId": 1})


def test_a_1_6_station_is_told_the_running_cost_by_the_agreed_extension() -> None:
    command = commands.UpdateCost(
        "7", Decimal("7.40"), meter_wh=12_345, price_per_kwh=Decimal("0.35")
    )
    ((action, payload),) = written("ocpp1.6", command)
    assert action == "DataTransfer"
    assert payload["vendorId"] == "org.openchargealliance.costmsg"
    assert payload["messageId"] == "RunningCost"
    assert msgspec.json.decode(payload["data"]) == {
        "transactionId": 7,
        "timestamp": "2024-01-01T00:00:00.000Z",
        "meterValue": 12_345,
        "cost": 7.4,
        "state": "Charging",
        "chargingPrice": {"kWhPrice": 0.35},
    }
    result = OLD.result(command, {"status": "UnknownVendorId"})
    assert (result.state, result.status) == (CommandState.REJECTED, "UnknownVendorId")


def test_data_for_a_1_6_station_is_text() -> None:
    ((_, old),) = written("ocpp1.6", commands.TransferData("v", "m", {"a": 1}))
    ((_, new),) = written("ocpp2.0.1", commands.TransferData("v", "m", {"a": 1}))
    assert (old["data"], new["data"]) == ('{"a":1}', {"a": 1})
    ((_, plain),) = written("ocpp1.6", commands.TransferData("v", "m", "as it is"))
    assert plain["data"] == "as it is"


# --- refusals -------------------------------------------------------------------------------------


def test_a_customer_is_named_in_exactly_one_way() -> None:
    for id_token, identifier in (("", ""), ("T", "C")):
        command = commands.GetCustomerInformation(
            1, report=True, clear=False, id_token=id_token, customer_identifier=identifier
        )
        assert isinstance(NEW.call(command, NOW_MS), Fault)


def test_a_station_of_2_0_1_is_not_sent_to_a_version_it_does_not_know() -> None:
    command = commands.SetNetworkProfile(1, "wss://csms.example", 30, 1, ocpp_version="2.1")
    fault = NEW.call(command, NOW_MS)
    assert isinstance(fault, Fault)
    assert "2.1" in fault.description


def test_what_only_2_1_can_show_is_refused_by_the_schema_of_2_0_1() -> None:
    for content, extra in (
        (MessageContent("x", TextFormat.QR_CODE), ()),
        (MessageContent("x"), (MessageContent("y", language="de"),)),
    ):
        message = DisplayMessage(1, DisplayPriority.IN_FRONT, content, extra=extra)
        call = NEW.call(commands.SetDisplayMessage(message), NOW_MS)
        assert isinstance(call, tuple)
        assert check_command("ocpp2.0.1", *call) is not None


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (commands.GetDisplayMessages(1), "Unknown"),
        (commands.GetChargingProfiles(1), "NoProfiles"),
    ],
)
def test_that_nothing_matches_is_no_refusal(command: Command, status: str) -> None:
    result = NEW.result(command, {"status": status})
    assert (result.state, result.status) == (CommandState.ACCEPTED, status)


def test_display_messages_are_read_as_they_were_written() -> None:
    for command in EXAMPLES["ocpp2.0.1"]:
        if isinstance(command, commands.SetDisplayMessage):
            ((_, payload),) = written("ocpp2.0.1", command)
            part = {"requestId": 1, "messageInfo": [payload["message"]]}
            assert check_call("ocpp2.0.1", "NotifyDisplayMessages", part) is None
            assert reports.display_messages_reported([part]) == (command.message,)


def test_a_customer_information_is_put_together_by_its_numbers() -> None:
    parts = [
        {"data": text, "seqNo": seq_no, "generatedAt": AT, "requestId": 1}
        for seq_no, text in ((1, "world"), (0, "hello "))
    ]
    assert reports.customer_information_reported(parts) == "hello world"


def test_a_reported_profile() -> None:
    part = {
        "requestId": 1,
        "chargingLimitSource": "EMS",
        "evseId": 0,
        "chargingProfile": [
            {
                "id": 5,
                "stackLevel": 1,
                "chargingProfilePurpose": "ChargingStationExternalConstraints",
                "chargingProfileKind": "Absolute",
                "chargingSchedule": [
                    {
                        "id": 1,
                        "startSchedule": AT,
                        "duration": 3_600,
                        "chargingRateUnit": "A",
                        "chargingSchedulePeriod": [
                            {"startPeriod": 60, "limit": 10},
                            {"startPeriod": 0, "limit": 16.5, "numberPhases": 3},
                        ],
                    }
                ],
            }
        ],
    }
    assert check_call("ocpp2.0.1", "ReportChargingProfiles", part) is None
    (profile,) = reports.charging_profiles_reported([part])
    assert (profile.purpose, profile.source) == (ProfilePurpose.EXTERNAL, "EMS")
    (schedule,) = profile.schedules
    assert (schedule.start_ms, schedule.duration_s, schedule.unit) == (NOW_MS, 3_600, "A")
    assert [(each.start_s, each.limit) for each in schedule.periods] == [(0, 16.5), (60, 10)]


@given(data=st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_reported_is_read_within_bounds(data: st.DataObject) -> None:
    for action, read in (
        ("NotifyDisplayMessages", reports.display_messages_reported),
        ("ReportChargingProfiles", reports.charging_profiles_reported),
        ("NotifyCustomerInformation", reports.customer_information_reported),
    ):
        part = data.draw(REPORTS[action], label=action)
        numbers = [each for each in walk(msgspec.to_builtins(read([part]))) if type(each) is int]
        assert all(abs(number) < 2**53 for number in numbers)


REPORTS = {
    action: anything(request_schema("ocpp2.0.1", action))
    for action in ("NotifyDisplayMessages", "ReportChargingProfiles", "NotifyCustomerInformation")
}


def walk(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | list | tuple):
        for each in value.values() if isinstance(value, dict) else value:
            yield from walk(each)
    else:
        yield value
