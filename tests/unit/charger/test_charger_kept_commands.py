"""Commands as resources: their stages, and what becomes of them when a host dies."""

from __future__ import annotations

import pytest
from charger_driver import Charger

from controlplane.actor import Ask
from controlplane.charger.messages import CancelCommand, Execute, Submit
from controlplane.errors import Refusal
from controlplane.ocpp import commands
from controlplane.ocpp.commands import AnyCommand, CommandResult, CommandState
from controlplane.store.records import CommandRecord, CommandStage

UNLOCK = commands.UnlockConnector(1)
SETTINGS_READ = commands.GetSettings(("HeartbeatInterval",))


def settled() -> Charger:
    charger = Charger()
    charger.settle()
    charger.all.clear()
    return charger


def submit(
    charger: Charger,
    command: AnyCommand,
    command_id: str = "c1",
    *,
    ask_id: str = "ask",
    wait: bool = True,
    fingerprint: bytes = b"same",
    timeout_ms: int = 30_000,
) -> None:
    wish = Execute(command, timeout_ms)
    charger.tell(Ask(ask_id, Submit(command_id, "Type", "r1", fingerprint, b"text", wish, wait)))


def stages(charger: Charger, command_id: str = "c1") -> list[CommandStage]:
    return [each.stage for each in charger.records(CommandRecord) if each.command_id == command_id]


def kept(charger: Charger, command_id: str = "c1") -> CommandRecord:
    return [each for each in charger.records(CommandRecord) if each.command_id == command_id][-1]


def test_a_command_is_written_down_before_it_leaves_and_when_it_is_answered() -> None:
    charger = settled()
    submit(charger, UNLOCK)
    assert stages(charger) == [CommandStage.SENT]
    charger.answer(status="Unlocked")
    assert stages(charger) == [CommandStage.SENT, CommandStage.ANSWERED]
    (answer,) = charger.answered()
    assert isinstance(answer, CommandResult)
    assert [event["stage"] for event in charger.journal("command.changed")] == ["sent", "answered"]


def test_one_that_waits_is_queued_and_may_be_taken_back() -> None:
    charger = settled()
    submit(charger, UNLOCK, "c1")
    submit(charger, UNLOCK, "c2", ask_id="second")
    assert stages(charger, "c2") == [CommandStage.QUEUED]
    charger.tell(Ask("cancel", CancelCommand("c2")))
    (record,) = charger.answered("cancel")
    assert isinstance(record, CommandRecord)
    assert record.stage is CommandStage.CANCELLED
    (told,) = charger.answered("second")
    assert isinstance(told, Refusal)
    assert told.reason == "COMMAND_CANCELLED"
    charger.tell(Ask("late", CancelCommand("c1")))
    (refusal,) = charger.answered("late")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "COMMAND_SENT"
    charger.answer(status="Unlocked")
    assert charger.outstanding is None
    assert stages(charger) == [CommandStage.SENT, CommandStage.ANSWERED]


def test_the_same_command_is_carried_out_once_and_answers_everybody() -> None:
    charger = settled()
    submit(charger, UNLOCK, ask_id="first")
    submit(charger, UNLOCK, ask_id="second")
    submit(charger, UNLOCK, ask_id="third", wait=False)
    submit(charger, UNLOCK, ask_id="other", fingerprint=b"different")
    (record,) = charger.answered("third")
    assert isinstance(record, CommandRecord)
    assert record.stage is CommandStage.SENT
    (refusal,) = charger.answered("other")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "REQUEST_ID_REUSED"
    charger.answer(status="Unlocked")
    assert charger.outstanding is None
    assert charger.answered("first") == charger.answered("second")
    assert len(charger.answered("first")) == 1


def test_whoever_does_not_wait_is_told_that_it_was_taken_in() -> None:
    charger = settled()
    submit(charger, UNLOCK, wait=False)
    (record,) = charger.answered()
    assert isinstance(record, CommandRecord)
    assert (record.stage, record.attempts) == (CommandStage.SENT, 1)
    charger.answer(status="UnlockFailed")
    assert kept(charger).stage is CommandStage.REFUSED
    assert len(charger.answered()) == 1


def test_what_is_refused_at_once_is_not_kept() -> None:
    charger = Charger()
    charger.assign()
    submit(charger, UNLOCK)
    (refusal,) = charger.answered()
    assert isinstance(refusal, Refusal)
    assert refusal.reason == "CHARGER_OFFLINE"
    assert stages(charger) == []


def test_silence_ends_as_timed_out_and_a_lost_connection_as_unknown() -> None:
    charger = settled()
    submit(charger, UNLOCK, "c1", timeout_ms=5_000)
    charger.wait(5_000)
    assert kept(charger).stage is CommandStage.TIMED_OUT
    charger.answer(status="Unlocked")
    assert kept(charger).stage is CommandStage.TIMED_OUT
    submit(charger, UNLOCK, "c2")
    submit(charger, UNLOCK, "c3")
    charger.disconnect()
    assert kept(charger, "c2").stage is CommandStage.UNKNOWN
    assert kept(charger, "c3").stage is CommandStage.NOT_SENT


def test_after_a_crash_what_was_not_sent_goes_on() -> None:
    charger = settled()
    submit(charger, UNLOCK, "c1")
    submit(charger, UNLOCK, "c2")
    other = charger.reborn()
    assert kept(other, "c1").stage is CommandStage.UNKNOWN
    assert stages(other, "c2") == []
    # Whoever had waited asks the next host, before the charger is there.
    submit(other, UNLOCK, "c2", ask_id="again")
    other.connect(resumed=True, name=charger.connection)
    assert kept(other, "c2").stage is CommandStage.SENT
    other.answer(status="Unlocked")
    assert (kept(other, "c2").stage, kept(other, "c2").attempts) == (CommandStage.ANSWERED, 1)
    (answer,) = other.answered("again")
    assert isinstance(answer, CommandResult)
    assert answer.state is CommandState.ACCEPTED


def test_after_a_crash_a_question_is_asked_again() -> None:
    charger = settled()
    submit(charger, SETTINGS_READ)
    other = charger.reborn()
    other.connect(resumed=True, name=charger.connection)
    other.answer(configurationKey=[], unknownKey=["HeartbeatInterval"])
    assert (kept(other).stage, kept(other).attempts) == (CommandStage.ANSWERED, 2)
    assert kept(other).sent_ms == kept(charger).sent_ms


@pytest.mark.parametrize(
    ("command", "stage", "reason"),
    [
        (SETTINGS_READ, CommandStage.UNKNOWN, "OUTCOME_UNKNOWN"),
        (None, CommandStage.NOT_SENT, "CHARGER_OFFLINE"),
    ],
)
def test_a_charger_that_does_not_come_back_in_time_ends_its_commands(
    command: AnyCommand | None, stage: CommandStage, reason: str
) -> None:
    charger = settled()
    submit(charger, UNLOCK, "c0")
    if command is not None:
        charger.answer(status="Unlocked")
    submit(charger, command or UNLOCK, "c1")
    other = charger.reborn()
    submit(other, command or UNLOCK, "c1", ask_id="again")
    other.wait(30_000)
    assert kept(other).stage is stage
    (refusal,) = other.answered("again")
    assert isinstance(refusal, Refusal)
    assert refusal.reason == reason


def test_passwords_are_not_kept_and_what_held_one_does_not_go_on() -> None:
    charger = settled()
    submit(charger, UNLOCK, "c0")
    submit(charger, commands.SetSettings({"AuthorizationKey": "a secret of theirs"}))
    record = kept(charger)
    assert (record.request, record.wish) == (b"", b"")
    assert kept(charger.reborn()).stage is CommandStage.NOT_SENT


def test_every_command_is_either_repeatable_or_not_and_what_moves_something_is_not() -> None:
    moving = (
        commands.RemoteStart(1, "TAG"),
        commands.RemoteStop("7"),
        commands.Reset(),
        UNLOCK,
        commands.ReserveNow(1, 1, "TAG", 2),
        commands.RawCall("SetChargingProfile", {}),
        commands.RawCall("GetLog", {}),
        commands.Trigger("SignChargePointCertificate"),
    )
    assert not any(commands.repeatable(each) for each in moving)
    harmless = (
        SETTINGS_READ,
        commands.ChangeAvailability(1, operative=False),
        commands.SetSettings({"A": "1"}),
        commands.RawCall("GetVariables", {}),
        commands.Trigger("Heartbeat"),
    )
    assert all(commands.repeatable(each) for each in harmless)


def test_commands_under_way_are_bounded() -> None:
    charger = settled()
    for number in range(40):
        submit(charger, UNLOCK, f"c{number}", ask_id=f"ask-{number}")
    refused = [
        number
        for number in range(40)
        if any(isinstance(each, Refusal) for each in charger.answered(f"ask-{number}"))
    ]
    assert refused
    assert all(stages(charger, f"c{number}") == [] for number in refused)
