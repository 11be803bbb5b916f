"""Samples that a site wants before the station takes one by itself, and what they prove."""

from __future__ import annotations

import pytest
from charger_driver import SETTINGS, Charger

from controlplane.actor import Call
from controlplane.charger.messages import SampleWanted
from controlplane.site.messages import ConnectorMetered


@pytest.mark.parametrize(
    ("version", "asked"),
    [
        ("ocpp1.6", {"requestedMessage": "MeterValues", "connectorId": 1}),
        ("ocpp2.0.1", {"requestedMessage": "TransactionEvent", "evse": {"id": 1}}),
        ("ocpp2.1", {"requestedMessage": "TransactionEvent", "evse": {"id": 1}}),
    ],
)
def test_the_station_is_asked_to_measure(version: str, asked: dict[str, object]) -> None:
    charger = Charger()
    charger.settle(version)
    charger.tell(SampleWanted(1))
    assert charger.found(Call)[0].payload == asked
    charger.tell(SampleWanted(1))
    assert charger.found(Call) == [], "it has not answered yet"
    charger.answer()
    charger.tell(SampleWanted(1))
    assert charger.found(Call)[0].payload == asked


def test_a_station_that_cannot_is_asked_once_on_a_connection() -> None:
    charger = Charger()
    charger.settle()
    charger.tell(SampleWanted(1))
    charger.refuse("NotImplemented")
    charger.tell(SampleWanted(1))
    assert charger.found(Call) == []
    charger.disconnect()
    charger.tell(SampleWanted(1))
    assert charger.found(Call) == []
    charger.connect()
    charger.wait(2_000)
    charger.accept_all()
    charger.tell(SampleWanted(1))
    assert len(charger.found(Call)) == 1


def sample(
    charger: Charger, amperes: float, *, context: str = "Sample.Periodic", clock_ms: int = 0
) -> dict[str, object]:
    """What is measured now by a station whose clock is `clock_ms` ahead."""
    value = {"value": str(amperes), "measurand": "Current.Import", "unit": "A", "context": context}
    return {"timestamp": charger.at(clock_ms), "sampledValue": [value]}


def say(charger: Charger, *samples: dict[str, object]) -> list[ConnectorMetered]:
    """The station tells samples in one message; what the site is told."""
    charger.call("MeterValues", connectorId=1, transactionId=1, meterValue=list(samples))
    return charger.told(ConnectorMetered, latest=True)


def told_fresh(
    charger: Charger, context: str = "Trigger", amperes: float = 6, *, clock_ms: int = 0
) -> bool:
    """The station tells a sample; whether the site may take it for newer than the limit."""
    return say(charger, sample(charger, amperes, context=context, clock_ms=clock_ms))[-1].fresh


def charging() -> Charger:
    charger = Charger()
    charger.settle()
    charger.start_16()
    charger.limit(1, 6_000, "CP1-1")
    charger.answer()
    return charger


def ask(charger: Charger) -> None:
    charger.tell(SampleWanted(1))
    charger.answer()


def test_a_sample_is_newer_than_the_limit_where_it_was_asked_for_after_that() -> None:
    charger = charging()
    assert not told_fresh(charger), "nobody had asked"
    ask(charger)
    assert not told_fresh(charger, "Sample.Periodic", 7), "it may have waited for long"
    assert told_fresh(charger, amperes=8)
    assert not told_fresh(charger, amperes=9), "one question has one answer"


def test_a_sample_that_was_asked_for_before_the_limit_proves_nothing() -> None:
    charger = charging()
    ask(charger)
    charger.limit(2, 8_000, "CP1-1")
    charger.answer()
    assert not told_fresh(charger)
    ask(charger)
    assert told_fresh(charger, amperes=8)


def test_an_answer_that_was_lost_leaves_each_later_one_to_the_question_before() -> None:
    charger = charging()
    ask(charger)
    charger.limit(2, 8_000, "CP1-1")
    charger.answer()
    charger.wait(5_000)
    ask(charger)
    asked_ms = charger.now_ms
    assert not told_fresh(charger, amperes=7), "it may be the answer that seemed lost"
    charger.wait(10_000)
    ask(charger)
    assert told_fresh(charger, amperes=8), "whichever it answers, that was put after the limit"
    assert charger.told(ConnectorMetered, latest=True)[-1].at_ms == asked_ms


def test_a_sample_that_comes_before_the_station_says_that_it_will_is_an_answer() -> None:
    charger = charging()
    charger.tell(SampleWanted(1))
    assert told_fresh(charger)
    charger.answer()
    assert not told_fresh(charger, amperes=7), "one question has one answer"
    charger.tell(SampleWanted(1))
    assert told_fresh(charger, amperes=8)
    charger.wait(SETTINGS.call_timeout_ms)
    charger.limit(2, 8_000, "CP1-1")
    charger.answer()
    ask(charger)
    assert told_fresh(charger, amperes=9), "it was answered, though that was never said"


def test_a_question_whose_answer_is_lost_keeps_limits_waiting_no_longer_than_another_limit() -> (
    None
):
    charger = charging()
    charger.tell(SampleWanted(1))
    charger.limit(2, 8_000, "CP1-1")
    assert not charger.found(Call), "one CALL at a time"
    charger.wait(SETTINGS.call_timeout_ms * 2 // 3)
    assert charger.last_call().action == "SetChargingProfile"


def test_what_is_measured_is_told_though_a_clock_was_ahead_before() -> None:
    """The station's, by less than is corrected; or ours, until it was set back."""
    charger = charging()
    assert not told_fresh(charger, "Sample.Periodic", clock_ms=30_000)
    assert charger.told(ConnectorMetered, latest=True)[-1].at_ms == charger.now_ms
    charger.wait(1_000)
    told_fresh(charger, "Sample.Periodic", 7)
    assert charger.told(ConnectorMetered, latest=True)[-1].current_ma[0] == 7_000
    charger.now_ms -= 60_000
    told_fresh(charger, "Sample.Periodic", 8)
    assert charger.told(ConnectorMetered, latest=True)[-1].current_ma[0] == 8_000


def test_a_question_that_was_never_answered_is_forgotten() -> None:
    charger = charging()
    ask(charger)
    charger.wait(121_000)
    ask(charger)
    assert told_fresh(charger)
    charger.disconnect()
    charger.connect()
    charger.wait(2_000)
    charger.accept_all()
    ask(charger)
    assert told_fresh(charger, amperes=7)


def test_a_sample_that_was_asked_for_counts_as_taken_no_earlier_than_that() -> None:
    """Whatever the station's clock shows: here it is 25 s behind ours."""
    charger = charging()
    for _ in range(3):
        charger.wait(30_000)
        charger.call("StatusNotification", connectorId=1, errorCode="NoError", status="Charging",
                     timestamp=charger.at(-25_000))  # fmt: skip
    charger.tell(SampleWanted(1))
    asked_ms = charger.now_ms
    charger.wait(3_000)
    charger.answer()
    assert told_fresh(charger, clock_ms=-25_000)
    assert charger.told(ConnectorMetered, latest=True)[-1].at_ms == asked_ms


def test_a_sample_that_waited_in_the_station_is_no_answer() -> None:
    """One of a connection before, told half a minute late."""
    charger = charging()
    ask(charger)
    assert not told_fresh(charger, clock_ms=-30_000)


def test_a_sample_that_was_asked_for_is_told_though_the_clock_was_set_back() -> None:
    charger = charging()
    charger.wait(121_000)
    assert not told_fresh(charger, "Sample.Periodic", clock_ms=240_000)
    ask(charger)
    assert told_fresh(charger, amperes=7, clock_ms=0)
    assert charger.told(ConnectorMetered, latest=True)[-1].at_ms == charger.now_ms


def test_what_a_host_before_asked_for_proves_nothing() -> None:
    charger = charging().reborn()
    charger.connect(resumed=True, name="x")
    charger.wait(10_000)
    ask(charger)
    assert not told_fresh(charger), "the host before may have asked"
    charger.wait(30_000)
    ask(charger)
    assert told_fresh(charger, amperes=7)


def test_a_station_whose_clock_was_set_back_by_minutes_is_asked_what_flows() -> None:
    """It, or a message that was told late, shows a time before that of the latest sample."""
    charger = charging()
    told_fresh(charger, "Sample.Periodic", clock_ms=240_000)
    charger.wait(30_000)
    assert say(charger, sample(charger, 8, clock_ms=-60_000)) == []
    assert charger.found(Call) == [], "it may be the history of the connection before"
    charger.wait(91_000)
    told_fresh(charger, "Sample.Periodic", clock_ms=240_000)
    charger.wait(30_000)
    assert say(charger, sample(charger, 9, clock_ms=-60_000)) == []
    (asked,) = charger.found(Call)
    assert asked.action == "TriggerMessage"
    asked_ms = charger.now_ms
    charger.answer()
    (told,) = say(charger, sample(charger, 10, context="Trigger", clock_ms=-60_000))
    assert (told.current_ma[0], told.at_ms, told.fresh) == (10_000, asked_ms, True)
    assert say(charger, sample(charger, 9, clock_ms=-400_000)) == []
    assert charger.found(Call) == [], "history that is told late costs few questions"


def test_of_what_one_message_lists_the_newest_is_told() -> None:
    charger = charging()
    charger.wait(121_000)
    (told,) = say(charger, sample(charger, 8), sample(charger, 7, clock_ms=-30_000))
    assert told.current_ma[0] == 8_000


def test_an_answer_of_several_readings_answers_one_question() -> None:
    charger = charging()
    ask(charger)
    charger.limit(2, 8_000, "CP1-1")
    charger.answer()
    charger.wait(1_000)
    ask(charger)
    both = [sample(charger, 6, context="Trigger", clock_ms=each) for each in (-900, -800)]
    assert not say(charger, *both)[-1].fresh
    assert told_fresh(charger, amperes=9), "it answers the second question"


def test_answers_to_questions_that_were_given_up_prove_nothing() -> None:
    """The station works through its backlog: everything comes two minutes late."""
    charger = charging()
    charger.wait(121_000)
    taken_ms = []
    for _ in range(30):
        ask(charger)
        taken_ms.append(charger.now_ms)
        charger.wait(5_000)
    charger.limit(2, 8_000, "CP1-1")
    charger.answer()
    ask(charger)
    for number, each_ms in enumerate(taken_ms):
        late_ms = each_ms - charger.now_ms
        told = say(charger, sample(charger, 10 + number, context="Trigger", clock_ms=late_ms))
        assert not any(each.fresh for each in told)


def test_a_question_is_given_up_once() -> None:
    """What a station tells unasked after that does not count as another one."""
    charger = charging()
    ask(charger)
    for amperes in (7, 8):
        charger.wait(121_000 if amperes == 7 else 61_000)
        assert not told_fresh(charger, amperes=amperes)
    charger.wait(61_000)
    assert say(charger, sample(charger, 9, clock_ms=-180_000)) == []
    assert [call.action for call in charger.found(Call)] == ["TriggerMessage"]
