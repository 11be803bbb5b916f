"""Reservations: kept for one driver and group, and each over exactly once."""

from __future__ import annotations

from typing import Any

from token_charger import TokenCharger

from controlplane.charger.messages import ReservationAnswer
from controlplane.errors import Refusal
from controlplane.ocpp.commands import CommandState
from controlplane.store.records import ReservationRecord, ReservationState
from controlplane.tokens import Authorisation, Token, TokenState

OPEN = Authorisation()


def ready(version: str = "ocpp1.6", **description: Any) -> TokenCharger:
    charger = TokenCharger(OPEN)
    charger.settle(version, **description)
    charger.store(Token("ANNA", group_id="G"), Token("BEN", group_id="g"))
    return charger


def kept(charger: TokenCharger, connector_id: int = 1, **given: Any) -> None:
    charger.reserve(connector_id, **given)
    charger.answer()


def ends(charger: TokenCharger) -> list[str]:
    return [str(event["reason"]) for event in charger.journal("reservation.ended")]


def test_a_reservation_is_stored_before_the_station_hears_of_it() -> None:
    charger = ready()
    charger.reserve(1)
    assert charger.reservation().state is ReservationState.ASKED
    assert charger.last_call().payload["parentIdTag"] == "G"
    charger.answer()
    (answer,) = charger.answered("reserve")
    assert isinstance(answer, ReservationAnswer) and answer.reservation is not None
    assert answer.result.state is CommandState.ACCEPTED
    assert answer.reservation.state is ReservationState.ACTIVE
    assert answer.reservation.reservation_id == "CP1-R1"


def test_somebody_else_is_refused_and_the_group_is_served() -> None:
    charger = ready(connectors=2)
    kept(charger)
    assert charger.start("CARL")["status"] == "Blocked"
    assert charger.session().token_status == "NotAtThisTime"
    assert charger.start("CARL", connector=2)["status"] == "Accepted"
    assert ends(charger) == []
    assert charger.start("BEN", connector=1)["status"] == "Accepted"
    assert ends(charger) == ["used"]
    assert charger.reservation().session_id == "CP1-3"


def test_a_reservation_of_any_connector_leaves_one_free() -> None:
    charger = ready(connectors=2)
    kept(charger, 0)
    assert charger.start("CARL", connector=1)["status"] == "Accepted"
    assert charger.start("DORA", connector=2)["status"] == "Blocked"
    assert charger.start("ANNA", connector=2)["status"] == "Accepted"
    assert ends(charger) == ["used"]


def test_a_connector_that_nobody_can_use_is_not_the_one_that_is_left() -> None:
    charger = ready(connectors=3)
    kept(charger, 0)
    charger.status_16("Faulted", connector=3)
    assert charger.start("CARL", connector=1)["status"] == "Accepted"
    assert charger.start("DORA", connector=2)["status"] == "Blocked"
    # Nor is one that is kept for somebody in particular.
    other = ready(connectors=2)
    kept(other, 0)
    kept(other, 2)
    assert other.start("CARL", connector=1)["status"] == "Blocked"


def test_it_is_over_at_its_expiry_whether_the_station_tells_or_not() -> None:
    charger = ready()
    kept(charger, seconds=60)
    charger.wait(59_999)
    assert ends(charger) == []
    charger.wait(1)
    assert ends(charger) == ["expired"]
    assert charger.start("CARL")["status"] == "Accepted"


def test_it_expires_on_another_host_too() -> None:
    charger = ready()
    kept(charger, seconds=60)
    other = TokenCharger(OPEN, snapshot=charger.snapshot, now_ms=charger.now_ms + 5_000)
    other.wait(60_000)
    assert ends(other) == ["expired"]


def test_what_the_station_was_never_heard_about_is_taken_back() -> None:
    charger = ready()
    charger.reserve(1)
    other = TokenCharger(OPEN, snapshot=charger.snapshot, now_ms=charger.now_ms + 5_000)
    assert ends(other) == ["unconfirmed"]
    other.connect()
    other.wait(5_000)
    other.accept_all()
    assert other.last_call().action == "CancelReservation"
    assert other.last_call().payload == {"reservationId": 1}


def test_a_connector_that_fails_keeps_nothing() -> None:
    """1.6 section 5.13: a reservation ends when the connector is Faulted or Unavailable."""
    for status, reason in (("Faulted", "faulted"), ("Unavailable", "unavailable")):
        charger = ready(connectors=2)
        kept(charger)
        charger.status_16(status, connector=2)
        assert ends(charger) == []
        charger.status_16(status)
        assert ends(charger) == [reason]


def test_a_station_in_safe_mode_still_keeps_its_connectors() -> None:
    charger = ready()
    kept(charger)
    charger.status_16("Faulted", connector=0)
    assert ends(charger) == []
    charger.status_16("Unavailable", connector=0)
    assert ends(charger) == ["unavailable"]


def test_a_1_6_station_that_is_available_again_has_let_go() -> None:
    charger = ready()
    charger.status_16("Available")
    kept(charger)
    charger.status_16("Available")
    assert ends(charger) == []
    charger.status_16("Reserved")
    charger.status_16("Available")
    assert ends(charger) == ["removed"]


def test_a_2_x_station_tells_why_it_let_go() -> None:
    charger = ready("ocpp2.0.1")
    for told, reason in (("Expired", "expired"), ("Removed", "removed")):
        kept(charger)
        number = charger.reservation().number
        charger.call("ReservationStatusUpdate", reservationId=number, reservationUpdateStatus=told)
        charger.call("ReservationStatusUpdate", reservationId=number, reservationUpdateStatus=told)
        assert ends(charger)[-1] == reason
    assert len(ends(charger)) == 2


def test_cancelling_ends_it_also_where_the_station_knows_of_none() -> None:
    for status in ("Accepted", "Rejected"):
        charger = ready()
        kept(charger)
        charger.unreserve(1)
        charger.answer(status=status)
        (answer,) = charger.answered("unreserve")
        assert isinstance(answer, ReservationAnswer) and answer.reservation is not None
        assert answer.reservation.end_reason == "cancelled"
        charger.unreserve(1)
        refusal = charger.answered("unreserve")[-1]
        assert isinstance(refusal, Refusal) and refusal.reason == "RESERVATION_ENDED"


def test_a_station_that_refuses_keeps_nothing() -> None:
    charger = ready()
    charger.reserve(1)
    charger.answer(status="Occupied")
    (answer,) = charger.answered("reserve")
    assert isinstance(answer, ReservationAnswer) and answer.reservation is not None
    assert (answer.result.status, answer.reservation.end_reason) == ("Occupied", "refused")
    assert charger.start("CARL")["status"] == "Accepted"


def test_what_cannot_be_kept_is_refused_before_the_station_is_asked() -> None:
    charger = ready()
    charger.store(Token("EMIL", state=TokenState.BLOCKED))
    for connector_id, token, seconds, reason in (
        (2, "ANNA", 60, "CONNECTOR_UNKNOWN"),
        (1, "ANNA", -5, "EXPIRY_INVALID"),
        (1, "ANNA", 8 * 86_400, "EXPIRY_INVALID"),
        (1, "EMIL", 60, "TOKEN_REFUSED"),
    ):
        charger.reserve(connector_id, token, seconds=seconds)
        refusal = charger.answered("reserve")[-1]
        assert isinstance(refusal, Refusal) and refusal.reason == reason
    charger.disconnect()
    charger.reserve(1)
    refusal = charger.answered("reserve")[-1]
    assert isinstance(refusal, Refusal) and refusal.reason == "CHARGER_OFFLINE"
    assert charger.records(ReservationRecord) == []


def test_1_6_knows_no_types_of_connectors() -> None:
    from controlplane.actor import Ask  # noqa: PLC0415
    from controlplane.charger.messages import ReserveConnector  # noqa: PLC0415

    charger = ready()
    wish = ReserveConnector(0, "ANNA", charger.now_ms + 60_000, connector_type="cCCS2")
    charger.tell(Ask("reserve", wish))
    refusal = charger.answered("reserve")[-1]
    assert isinstance(refusal, Refusal) and refusal.reason == "COMMAND_INVALID"
    assert ends(charger) == ["refused"]
