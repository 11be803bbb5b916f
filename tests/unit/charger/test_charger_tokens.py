"""How a charger answers for tokens: in order, once, in time; and what its sessions are given."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import SETTINGS, Charger
from token_charger import KNOWN, TokenCharger

from controlplane.actor import Call, LookedUp, LookUp, Reply
from controlplane.charger.messages import StationCalled
from controlplane.errors import Refusal
from controlplane.ids import SessionId
from controlplane.ocpp.commands import RemoteStart
from controlplane.site.messages import TokensChanged
from controlplane.store.queries import TokenFound
from controlplane.store.records import QuarantineRecord, SessionRecord
from controlplane.tokens import Authorisation, AuthorisationPolicy, Token, TokenState


def ready(authorisation: Authorisation = KNOWN, **description: Any) -> TokenCharger:
    charger = TokenCharger(authorisation)
    charger.settle(**description)
    return charger


def called(charger: TokenCharger, message_id: str, action: str, **payload: Any) -> list[str]:
    """The station calls; the ids of the CALLs that are answered by that."""
    charger.tell(StationCalled(charger.connection, message_id, action, payload))
    return [reply.message_id for reply in charger.found(Reply)]


def start(charger: TokenCharger, message_id: str, id_tag: str = "ANNA") -> list[str]:
    return called(
        charger,
        message_id,
        "StartTransaction",
        connectorId=1,
        idTag=id_tag,
        meterStart=0,
        timestamp=charger.at(),
    )


def test_answers_wait_for_the_store_and_keep_their_order() -> None:
    charger = ready()
    charger.store(Token("ANNA"))
    charger.slow = True
    assert called(charger, "a", "Authorize", idTag="ANNA") == []
    assert called(charger, "b", "Heartbeat") == []
    charger.slow = False
    charger.tell(TokensChanged(1, ()))
    assert [reply.message_id for reply in charger.found(Reply)] == ["a", "b"]


@pytest.mark.parametrize(
    ("policy", "status", "authorised"),
    [
        (AuthorisationPolicy.OPEN, "Accepted", True),
        (AuthorisationPolicy.KNOWN, "Accepted", True),
        (AuthorisationPolicy.CLOSED, "Invalid", False),
    ],
)
def test_a_lost_look_up_is_decided_by_the_policy_in_time(
    policy: AuthorisationPolicy, status: str, authorised: bool
) -> None:
    charger = ready(Authorisation(policy))
    charger.slow = True
    assert start(charger, "a") == []
    assert charger.authorised() is False, "no power before it is judged"
    charger.wait(SETTINGS.token_wait_ms)
    (reply,) = [effect for effect in charger.all if isinstance(effect, Reply)][-1:]
    assert reply.message_id == "a"
    assert reply.payload == {"transactionId": 1, "idTagInfo": {"status": status}}
    assert charger.authorised() is authorised


def test_a_store_that_is_away_is_asked_again_about_a_running_session() -> None:
    charger = ready()
    charger.store(Token("ANNA", state=TokenState.BLOCKED))
    charger.broken = True
    assert charger.start("ANNA")["status"] == "Accepted"
    charger.broken = False
    charger.wait(60_000)
    assert charger.session().token_status == "Blocked"
    assert charger.authorised() is False


def test_an_answer_that_comes_late_counts_for_the_session_and_not_for_the_station() -> None:
    charger = ready()
    charger.store(Token("ANNA", state=TokenState.BLOCKED))
    charger.slow = True
    start(charger, "a")
    charger.wait(SETTINGS.token_wait_ms)
    answered = len([effect for effect in charger.all if isinstance(effect, Reply)])
    charger.slow = False
    charger.tell(TokensChanged(1, ()))
    assert len([effect for effect in charger.all if isinstance(effect, Reply)]) == answered
    assert charger.session().token_status == "Blocked"


def test_a_refused_transaction_is_kept_in_the_books() -> None:
    """The energy of a session that nobody authorised is never lost."""
    charger = ready()
    answer = charger.start("NOBODY", meter_wh=1_000)
    assert answer["status"] == "Invalid"
    assert charger.authorised() is False
    charger.wait(600_000)
    charger.stop_16(answer["transaction"], 1_050)
    session = charger.session()
    assert (session.energy_wh, session.token_status, session.token_key) == (
        50,
        "Unknown",
        "nobody",
    )
    assert charger.records(QuarantineRecord) == []
    (event,) = charger.journal("session.unauthorised")
    assert (event["status"], event["session_id"]) == ("Unknown", session.session_id)


def test_a_token_that_is_blocked_loses_its_power_and_gets_it_back() -> None:
    charger = ready()
    charger.store(Token("ANNA"))
    charger.start("anna")
    assert charger.authorised() is True
    charger.change(Token("ANNA", state=TokenState.BLOCKED))
    assert charger.authorised() is False
    charger.change(Token("BEN"))
    assert charger.authorised() is False
    charger.change(Token("ANNA", valid_until_ms=1))
    assert charger.authorised() is False, "whoever was refused is judged as at a start"
    charger.change(Token("ANNA"))
    assert charger.authorised() is True


def test_a_running_session_outlives_its_token() -> None:
    """An expired tag can still stop its own session, and is answered Expired."""
    charger = ready()
    charger.store(Token("ANNA", valid_until_ms=charger.now_ms + 60_000))
    transaction = charger.start("ANNA")["transaction"]
    charger.wait(120_000)
    charger.tell(TokensChanged(1, None))
    assert charger.authorised() is True
    answer = charger.call(
        "StopTransaction",
        transactionId=transaction,
        idTag="ANNA",
        meterStop=10,
        timestamp=charger.at(),
    )
    assert answer["idTagInfo"]["status"] == "Expired"
    assert charger.session().energy_wh == 10


def test_of_two_sessions_of_one_token_the_second_is_refused() -> None:
    charger = ready(connectors=2)
    charger.store(Token("ANNA", concurrent_max=1))
    charger.elsewhere = (SessionId("CP1-1"),)
    assert charger.start("ANNA")["status"] == "Accepted", "its own session does not count"
    charger.elsewhere = (SessionId("CP1-1"), SessionId("CP1-2"))
    assert charger.start("ANNA", connector=2)["status"] == "ConcurrentTx"
    assert charger.start("ANNA")["status"] == "Accepted", "said again, it is answered the same"
    # 1.6 section 7.2: only a start is answered so.
    assert charger.call("Authorize", idTag="ANNA")["idTagInfo"]["status"] == "Accepted"


def test_a_pending_session_is_judged_by_the_next_host() -> None:
    charger = ready()
    charger.store(Token("ANNA"))
    charger.slow = True
    start(charger, "a")
    other = TokenCharger(snapshot=charger.snapshot)
    other.store(Token("ANNA"))
    other.tell(TokensChanged(1, ()))
    assert other.session().token_status == "Accepted"
    assert other.found(Reply) == []


def test_a_token_that_was_blocked_while_no_host_was_there_to_hear_loses_its_power() -> None:
    charger = TokenCharger()
    charger.store(Token("ANNA"))
    charger.settle_known()
    charger.start("ANNA")
    assert charger.authorised() is True
    other = TokenCharger(snapshot=charger.snapshot, now_ms=charger.now_ms + 5_000)
    other.store(Token("ANNA", state=TokenState.BLOCKED))
    other.wait(15_000)
    assert other.authorised() is False


def test_a_station_that_hangs_up_is_not_answered_on_its_next_connection() -> None:
    charger = ready()
    charger.slow = True
    start(charger, "a")
    charger.connect(name="other")
    charger.slow = False
    charger.tell(TokensChanged(1, ()))
    assert charger.found(Reply) == []
    assert charger.session().token_status == "Unknown"


def test_a_remote_start_of_a_refused_token_is_never_sent() -> None:
    charger = ready()
    charger.store(Token("ANNA"), Token("BEN", state=TokenState.BLOCKED))
    calls = len([effect for effect in charger.all if isinstance(effect, Call)])
    charger.execute(RemoteStart(1, "BEN"))
    (refusal,) = charger.answered()
    assert isinstance(refusal, Refusal)
    assert (refusal.kind, refusal.reason) == ("precondition", "TOKEN_REFUSED")
    assert refusal.metadata["status"] == "Blocked"
    assert len([effect for effect in charger.all if isinstance(effect, Call)]) == calls
    charger.execute(RemoteStart(1, "ANNA"), "other")
    assert charger.last_call().payload == {"idTag": "ANNA", "connectorId": 1}


def test_a_charger_whose_site_does_not_say_looks_nobody_up() -> None:
    charger = Charger()
    charger.settle()
    assert charger.call("Authorize", idTag="X") == {"idTagInfo": {"status": "Accepted"}}
    charger.start_16()
    assert charger.records(SessionRecord)[-1].token_status is None
    assert not any(isinstance(effect, LookUp) for effect in charger.all)


def test_another_token_of_an_update_does_not_judge_the_session() -> None:
    """2.x part 2 C09: a card of the group stops a session; what it is answered is its own."""
    charger = TokenCharger()
    charger.settle("ocpp2.0.1")
    charger.store(Token("ANNA", group_id="G"), Token("BEN", state=TokenState.BLOCKED))

    def event(kind: str, seq_no: int, trigger: str, token: str) -> dict[str, Any]:
        return charger.call(
            "TransactionEvent",
            eventType=kind,
            timestamp=charger.at(),
            triggerReason=trigger,
            seqNo=seq_no,
            transactionInfo={"transactionId": "tx"},
            evse={"id": 1},
            idToken={"idToken": token, "type": "ISO14443"},
        )

    first = event("Started", 0, "Authorized", "ANNA")
    assert first["idTokenInfo"]["groupIdToken"] == {"idToken": "G", "type": "Central"}
    assert event("Updated", 1, "StopAuthorized", "BEN")["idTokenInfo"]["status"] == "Blocked"
    assert charger.authorised() is True


def test_a_store_that_is_away_takes_power_from_nobody_who_charges() -> None:
    charger = ready(Authorisation(AuthorisationPolicy.CLOSED))
    charger.store(Token("ANNA"))
    charger.start("ANNA")
    charger.broken = True
    charger.change(Token("ANNA", state=TokenState.BLOCKED))
    charger.wait(30_000)
    assert charger.authorised() is True
    charger.broken = False
    charger.wait(60_000)
    assert charger.authorised() is False


def test_what_was_read_before_a_change_does_not_count_after_it() -> None:
    charger = ready()
    charger.store(Token("ANNA"))
    charger.slow = True
    assert start(charger, "a") == []
    (older,) = charger.asked
    charger.change(Token("ANNA", state=TokenState.BLOCKED))
    charger.slow = False
    charger.asked.remove(older)
    charger.tell(LookedUp(older.look_up_id, TokenFound(Token("ANNA"))))
    (reply,) = charger.found(Reply)
    assert reply.payload["idTagInfo"]["status"] == "Blocked"
    assert charger.session().token_status == "Blocked"


@pytest.mark.parametrize("version", ["ocpp2.0.1", "ocpp2.1"])
def test_a_contract_that_the_station_could_not_verify_is_no_proof(version: str) -> None:
    """C07: whoever makes a certificate of his own may write any contract's id into it."""
    charger = TokenCharger()
    charger.settle_known(version)
    charger.store(Token("DE8ABC123"))
    contract = {"idToken": "DE8ABC123", "type": "eMAID"}
    answer = charger.call("Authorize", idToken=contract, certificate="-----BEGIN CERTIFICATE-----")
    assert answer["certificateStatus"] == "CertChainError"
    assert answer["idTokenInfo"]["status"] == "Invalid"
    assert charger.journal("token.contract_unproven")[0]["id_token"] == "DE8ABC123"
    assert charger.call("Authorize", idToken=contract)["idTokenInfo"]["status"] == "Accepted"
