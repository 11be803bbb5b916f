"""The judge finds what is lost, what is twice, and what was counted wrong."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.chaos.audit import (
    Findings,
    Metered,
    StoredCommand,
    StoredSession,
    judge,
    judge_commands,
)
from controlplane.chaos.books import Reading

READING = Reading("CP1", 1, 1_000, 120)
METERED = Metered("CP1", 1, "5", 300)
STORED = StoredSession("CP1", 1, "5", ended=True, energy_wh=300)


def judged(
    stored: dict[Reading, int] | None = None,
    metered: Iterable[Metered] = (METERED,),
    sessions: Iterable[StoredSession] = (STORED,),
) -> Findings:
    return judge(
        acknowledged=[READING],
        stored={READING: 1} if stored is None else stored,
        metered=list(metered),
        sessions=sessions,
    )


def test_books_that_agree_are_left_in_peace() -> None:
    assert judged() == Findings()


def test_what_is_stored_and_was_never_acknowledged_is_no_fault() -> None:
    assert judged({READING: 1, Reading("CP1", 1, 2_000, 130): 1}) == Findings()


def test_an_acknowledged_reading_that_is_not_stored_is_lost() -> None:
    assert len(judged({}).lost) == 1


def test_a_reading_that_is_stored_twice_is_duplicated() -> None:
    assert len(judged({READING: 2}).duplicated) == 1


def test_a_transaction_without_a_session_is_lost() -> None:
    assert judged(sessions=()).lost == ["CP1/1 transaction 5: no session"]


def test_a_transaction_with_two_sessions_is_duplicated() -> None:
    assert judged(sessions=(STORED, STORED)).duplicated == ["CP1/1 transaction 5: 2 sessions"]


def test_two_transactions_of_one_number_are_duplicated() -> None:
    assert judged(metered=(METERED, METERED)).duplicated


def test_a_session_that_never_was_is_duplicated() -> None:
    assert judged(metered=()).duplicated == ["CP1 transaction 5: never was"]


def test_a_charge_record_is_compared_to_the_watt_hour() -> None:
    wrong = StoredSession("CP1", 1, "5", ended=True, energy_wh=299)
    running = StoredSession("CP1", 1, "5", ended=False, energy_wh=300)
    assert judged(sessions=(wrong,)).records == [
        "CP1/1 transaction 5: 300 Wh by the meter, 299 Wh stored"
    ]
    assert judged(sessions=(running,)).records == ["CP1/1 transaction 5: stored as running"]


def commands(*stages: str) -> list[StoredCommand]:
    return [StoredCommand("CP1", f"r{number}", stage) for number, stage in enumerate(stages)]


def test_a_command_that_ended_as_unknown_may_have_been_carried_out_once_or_not() -> None:
    held = commands("answered", "unknown", "not_sent")
    assert judge_commands(held, {"CP1": 1}, {"CP1": 3}) == []
    assert judge_commands(held, {"CP1": 2}, {"CP1": 3}) == []
    assert judge_commands(held, {"CP1": 3}, {"CP1": 3}) == [
        "CP1: told 3 times, by the stages 1 to 2"
    ]
    assert judge_commands(held, {}, {"CP1": 3}) == ["CP1: told 0 times, by the stages 1 to 2"]


def test_a_command_without_an_end_and_one_that_was_taken_in_twice_are_found() -> None:
    assert judge_commands(commands("queued"), {}, {}) == ["CP1: 1 commands have no end"]
    assert judge_commands(commands("not_sent") * 2, {}, {}) == ["CP1: a request was taken in twice"]
    assert judge_commands([], {"CP1": 0}, {"CP1": 1}) == [
        "CP1: a request that was taken in is not stored"
    ]
