"""Questions that a station answers in messages of its own."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import Charger

from controlplane.actor import Ask
from controlplane.charger.messages import Execute
from controlplane.errors import Refusal
from controlplane.ocpp import commands
from controlplane.ocpp.commands import CommandResult, CommandState
from controlplane.store.records import ActorSnapshot

ASKED = commands.GetDisplayMessages()


def settled() -> Charger:
    charger = Charger()
    charger.settle("ocpp2.0.1")
    charger.all.clear()
    return charger


def messages(charger: Charger, request_id: int, *ids: int, more: bool = False) -> None:
    info = [
        {"id": each, "priority": "InFront", "message": {"format": "UTF8", "content": "Hello"}}
        for each in ids
    ]
    answer = charger.call("NotifyDisplayMessages", requestId=request_id, tbc=more, messageInfo=info)
    assert answer == {}


def result(charger: Charger, ask_id: str = "ask") -> CommandResult:
    (answer,) = charger.answered(ask_id)
    assert isinstance(answer, CommandResult), answer
    return answer


def ids(found: CommandResult) -> list[int]:
    return [info["id"] for part in found.report for info in part["messageInfo"]]


def asked(charger: Charger, ask_id: str = "ask") -> int:
    charger.execute(ASKED, ask_id)
    call = charger.last_call()
    assert call.action == "GetDisplayMessages"
    number = call.payload["requestId"]
    assert isinstance(number, int)
    return number


def test_the_asker_is_answered_once_the_last_part_is_there() -> None:
    charger = settled()
    request_id = asked(charger)
    charger.answer(status="Accepted")
    messages(charger, request_id, 1, 2, more=True)
    assert charger.answered() == []
    messages(charger, request_id, 3)
    found = result(charger)
    assert (found.state, found.status) == (CommandState.ACCEPTED, "Accepted")
    assert found.payload == {"status": "Accepted"}
    assert ids(found) == [1, 2, 3]
    charger.wait(60_000)
    assert len(charger.answered()) == 1


def test_a_report_may_overtake_the_answer() -> None:
    charger = settled()
    request_id = asked(charger)
    messages(charger, request_id, 1)
    assert charger.answered() == []
    charger.answer(status="Accepted")
    assert ids(result(charger)) == [1]


def test_that_there_is_nothing_is_an_answer_at_once() -> None:
    charger = settled()
    asked(charger)
    charger.answer(status="Unknown")
    found = result(charger)
    assert (found.state, found.status, found.report) == (CommandState.ACCEPTED, "Unknown", ())


def test_what_came_in_time_is_given_when_the_rest_does_not_come() -> None:
    charger = settled()
    request_id = asked(charger)
    charger.answer(status="Accepted")
    messages(charger, request_id, 1, more=True)
    charger.wait(30_000)
    found = result(charger)
    assert (found.state, ids(found)) == (CommandState.TIMED_OUT, [1])
    messages(charger, request_id, 2)
    assert charger.journal("charger.report")[-1]["asked"] is False


def test_the_connection_takes_the_report_with_it() -> None:
    charger = settled()
    request_id = asked(charger)
    charger.answer(status="Accepted")
    messages(charger, request_id, 1, more=True)
    charger.disconnect()
    found = result(charger)
    assert (found.state, ids(found)) == (CommandState.OFFLINE, [1])


def test_other_commands_go_on_while_a_report_comes_in() -> None:
    charger = settled()
    first = asked(charger, "first")
    charger.answer(status="Accepted")
    second = asked(charger, "second")
    assert second != first
    charger.answer(status="Accepted")
    messages(charger, second, 2)
    messages(charger, first, 1)
    assert (ids(result(charger, "first")), ids(result(charger, "second"))) == ([1], [2])


def test_numbers_of_reports_go_on_on_another_host() -> None:
    charger = settled()
    first = asked(charger)
    other = charger.reborn()
    other.connect("ocpp2.0.1", resumed=True, name=charger.connection)
    other.wait(2_000)
    other.accept_all()
    assert asked(other) > first
    assert any(isinstance(record, ActorSnapshot) for record in charger.records(ActorSnapshot))


def test_a_report_is_kept_within_bounds() -> None:
    charger = settled()
    request_id = asked(charger)
    charger.answer(status="Accepted")
    for number in range(600):
        messages(charger, request_id, number, more=True)
    messages(charger, request_id, 600)
    assert len(result(charger).report) == 512


def test_no_more_reports_are_awaited_than_there_is_room_for() -> None:
    charger = settled()
    for number in range(40):
        charger.execute(ASKED, f"ask-{number}")
        if charger.outstanding is not None:
            charger.answer(status="Accepted")
    refused = [charger.answered(f"ask-{number}") for number in range(16, 40)]
    assert all(isinstance(answer, Refusal) for (answer,) in refused)
    assert not any(charger.answered(f"ask-{number}") for number in range(16))
    charger.wait(30_000)
    assert all(
        result(charger, f"ask-{number}").state is CommandState.TIMED_OUT for number in range(16)
    )
    charger.execute(ASKED, "again")
    assert charger.answered("again") == []


def test_a_question_that_cannot_be_asked_takes_no_room() -> None:
    charger = settled()
    wrong = commands.GetCustomerInformation(report=True, clear=False)
    for number in range(20):
        charger.execute(wrong, f"wrong-{number}")
        (answer,) = charger.answered(f"wrong-{number}")
        assert isinstance(answer, Refusal)
        assert answer.reason == "COMMAND_INVALID"
    asked(charger)


def customer(charger: Charger, **payload: Any) -> None:
    charger.call(
        "NotifyCustomerInformation", seqNo=0, generatedAt=charger.at(), requestId=1, **payload
    )


def test_what_is_kept_of_a_customer_is_not_written_down_here() -> None:
    charger = settled()
    charger.tell(
        Ask("ask", Execute(commands.GetCustomerInformation(report=True, clear=True, id_token="T")))
    )
    charger.answer(status="Accepted")
    customer(charger, data="name: Ann")
    assert result(charger).report[0]["data"] == "name: Ann"
    assert "Ann" not in repr(charger.journal("charger.report"))


@pytest.mark.parametrize("status", ["Accepted", "Rejected", "Invalid"])
def test_a_customer_is_only_cleared(status: str) -> None:
    charger = settled()
    charger.execute(commands.GetCustomerInformation(report=False, clear=True, id_token="T"))
    charger.answer(status=status)
    expected = CommandState.ACCEPTED if status == "Accepted" else CommandState.REJECTED
    assert result(charger).state is expected
