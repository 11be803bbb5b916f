"""What is sent to a station: one call at a time, in which order, and what becomes of it."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import SETTINGS, Charger

from controlplane.actor import Ask, Call
from controlplane.charger.messages import ChargerView, GetCharger, StationReplied
from controlplane.errors import Refusal
from controlplane.feeder.messages import GetFeeder
from controlplane.ocpp import commands
from controlplane.ocpp.commands import AnyCommand, CommandResult, CommandState
from controlplane.site.messages import LimitOutcome
from controlplane.store.records import ActorSnapshot


def settled(version: str = "ocpp1.6", **description: Any) -> Charger:
    charger = Charger()
    charger.settle(version, **description)
    charger.all.clear()
    return charger


def calls(charger: Charger) -> list[tuple[str, dict[str, Any]]]:
    return [(effect.action, effect.payload) for effect in charger.all if isinstance(effect, Call)]


def outcomes(charger: Charger) -> list[tuple[int, CommandState, bool]]:
    return [
        (outcome.limit_id, outcome.state, outcome.superseded)
        for outcome in charger.told(LimitOutcome)
    ]


def result(charger: Charger, ask_id: str = "ask") -> CommandResult:
    (answer,) = charger.answered(ask_id)
    assert isinstance(answer, CommandResult), answer
    return answer


def refusal(charger: Charger, ask_id: str = "ask") -> Refusal:
    (answer,) = charger.answered(ask_id)
    assert isinstance(answer, Refusal), answer
    return answer


COMMANDS: list[tuple[AnyCommand, str, str]] = [
    (commands.RemoteStart(1, "TAG"), "RemoteStartTransaction", "RequestStartTransaction"),
    (commands.RemoteStart(None, "TAG"), "RemoteStartTransaction", "RequestStartTransaction"),
    (commands.RemoteStop("5"), "RemoteStopTransaction", "RequestStopTransaction"),
    (commands.Reset(), "Reset", "Reset"),
    (commands.Reset(hard=True), "Reset", "Reset"),
    (commands.UnlockConnector(1), "UnlockConnector", "UnlockConnector"),
    (commands.ChangeAvailability(1, operative=False), "ChangeAvailability", "ChangeAvailability"),
    (commands.ChangeAvailability(0, operative=True), "ChangeAvailability", "ChangeAvailability"),
    (commands.Trigger("StatusNotification", 1), "TriggerMessage", "TriggerMessage"),
    (commands.Trigger("Heartbeat"), "TriggerMessage", "TriggerMessage"),
    (commands.GetSettings(("A.B",)), "GetConfiguration", "GetVariables"),
    (commands.SetSettings({"A.B": "1"}), "ChangeConfiguration", "SetVariables"),
    (commands.GetCompositeSchedule(1, 3_600), "GetCompositeSchedule", "GetCompositeSchedule"),
    (
        commands.ClearLimits(commands.LimitPurpose.DEFAULT),
        "ClearChargingProfile",
        "ClearChargingProfile",
    ),
    (
        commands.SetLimit(0, commands.LimitPurpose.CHARGER_MAX, 32_000, 22_080, "A", 3),
        "SetChargingProfile",
        "SetChargingProfile",
    ),
    (commands.RawCall("ClearCache", {}), "ClearCache", "ClearCache"),
]


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
@pytest.mark.parametrize(("command", "action_16", "action_201"), COMMANDS)
def test_every_command_is_sent_in_either_version_and_its_answer_returned(
    command: AnyCommand, action_16: str, action_201: str, version: str
) -> None:
    charger = settled(version)
    charger.execute(command)
    ((action, _),) = calls(charger)
    assert action == (action_16 if version == "ocpp1.6" else action_201)
    assert charger.answered() == []
    answer = (
        {"setVariableResult": [_variable("attributeStatus", "Accepted")]}
        if action == "SetVariables"
        else {"status": "Accepted"}
    )
    charger.answer(**answer)
    assert result(charger) == CommandResult(CommandState.ACCEPTED, "Accepted", answer)


def _variable(status: str, value: str) -> dict[str, Any]:
    return {status: value, "component": {"name": "A"}, "variable": {"name": "B"}}


@pytest.mark.parametrize(
    ("command", "answer", "state", "status"),
    [
        (commands.Reset(), {"status": "Rejected"}, CommandState.REJECTED, "Rejected"),
        (commands.Reset(), {"status": "Scheduled"}, CommandState.ACCEPTED, "Scheduled"),
        (
            commands.UnlockConnector(1),
            {"status": "UnlockFailed"},
            CommandState.REJECTED,
            "UnlockFailed",
        ),
        (
            commands.ClearLimits(commands.LimitPurpose.DEFAULT),
            {"status": "Unknown"},
            CommandState.ACCEPTED,
            "Unknown",
        ),
        (
            commands.SetSettings({"A.B": "1"}),
            {"setVariableResult": [_variable("attributeStatus", "UnknownVariable")]},
            CommandState.REJECTED,
            "UnknownVariable",
        ),
    ],
)
def test_the_stations_own_word_decides(
    command: AnyCommand, answer: dict[str, Any], state: CommandState, status: str
) -> None:
    charger = settled("ocpp2.0.1")
    charger.execute(command)
    charger.answer(**answer)
    assert result(charger) == CommandResult(state, status, answer)


def test_a_callerror_is_returned_with_its_code() -> None:
    charger = settled()
    charger.execute(commands.Reset())
    charger.refuse("InternalError")
    assert result(charger) == CommandResult(
        CommandState.ERROR, error_code="InternalError", error_description="no"
    )
    assert charger.journal("command.finished")[0]["state"] == "error"


def test_several_settings_are_several_calls_of_1_6_and_one_result() -> None:
    charger = settled()
    charger.execute(commands.SetSettings({"A": "1", "B": "2", "C": "3"}))
    for status in ("Accepted", "Rejected", "Accepted"):
        charger.answer(status=status)
    assert [payload["key"] for _, payload in calls(charger)] == ["A", "B", "C"]
    assert result(charger) == CommandResult(
        CommandState.REJECTED,
        "Rejected",
        {"results": {"A": "Accepted", "B": "Rejected", "C": "Accepted"}},
    )


def test_after_an_error_the_rest_of_several_settings_is_not_sent() -> None:
    charger = settled()
    charger.execute(commands.SetSettings({"First": "1", "Second": "2"}))
    charger.refuse("InternalError")
    assert result(charger).state is CommandState.ERROR
    assert len(calls(charger)) == 1


def test_a_remote_start_of_2_x_has_its_own_number() -> None:
    charger = settled("ocpp2.0.1")
    for _ in range(2):
        charger.execute(commands.RemoteStart(1, "TAG", "ISO14443"))
        charger.answer()
    assert [payload["remoteStartId"] for _, payload in calls(charger)] == [1, 2]
    other = charger.reborn()
    other.connect(resumed=True, name=charger.connection)
    other.execute(commands.RemoteStart(1, "TAG"))
    assert other.last_call().payload["remoteStartId"] == 3
    other.answer()
    other.execute(commands.RemoteStart(1, "TAG", remote_start_id=77))
    assert other.last_call().payload["remoteStartId"] == 77


@pytest.mark.parametrize(
    ("version", "command"),
    [
        ("ocpp1.6", commands.RawCall("Reset", {"type": "Sideways"})),
        ("ocpp1.6", commands.RawCall("Heartbeat", {})),
        ("ocpp1.6", commands.RawCall("SetVariables", {})),
        ("ocpp1.6", commands.RemoteStop("f3a1")),
        ("ocpp1.6", commands.RemoteStart(1, "x" * 21)),
        ("ocpp1.6", commands.SetSettings({})),
        ("ocpp1.6", commands.Trigger("Everything")),
        ("ocpp2.0.1", commands.GetSettings()),
        ("ocpp2.0.1", commands.SetSettings({"NoComponent": "1"})),
        ("ocpp2.0.1", commands.RawCall("DataTransfer", {"vendorId": "V", "data": 10**30})),
    ],
)
def test_what_the_version_cannot_say_is_refused_with_the_reason(
    version: str, command: AnyCommand
) -> None:
    charger = settled(version)
    charger.execute(command)
    assert calls(charger) == []
    assert (refusal(charger).kind, refusal(charger).reason) == ("invalid_input", "COMMAND_INVALID")
    assert refusal(charger).message


def test_an_offline_charger_is_refused_at_once() -> None:
    charger = settled()
    charger.disconnect()
    charger.execute(commands.Reset())
    assert (refusal(charger).kind, refusal(charger).reason) == ("unavailable", "CHARGER_OFFLINE")


def test_one_call_is_in_flight_and_the_rest_wait_in_order() -> None:
    charger = settled()
    for number in range(3):
        charger.execute(commands.GetSettings((str(number),)), ask_id=str(number))
    for number in range(3):
        assert [payload["key"] for _, payload in calls(charger)] == [
            [str(sent)] for sent in range(number + 1)
        ]
        charger.answer(configurationKey=[])
    assert all(result(charger, str(number)).state is CommandState.ACCEPTED for number in range(3))


def test_the_queue_is_bounded() -> None:
    charger = settled()
    for number in range(40):
        charger.execute(commands.Reset(), ask_id=str(number))
    assert refusal(charger, "39").reason == "CHARGER_BUSY"
    assert refusal(charger, "39").kind == "exhausted"
    assert charger.answered("0") == []


def test_a_time_out_ends_a_call_and_lets_the_next_one_go() -> None:
    charger = settled()
    charger.execute(commands.Reset(), ask_id="first", timeout_ms=10 * SETTINGS.call_timeout_ms)
    late = charger.last_call()
    charger.execute(commands.Reset(), ask_id="second", timeout_ms=10 * SETTINGS.call_timeout_ms)
    charger.wait(SETTINGS.call_timeout_ms)
    assert result(charger, "first").state is CommandState.TIMED_OUT
    assert len(calls(charger)) == 2
    charger.tell(StationReplied(late.connection, late.message_id, {"status": "Accepted"}))
    assert charger.journal("command.late")[0]["action"] == "Reset"
    assert charger.answered("second") == []
    charger.answer()
    assert result(charger, "second").state is CommandState.ACCEPTED


def test_an_answer_nobody_asked_for_is_journalled_and_ignored() -> None:
    charger = settled()
    charger.tell(StationReplied(charger.connection, "nonsense", {}))
    assert charger.journal("command.late") == [
        {"charger_id": "CP1", "site_id": "site", "message_id": "nonsense", "action": None}
    ]


def test_an_asker_waits_no_longer_than_it_said() -> None:
    charger = settled()
    charger.execute(commands.Reset(), ask_id="sent", timeout_ms=1_000)
    charger.execute(commands.Reset(), ask_id="waiting", timeout_ms=2_000)
    charger.wait(2_000)
    assert result(charger, "sent").state is CommandState.TIMED_OUT
    assert refusal(charger, "waiting").reason == "CHARGER_BUSY"
    charger.answer()
    assert len(charger.answered("sent")) == len(charger.answered("waiting")) == 1
    assert len(calls(charger)) == 1


def test_a_lost_connection_ends_everything_offline() -> None:
    charger = settled()
    charger.execute(commands.Reset(), ask_id="sent")
    charger.execute(commands.Reset(), ask_id="waiting")
    charger.limit(1, 10_000, None)
    charger.disconnect()
    assert result(charger, "sent").state is CommandState.OFFLINE
    assert result(charger, "waiting").state is CommandState.OFFLINE
    assert outcomes(charger) == [(1, CommandState.OFFLINE, False)]
    assert "call" not in charger.timers


def test_a_replacing_connection_ends_what_was_in_flight_on_the_old_one() -> None:
    charger = settled()
    charger.execute(commands.Reset())
    old = charger.last_call()
    charger.connect()
    assert result(charger).state is CommandState.OFFLINE
    charger.tell(StationReplied(old.connection, old.message_id, {"status": "Accepted"}))
    assert len(charger.answered()) == 1


# --- limits ---------------------------------------------------------------------------------------


def limit_sent(charger: Charger) -> float:
    profile = charger.last_call().payload["csChargingProfiles"]
    limit: float = profile["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"]
    return limit


def test_a_limit_is_the_transactions_profile_and_its_outcome_is_told() -> None:
    charger = settled()
    number = charger.start_16()
    charger.limit(7, 16_180, "CP1-1")
    profile = charger.last_call().payload["csChargingProfiles"]
    assert profile["chargingProfilePurpose"] == "TxProfile"
    assert profile["transactionId"] == number
    assert limit_sent(charger) == 16.1
    charger.answer()
    assert outcomes(charger) == [(7, CommandState.ACCEPTED, False)]
    assert charger.records(ActorSnapshot, latest=True) == []
    charger.tell(Ask("view", GetCharger()))
    (view,) = charger.answered("view")
    assert isinstance(view, ChargerView)
    assert view.connectors[0].limit_ma == 16_180


@pytest.mark.parametrize(
    ("status", "state"),
    [("Rejected", CommandState.REJECTED), ("NotSupported", CommandState.REJECTED)],
)
def test_a_refused_limit_is_told_as_refused(status: str, state: CommandState) -> None:
    charger = settled()
    charger.start_16()
    charger.limit(7, 16_000, "CP1-1")
    charger.answer(status=status)
    assert outcomes(charger) == [(7, state, False)]


def test_a_newer_limit_takes_the_place_of_one_that_waits() -> None:
    charger = settled(connectors=2)
    charger.start_16()
    charger.start_16(connector=2)
    charger.limit(1, 10_000, "CP1-1")
    charger.limit(2, 12_000, "CP1-1")
    charger.limit(3, 20_000, "CP1-2", connector=2)
    charger.limit(4, 14_000, "CP1-1")
    assert outcomes(charger) == [(2, CommandState.OFFLINE, True)]
    charger.accept_all()
    assert sorted(outcome[0] for outcome in outcomes(charger)) == [1, 2, 3, 4]
    assert len(calls(charger)) == 3


def test_a_limit_that_waits_is_dropped_with_its_session() -> None:
    charger = settled()
    number = charger.start_16()
    charger.execute(commands.Reset())
    charger.limit(1, 10_000, "CP1-1")
    charger.stop_16(number, 1_000)
    assert outcomes(charger) == [(1, CommandState.OFFLINE, True)]
    charger.accept_all()
    assert [action for action, _ in calls(charger)] == ["Reset"]


def test_reductions_go_ahead_of_everything_that_waits() -> None:
    charger = settled(connectors=2)
    charger.start_16()
    charger.start_16(connector=2)
    charger.limit(1, 16_000, "CP1-1")
    charger.answer()
    charger.limit(2, 16_000, "CP1-2", connector=2)
    charger.answer()
    charger.execute(commands.Reset(), ask_id="in flight")
    charger.execute(commands.Reset(), ask_id="waiting")
    charger.limit(3, 20_000, "CP1-1")
    charger.limit(4, 8_000, "CP1-2", connector=2)
    charger.answer()
    assert limit_sent(charger) == 8.0


def test_limits_do_not_starve_other_commands_nor_the_other_way_round() -> None:
    charger = settled(connectors=3)
    for connector in (1, 2, 3):
        charger.start_16(connector=connector)
        charger.limit(connector, 6_000, f"CP1-{connector}", connector=connector)
        charger.answer()
    charger.all.clear()
    for number in range(3):
        charger.execute(commands.Reset(), ask_id=str(number))
    for connector in (1, 2, 3):
        charger.limit(9, 10_000, f"CP1-{connector}", connector=connector)
    charger.accept_all()
    actions = [action for action, _ in calls(charger)]
    assert actions.count("SetChargingProfile") == actions.count("Reset") == 3
    assert actions[1:4].count("Reset") < 3
    assert actions[1:4].count("SetChargingProfile") < 3


@pytest.mark.parametrize(
    ("session", "connector"), [("CP1-9", 1), ("CP1-1", 2), (None, 9), ("CP1-2", 2)]
)
def test_a_limit_for_nothing_that_runs_is_rejected_unsent(
    session: str | None, connector: int
) -> None:
    charger = settled(connectors=2)
    charger.start_16()
    charger.stop_16(charger.start_16(connector=2), 1_000)
    charger.all.clear()
    charger.limit(1, 10_000, session, connector=connector)
    assert outcomes(charger) == [(1, CommandState.REJECTED, False)]
    assert calls(charger) == []


def test_a_limit_for_an_offline_charger_is_told_offline() -> None:
    charger = settled()
    charger.disconnect()
    charger.all.clear()
    charger.limit(1, 10_000, None)
    assert outcomes(charger) == [(1, CommandState.OFFLINE, False)]


def test_watts_and_phases_are_told_to_chargers_that_take_watts() -> None:
    charger = Charger()
    charger.assign(limit_unit="W")
    charger.connect("ocpp2.0.1")
    charger.wait(SETTINGS.settle_ms)
    charger.answer()
    schedule = charger.last_call().payload["chargingProfile"]["chargingSchedule"][0]
    assert schedule["chargingRateUnit"] == "W"
    assert schedule["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 6 * 230 * 3}]


@pytest.mark.parametrize(("described", "share"), [({}, 0.92), ({"efficiency_percent": 95}, 0.95)])
def test_watts_for_a_vehicle_leave_room_for_the_losses_of_a_rectifier(
    described: dict[str, Any], share: float
) -> None:
    """The rows carry what the charger takes from the grid, which is more than it gives."""
    charger = Charger()
    charger.assign(limit_unit="W", current_type="dc", **described)
    charger.connect("ocpp2.0.1")
    charger.wait(SETTINGS.settle_ms)
    charger.answer()
    schedule = charger.last_call().payload["chargingProfile"]["chargingSchedule"][0]
    assert schedule["chargingSchedulePeriod"][0]["limit"] == int(6 * 230 * 3 * share)


def test_a_request_for_another_kind_of_actor_is_refused() -> None:
    charger = settled()
    charger.tell(Ask("ask", GetFeeder()))
    assert refusal(charger).kind == "invalid_input"


def test_a_limit_whose_answer_is_lost_is_in_doubt_sooner_than_another_command() -> None:
    """Others wait for it: two thirds of the time do, until this station is known to be slower."""
    charger = settled()
    charger.start_16()
    charger.limit(1, 10_000, "CP1-1")
    charger.wait(SETTINGS.call_timeout_ms * 2 // 3)
    assert outcomes(charger)[-1] == (1, CommandState.TIMED_OUT, False)
    first = charger.last_call()
    charger.limit(2, 10_000, "CP1-1")
    late = {"status": "Accepted"}
    charger.tell(StationReplied(first.connection, first.message_id, late))
    charger.wait(SETTINGS.call_timeout_ms * 2 // 3)
    assert outcomes(charger)[-1][0] == 2
    charger.limit(3, 10_000, "CP1-1")
    charger.wait(SETTINGS.call_timeout_ms * 2 // 3)
    assert outcomes(charger)[-1][0] == 2, "it is slow"
    charger.wait(SETTINGS.call_timeout_ms // 3)
    assert outcomes(charger)[-1] == (3, CommandState.TIMED_OUT, False)


def test_what_only_later_versions_can_restart_is_refused_by_the_others() -> None:
    resume = commands.Reset(hard=True, connector_id=2, resume=True)
    new, middle, old = settled("ocpp2.1"), settled("ocpp2.0.1"), settled()
    new.execute(resume)
    assert new.last_call().payload == {"type": "ImmediateAndResume", "evseId": 2}
    middle.execute(resume)
    assert refusal(middle).reason == "COMMAND_INVALID"
    middle.execute(commands.Reset(connector_id=2), "ask-2")
    assert middle.last_call().payload == {"type": "OnIdle", "evseId": 2}
    old.execute(commands.Reset(connector_id=2))
    assert refusal(old).reason == "COMMAND_INVALID"
