"""What a charger's actor keeps of passwords, profiles, certificates and security events."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
import pytest
from charger_driver import SETTINGS, Charger

from controlplane.actor import Ask, CloseSocket, Emit, Persist, Reply
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import (
    AnswerCertificateStatus,
    DismissCandidate,
    LowerProfile,
    Recorded,
    RecordSigning,
    RotatePassword,
    SecurityNoticed,
    StationCalled,
    StationConnected,
    StationFailed,
)
from controlplane.errors import Refusal
from controlplane.ids import ChargerId
from controlplane.ocpp.commands import CommandResult, CommandState
from controlplane.ocpp.dialect import CertificateChainStatusAnswer, Dialect
from controlplane.ocpp.events import CertificateChainStatusAsked
from controlplane.ocpp.schemas import check_call, check_result
from controlplane.ocpp.v201 import METER_SETTINGS
from controlplane.ocpp.v201.security import CERTIFICATE_CHAINS
from controlplane.store.records import (
    CandidateRecord,
    CandidateRemoved,
    CertificateRecord,
    CredentialRecord,
    SecurityEventRecord,
    SigningRecord,
    SigningState,
)

Kind = TypeVar("Kind")
SECRET = "0123456789abcdef0123456789abcdef01234567"
QUESTION = {
    "ocspRequestData": {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": "aa",
        "issuerKeyHash": "bb",
        "serialNumber": "1",
        "responderURL": "http://x",
    }
}


def records(charger: Charger, kind: type[Kind]) -> list[Kind]:
    found = [effect.record for effect in charger.all if isinstance(effect, Persist)]
    return [record for record in found if isinstance(record, kind)]


def credential(charger: Charger) -> CredentialRecord:
    return records(charger, CredentialRecord)[-1]


def rotate(charger: Charger, hashed: str, *, described: str | None = "described") -> Any:
    ask_id = f"rotate {hashed}"
    charger.tell(Ask(ask_id, RotatePassword(SECRET, hashed, described)))
    answers = charger.answered(ask_id)
    return answers[-1] if answers else None


def come_back(charger: Charger, *, pending: str = "", profile: int = 1) -> None:
    charger.connection += "x"
    charger.outstanding = None
    charger.tell(
        StationConnected(
            charger.connection,
            charger.version,
            "192.0.2.1:5000",
            security_profile=profile,
            pending_hash=pending,
        )
    )


@pytest.fixture
def settled() -> Charger:
    charger = Charger()
    charger.settle()
    return charger


def test_a_new_password_is_right_before_it_leaves(settled: Charger) -> None:
    assert rotate(settled, "h1") is None
    kinds = [type(effect).__name__ for effect in settled.effects]
    assert {"Persist", "Call"} <= set(kinds)
    assert credential(settled).pending_hash == "h1"
    assert settled.last_call().payload == {"key": "AuthorizationKey", "value": SECRET}
    settled.answer()
    answer = settled.answered("rotate h1")[-1]
    assert isinstance(answer, CommandResult)
    assert answer.state is CommandState.ACCEPTED
    assert credential(settled).pending_hash == "h1"
    come_back(settled, pending="h1")
    assert (credential(settled).password_hash, credential(settled).pending_hash) == ("h1", None)


def test_a_password_that_was_refused_is_wrong_again(settled: Charger) -> None:
    rotate(settled, "h1")
    settled.answer(status="Rejected")
    assert (credential(settled).password_hash, credential(settled).pending_hash) == (None, None)
    # An earlier one about which nobody knows stays.
    rotate(settled, "h2")
    settled.wait(SETTINGS.call_timeout_ms)
    assert credential(settled).pending_hash == "h2"
    rotate(settled, "h3")
    assert credential(settled).pending_hash == "h2\nh3"
    settled.refuse()
    assert credential(settled).pending_hash == "h2"


def test_an_answer_that_nobody_can_read_leaves_both_right(settled: Charger) -> None:
    """The gateway calls a result that breaks its schema an error; it may have said Accepted."""
    rotate(settled, "h1")
    settled.refuse("PropertyConstraintViolation")
    assert credential(settled).pending_hash == "h1"


def test_what_a_station_says_of_a_password_is_not_repeated(settled: Charger) -> None:
    rotate(settled, "h1")
    call = settled.last_call()
    settled.outstanding = None
    words = f"no good: {SECRET}"
    settled.tell(StationFailed(call.connection, call.message_id, "NotSupported", words))
    kept = [effect for effect in settled.all if type(effect).__name__ != "Call"]
    assert SECRET not in repr(kept)


def test_a_connection_that_breaks_leaves_both_right_over_another_host_too(
    settled: Charger,
) -> None:
    rotate(settled, "h1")
    settled.disconnect()
    other = settled.reborn()
    come_back(other, pending="h1")
    assert (credential(other).password_hash, credential(other).pending_hash) == ("h1", None)


def test_a_station_that_comes_back_with_the_old_password_settles_it(settled: Charger) -> None:
    """Nobody heard an answer; the next connection tells. What it came without stays right, for it
    may take it up at a restart."""
    for hashed in ("h1", "h2", "h3"):
        rotate(settled, hashed)
        settled.wait(SETTINGS.call_timeout_ms)
    # Another host for the same socket has seen nothing yet, and a certificate tells nothing.
    message = StationConnected(settled.connection, settled.version, "192.0.2.1:5000", resumed=True)
    settled.tell(message)
    come_back(settled, profile=3)
    assert credential(settled).pending_hash == "h1\nh2\nh3"
    come_back(settled)
    kept = credential(settled)
    assert (kept.password_hash, kept.pending_hash) == (None, None)
    assert kept.spare_hash == "h1\nh2\nh3"
    told = [effect for effect in settled.all if isinstance(effect, Emit)]
    (kept_event,) = (each for each in told if each.kind == "charger.password_kept")
    assert kept_event.data["state"] == "old_used"
    # A further one may be sent, and only so many spare ones are kept.
    settled.settle()
    rotate(settled, "h4")
    settled.disconnect()
    other = settled.reborn()
    come_back(other)
    assert credential(other).spare_hash == "h2\nh3\nh4"
    come_back(other, pending="h3")
    kept = credential(other)
    assert (kept.password_hash, kept.pending_hash, kept.spare_hash) == ("h3", None, None)


def test_rotations_do_not_pile_up(settled: Charger) -> None:
    rotate(settled, "h0")
    assert _reason(rotate(settled, "h1")) == "ROTATION_RUNNING"
    settled.wait(SETTINGS.call_timeout_ms)
    for hashed in ("h1", "h2"):
        rotate(settled, hashed)
        settled.wait(SETTINGS.call_timeout_ms)
    assert _reason(rotate(settled, "h3")) == "ROTATION_UNRESOLVED"
    # A description that was changed begins anew.
    rotate(settled, "h4", described="other")
    assert (credential(settled).described_hash, credential(settled).pending_hash) == ("other", "h4")


def test_no_password_goes_to_a_charger_that_is_away() -> None:
    charger = Charger()
    charger.assign()
    assert _reason(rotate(charger, "h1")) == "CHARGER_OFFLINE"
    assert not records(charger, CredentialRecord)


def _reason(answer: Any) -> str:
    assert isinstance(answer, Refusal)
    return answer.reason


def test_a_secret_is_shown_nowhere(settled: Charger) -> None:
    rotate(settled, "h1")
    settled.answer()
    kept = [effect for effect in settled.all if type(effect).__name__ != "Call"]
    assert SECRET not in repr(kept)
    assert SECRET.encode() not in (settled.snapshot or b"")
    assert SECRET not in repr(RotatePassword(SECRET, "h", None))


def test_the_highest_profile_is_kept_until_an_operator_lowers_it(settled: Charger) -> None:
    come_back(settled, profile=3)
    come_back(settled, profile=2)
    assert credential(settled).security_profile == 3
    settled.tell(Ask("lower", LowerProfile(1)))
    assert settled.answered("lower") == [Recorded()]
    assert credential(settled).security_profile == 1


def test_snapshots_from_before_are_read() -> None:
    memory = msgspec.msgpack.decode(msgspec.msgpack.encode(ChargerMemory(ChargerId("CP1"))))
    del memory["security"]
    charger = Charger(snapshot=msgspec.msgpack.encode(memory))
    come_back(charger, profile=2)
    assert credential(charger).security_profile == 2


def test_the_newest_wish_of_a_purpose_is_the_one_that_is_answered(settled: Charger) -> None:
    assert settled.call("SignCertificate", csr="first") == {"status": "Accepted"}
    first = records(settled, SigningRecord)[-1]
    settled.now_ms += 1
    settled.call("SignCertificate", csr="second")
    second = records(settled, SigningRecord)[-1]
    assert (first.request_id, second.csr) == (second.request_id, "second")
    signed = CertificateRecord("1", ChargerId("CP1"), first.purpose, "pem", 0, 1)
    settled.tell(Ask("old", RecordSigning(first, signed)))
    assert _reason(settled.answered("old")[-1]) == "SIGNING_SUPERSEDED"
    assert not records(settled, CertificateRecord)
    done = msgspec.structs.replace(second, state=SigningState.SIGNED, serial="1")
    for _ in range(2):
        settled.tell(Ask("new", RecordSigning(done, signed)))
    assert settled.answered("new")[-1] == Recorded()
    assert records(settled, CertificateRecord)[-1] == signed


def test_a_question_about_a_certificate_is_answered_once() -> None:
    charger = Charger()
    charger.settle("ocpp2.0.1")

    def ask(message_id: str) -> None:
        charger.tell(
            StationCalled(charger.connection, message_id, "GetCertificateStatus", QUESTION)
        )

    ask("q1")
    assert not [effect for effect in charger.effects if isinstance(effect, Reply)]
    question_id = f"{charger.connection}/q1"
    for _ in range(2):
        charger.tell(Ask("a", AnswerCertificateStatus(question_id, "b2NzcA==")))
    replies = [effect for effect in charger.all if isinstance(effect, Reply)]
    assert [reply.payload for reply in replies if reply.message_id == "q1"] == [
        {"status": "Accepted", "ocspResult": "b2NzcA=="}
    ]
    ask("q2")
    charger.wait(10_000)
    late = [effect for effect in charger.effects if isinstance(effect, Reply)]
    assert late[-1].payload == {"status": "Failed", "statusInfo": {"reasonCode": "NoAnswer"}}


def test_security_events_are_kept_and_told(settled: Charger) -> None:
    settled.call("SecurityEventNotification", type="SettingSystemTime", timestamp=settled.at())
    settled.tell(SecurityNoticed("AuthenticationFailed", "wrong", "192.0.2.9:1", 7))
    told, seen = records(settled, SecurityEventRecord)
    assert (told.critical, told.source, told.count) == (True, "station", 1)
    assert (seen.critical, seen.source, seen.count) == (False, "loadstar", 7)
    emitted = [e for e in settled.all if isinstance(e, Emit) and e.kind == "security.event"]
    assert [event.data["type"] for event in emitted] == [told.kind, seen.kind]


def test_a_charger_of_nobody_waits_until_it_is_given_a_place() -> None:
    charger = Charger()
    charger.connect()
    charger.call("BootNotification", chargePointVendor="Maker", chargePointModel="M")
    candidate = records(charger, CandidateRecord)[-1]
    assert (candidate.vendor, candidate.remote) == ("Maker", "192.0.2.1:5000")
    assert charger.call("SignCertificate", csr="x") == {"status": "Rejected"}
    charger.assign()
    assert records(charger, CandidateRemoved) == [CandidateRemoved(ChargerId("CP1"))]


def test_a_candidate_that_nobody_wants_is_cut_off() -> None:
    charger = Charger()
    charger.connect()
    charger.tell(Ask("no", DismissCandidate()))
    assert charger.answered("no") == [Recorded()]
    assert records(charger, CandidateRemoved)
    assert [effect for effect in charger.effects if isinstance(effect, CloseSocket)]


def test_the_chain_questions_of_21_are_read_and_answered() -> None:
    dialect = Dialect("ocpp2.1", "OCPP 2.1", (CERTIFICATE_CHAINS,), METER_SETTINGS)
    payload = {
        "certificateStatusRequests": [
            {
                "certificateHashData": {
                    key: value
                    for key, value in QUESTION["ocspRequestData"].items()
                    if key != "responderURL"
                },
                "source": "OCSP",
                "urls": ["http://x"],
            }
        ]
    }
    assert check_call("ocpp2.1", "GetCertificateChainStatus", payload) is None
    asked = dialect.event("GetCertificateChainStatus", payload)
    assert isinstance(asked, CertificateChainStatusAsked)
    ((hashed, source),) = asked.certificates
    reply = dialect.reply(CertificateChainStatusAnswer(((hashed, source, "Good", 0),)))
    assert check_result("ocpp2.1", "GetCertificateChainStatus", reply) is None
    (status,) = reply["certificateStatus"]
    assert (status["status"], status["source"]) == ("Good", "OCSP")
