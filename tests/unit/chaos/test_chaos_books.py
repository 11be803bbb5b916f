"""What counts as acknowledged, as a stale command and as served again."""

from __future__ import annotations

import json
from typing import Any

from controlplane.chaos.books import Books, Epochs, Reading

AT = "2026-03-01T12:00:00.250Z"
AT_MS = 1_772_366_400_250
VALUES_V16 = {
    "connectorId": 1,
    "transactionId": 5,
    "meterValue": [
        {
            "timestamp": AT,
            "sampledValue": [
                {"value": "120", "measurand": "Energy.Active.Import.Register", "unit": "Wh"},
                {"value": "7000", "measurand": "Power.Active.Import", "unit": "W"},
            ],
        }
    ],
}
EVENT_V201 = {
    "eventType": "Updated",
    "evse": {"id": 2, "connectorId": 1},
    "meterValue": [
        {
            "timestamp": AT,
            "sampledValue": [{"value": 77, "measurand": "Energy.Active.Import.Register"}],
        }
    ],
}


def asked(books: Books, id: str, action: str, payload: dict[str, Any], now_s: float) -> None:
    books.said(json.dumps([2, id, action, payload]), now_s)


def answered(books: Books, id: str, now_s: float) -> None:
    books.heard(json.dumps([3, id, {}]), now_s)


def test_a_reading_is_acknowledged_by_the_answer_and_not_by_the_sending() -> None:
    books = Books("CP1")
    asked(books, "a", "MeterValues", VALUES_V16, 0.0)
    asked(books, "b", "TransactionEvent", EVENT_V201, 0.0)
    assert not books.readings
    answered(books, "a", 1.0)
    answered(books, "b", 1.0)
    assert books.readings == {Reading("CP1", 1, AT_MS, 120), Reading("CP1", 2, AT_MS, 77)}
    assert (books.acknowledged, books.refused) == (2, 0)


def test_an_error_acknowledges_nothing() -> None:
    books = Books("CP1")
    asked(books, "a", "MeterValues", VALUES_V16, 0.0)
    books.heard(json.dumps([4, "a", "InternalError", "", {}]), 1.0)
    assert not books.readings
    assert (books.acknowledged, books.refused) == (0, 1)


def test_what_carries_no_transaction_is_not_counted() -> None:
    books = Books("CP1")
    asked(books, "a", "Heartbeat", {}, 0.0)
    answered(books, "a", 1.0)
    assert books.acknowledged == 0


def command(books: Books, message_id: str, now_s: float = 0.0) -> None:
    books.heard(json.dumps([2, message_id, "SetChargingProfile", {}]), now_s)


def test_a_command_under_a_lower_epoch_after_a_higher_one_is_stale() -> None:
    books = Books("CP1")
    for message_id in ("9.18f0-1", "a.18f1-1", "a.18f1-2", "9.18f0-2", "10.18f2-1"):
        command(books, message_id)
    assert books.told == {"SetChargingProfile": 5}
    assert books.stale == ["CP1: SetChargingProfile under 9 after 10"]


def test_a_site_has_one_owner_at_a_time() -> None:
    """What follows the answer to a question was sent after it, by an owner that goes on."""
    epochs = Epochs()
    one, other = Books("CP1", epochs), Books("CP2", epochs)
    command(one, "9.18f0-1", 10.0)
    command(other, "a.18f1-1", 20.0)
    asked(one, "a", "Heartbeat", {}, 21.0)
    answered(one, "a", 22.0)
    command(one, "9.18f0-2", 23.0)
    assert one.stale == ["CP1: SetChargingProfile under 9 when its site was under 10"]
    command(one, "a.18f1-2", 24.0)
    assert (len(one.stale), len(other.stale)) == (1, 0)


def test_what_was_sent_before_another_owner_came_may_be_read_later() -> None:
    """It waited in the network, and comes before whatever was sent since."""
    epochs = Epochs()
    one, other = Books("CP1", epochs), Books("CP2", epochs)
    asked(one, "a", "Heartbeat", {}, 19.0)
    command(other, "a.18f1-1", 20.0)
    asked(one, "b", "Heartbeat", {}, 21.0)
    answered(one, "a", 30.0)
    command(one, "9.18f0-1", 30.0)
    answered(one, "b", 30.1)
    assert not one.stale


def test_a_station_waits_from_its_question_or_the_blow_until_anything_is_answered() -> None:
    books = Books("CP1")
    asked(books, "before", "Heartbeat", {}, 9.0)
    books.struck(10.0)
    asked(books, "again", "BootNotification", {}, 12.0)
    assert books.waits
    answered(books, "again", 13.0)
    assert not books.waits
    assert (books.waited_max_s, books.served_s) == (3.0, 12.0)
    asked(books, "after", "Heartbeat", {}, 14.0)
    answered(books, "after", 14.5)
    assert (books.waited_max_s, books.served_s) == (3.0, 14.0)


def test_an_error_is_no_service() -> None:
    books = Books("CP1")
    books.struck(10.0)
    asked(books, "a", "Heartbeat", {}, 11.0)
    books.heard(json.dumps([4, "a", "InternalError", "", {}]), 12.0)
    assert books.waits
    assert books.served_s == 0.0


def test_who_has_no_line_to_ask_on_waits_too() -> None:
    books = Books("CP1")
    books.struck(10.0)
    books.wants(11.0)
    asked(books, "a", "BootNotification", {}, 15.0)
    answered(books, "a", 16.0)
    assert books.waited_max_s == 5.0
