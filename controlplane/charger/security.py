"""What concerns a charger's security: how it proved itself, its password, its certificates, its
security events, and that it waits for an owner.

Nothing is computed here that needs randomness, a key or the outside: a wish for a certificate is
written down and somebody who can sign it does so later; a new password and its hash come with the
request. The invariants: a password that was sent is written down as right before it leaves, the old
one stays right until the new one has been used, and neither is ever in a record, an event or a
result; a password that was sent is settled by the next connection, whatever was answered; the
highest security profile that was reached is kept (OCPP 2.0.1 part 2, A01 to A05)."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from controlplane.actor import CancelTimer, Persist, Reply, SetTimer
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import (
    AnswerCertificateStatus,
    RecordSigning,
    RotatePassword,
    SecurityNoticed,
    StationConnected,
)
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ocpp import events
from controlplane.ocpp.certificates import CertificateHash
from controlplane.ocpp.commands import (
    CertificateSigned,
    Command,
    CommandResult,
    CommandState,
    Leaf,
)
from controlplane.ocpp.dialect import (
    Answer,
    CertificateChainStatusAnswer,
    CertificateStatusAnswer,
    Dialect,
    Done,
    SigningAnswer,
    VehicleCertificateAnswer,
)
from controlplane.ocpp.events import Event
from controlplane.store.records import (
    CandidateRecord,
    CandidateRemoved,
    CertificateRecord,
    CredentialRecord,
    HandOver,
    SecurityEventRecord,
    SigningRecord,
    SigningState,
)

__all__ = ["LATER", "QUESTION_TIMER", "Security"]

QUESTION_TIMER: Final = "certificate_status"
LATER: Final = Done()
"""The station is answered when the answer is known."""

_QUESTION_WAIT_MS: Final = 10_000
_PENDING_MAX: Final = 3
"""Passwords that were sent and about which nobody knows whether they are in use."""
_SPARE_MAX: Final = 3
"""Passwords that were sent and that the station did not come back with."""
_CERTIFICATE_PROFILE: Final = 3
"""At which no password is shown."""
_HEARD: Final = frozenset(
    {
        events.CertificateChainStatusAsked,
        events.CertificateRequested,
        events.CertificateStatusAsked,
        events.SecurityEventNotified,
        events.VehicleCertificateAsked,
    }
)
_NOT_TAKEN: Final = frozenset({"NotImplemented", "NotSupported", "SecurityError"})
"""Errors by which a station says that it does nothing of the kind."""

_HANDED_OVER: Final = {
    CommandState.ACCEPTED: HandOver.ACCEPTED,
    CommandState.REJECTED: HandOver.REFUSED,
    CommandState.ERROR: HandOver.REFUSED,
}

_CRITICAL: Final = frozenset(
    {
        "FirmwareUpdated",
        "InvalidCentralSystemCertificate",
        "InvalidChargePointCertificate",
        "InvalidChargingStationCertificate",
        "InvalidCsmsCertificate",
        "InvalidFirmwareSignature",
        "InvalidFirmwareSigningCertificate",
        "InvalidTLSCipherSuite",
        "InvalidTLSVersion",
        "MaintenanceLoginAccepted",
        "MaintenanceLoginFailed",
        "MemoryExhaustion",
        "ResetOrReboot",
        "SecurityLogWasCleared",
        "SettingSystemTime",
        "StartupOfTheDevice",
        "TamperDetectionActivated",
    }
)
"""OCPP 2.0.1 appendix 1 and the 1.6 security whitepaper, section 4.2: those marked critical."""
_CRITICAL_HERE: Final = frozenset({"InvalidClientCertificate", "SecurityProfileTooLow"})
"""Of what gateways notice."""


class _Question(NamedTuple):
    connection: str
    message_id: str
    event: events.CertificateStatusAsked | events.CertificateChainStatusAsked

    @property
    def id(self) -> str:
        return f"{self.connection}/{self.message_id}"


def _asked_about(
    event: events.CertificateStatusAsked | events.CertificateChainStatusAsked,
) -> list[CertificateHash]:
    if isinstance(event, events.CertificateStatusAsked):
        return [event.certificate]
    return [hashed for hashed, _ in event.certificates]


class Security:
    """One charger's."""

    __slots__ = ("_memory", "_question", "_revoked", "_rotating")

    def __init__(self, memory: ChargerMemory) -> None:
        self._memory = memory
        self._revoked: set[str] = set()
        """Serial numbers of the charger's certificates that were revoked of late: what one that is
        on its way is answered does not make it good again."""
        self._rotating = ""
        """The hash of the password that is being sent."""
        self._question: _Question | None = None
        """What the station asks and somebody else knows."""

    # --- the connection ---------------------------------------------------------------------------

    def connected(self, turn: Turn, message: StationConnected) -> None:
        """A new socket, or this host is new to it."""
        kept = self._memory.security
        self._question = None
        self._settle(turn, message)
        if message.security_profile > kept.profile:
            before, kept.profile = kept.profile, message.security_profile
            turn.emit("charger.security_profile", profile=kept.profile, before=before)
            self._keep_credential(turn)
        kept.remote = message.remote
        self.waits(turn)

    def _settle(self, turn: Turn, message: StationConnected) -> None:
        """Which of its passwords the station came with says what became of those it was sent,
        also where it never answered. One that it came back without is spare: it stays right for a
        station that takes its settings up at a restart only, until a later one has been used."""
        kept = self._memory.security
        if message.pending_hash and message.pending_hash in kept.pending_hashes + kept.spare_hashes:
            kept.password_hash = message.pending_hash
            kept.pending_hashes, kept.spare_hashes = [], []
            turn.emit("charger.password_rotated")
        elif (
            kept.pending_hashes
            and not message.resumed
            and message.security_profile < _CERTIFICATE_PROFILE
        ):
            kept.spare_hashes = (kept.spare_hashes + kept.pending_hashes)[-_SPARE_MAX:]
            kept.pending_hashes = []
            turn.emit("charger.password_kept", state="old_used")
        else:
            return
        self._keep_credential(turn)

    def lower_profile(self, turn: Turn, profile: int) -> None:
        """On an operator's word the charger may connect at this profile again."""
        kept = self._memory.security
        if profile < kept.profile:
            before, kept.profile = kept.profile, profile
            turn.emit("charger.security_profile", profile=profile, before=before)
            self._keep_credential(turn)

    # --- nobody's charger -------------------------------------------------------------------------

    def waits(self, turn: Turn) -> None:
        """Whoever belongs to no site waits for an owner, and is listed with what it said of
        itself."""
        memory = self._memory
        if turn.site_id is not None:
            return
        if not memory.security.candidate_since_ms:
            memory.security.candidate_since_ms = max(1, turn.now_ms)
            turn.emit("charger.candidate")
        turn.changed = True
        turn.effects.append(
            Persist(
                CandidateRecord(
                    memory.charger_id,
                    memory.vendor,
                    memory.model,
                    memory.serial_number,
                    memory.firmware,
                    memory.ocpp_version,
                    memory.security.remote,
                    memory.security.candidate_since_ms,
                    turn.now_ms,
                )
            )
        )

    def waits_no_more(self, turn: Turn) -> None:
        """It was given a place, or is not wanted."""
        if self._memory.security.candidate_since_ms:
            self._memory.security.candidate_since_ms = 0
            turn.changed = True
            turn.effects.append(Persist(CandidateRemoved(self._memory.charger_id)))

    # --- what the station says --------------------------------------------------------------------

    def hear(self, turn: Turn, event: Event) -> Answer | None:
        """The answer to an event that concerns security; None to any other."""
        if type(event) not in _HEARD:
            return None
        match event:
            case events.SecurityEventNotified():
                self._note(turn, event.kind, event.detail, at_ms=event.at_ms)
                return Done()
            case events.CertificateRequested():
                return self._certificate_requested(turn, event)
            case events.CertificateStatusAsked() | events.CertificateChainStatusAsked():
                return self._status_asked(turn, event)
            case events.VehicleCertificateAsked():
                # M01.FR.01, M02.FR.01: without a PKI operator's service there is nobody to ask.
                return VehicleCertificateAnswer("", "NoPkiOperator")
        return None

    def noticed(self, turn: Turn, notice: SecurityNoticed) -> None:
        """A gateway saw something."""
        detail = f"{notice.detail} ({notice.remote})" if notice.remote else notice.detail
        self._note(turn, notice.kind, detail, source="loadstar", count=notice.count)

    def _note(
        self,
        turn: Turn,
        kind: str,
        detail: str,
        *,
        at_ms: int | None = None,
        source: str = "station",
        count: int = 1,
    ) -> None:
        critical = kind in (_CRITICAL if source == "station" else _CRITICAL_HERE)
        turn.effects.append(
            Persist(
                SecurityEventRecord(
                    self._memory.charger_id,
                    turn.now_ms if at_ms is None else at_ms,
                    turn.now_ms,
                    kind,
                    detail,
                    critical,
                    source,
                    count,
                )
            )
        )
        turn.emit(
            "security.event",
            type=kind,
            detail=detail,
            critical=critical,
            source=source,
            count=count,
        )

    def _certificate_requested(self, turn: Turn, event: events.CertificateRequested) -> Answer:
        """A02.FR.03: taken up here and answered with CertificateSigned later. The newest wish of a
        purpose takes the place of the one before."""
        if turn.site_id is None:
            return SigningAnswer(accepted=False, reason="NotAccepted")
        memory = self._memory
        memory.security.signings[event.purpose] = turn.now_ms
        turn.changed = True
        request_id = f"{memory.charger_id}/{event.purpose}"
        turn.effects.append(
            Persist(
                SigningRecord(
                    request_id,
                    memory.charger_id,
                    event.purpose,
                    event.csr,
                    turn.now_ms,
                    station_request_id=event.request_id,
                )
            )
        )
        turn.emit("certificate.requested", request_id=request_id, purpose=event.purpose)
        return SigningAnswer(accepted=True)

    def _status_asked(
        self, turn: Turn, event: events.CertificateStatusAsked | events.CertificateChainStatusAsked
    ) -> Answer:
        call = turn.call
        assert call is not None
        self._question = _Question(call.connection, call.message_id, event)
        turn.effects.append(SetTimer(QUESTION_TIMER, turn.now_ms + _QUESTION_WAIT_MS))
        turn.emit(
            "certificate.status_asked",
            question_id=self._question.id,
            chain=isinstance(event, events.CertificateChainStatusAsked),
            certificates=[msgspec.to_builtins(hashed) for hashed in _asked_about(event)],
        )
        return LATER

    def answer_question(
        self, turn: Turn, dialect: Dialect | None, answer: AnswerCertificateStatus | None = None
    ) -> None:
        """Answer the question that waits: with what is known, or that it cannot be known."""
        question = self._question
        if question is None or dialect is None or (answer and answer.question_id != question.id):
            return
        self._question = None
        event = question.event
        reply: Answer
        if isinstance(event, events.CertificateChainStatusAsked):
            known = () if answer is None else answer.statuses
            failed = ("Failed", turn.now_ms)
            reply = CertificateChainStatusAnswer(
                tuple(
                    (hashed, source, *(known[index] if index < len(known) else failed))
                    for index, (hashed, source) in enumerate(event.certificates)
                )
            )
        elif answer is None:
            reply = CertificateStatusAnswer(None, "NoAnswer")
        else:
            reply = CertificateStatusAnswer(answer.ocsp, answer.reason)
        turn.effects.append(CancelTimer(QUESTION_TIMER))
        turn.effects.append(Reply(question.connection, question.message_id, dialect.reply(reply)))

    # --- certificates -----------------------------------------------------------------------------

    def hand_over(self, turn: Turn, command: Command) -> None:
        """An operator's certificate is about to be sent; what the station may have is written down
        before."""
        if isinstance(command, CertificateSigned) and command.leaf is not None:
            self._write_handed_over(turn, command, command.leaf, HandOver.UNANSWERED)

    def handed_over(
        self, turn: Turn, command: Command, result: CommandResult, *, sent: bool
    ) -> None:
        """What became of an operator's certificate."""
        if not isinstance(command, CertificateSigned) or command.leaf is None:
            return
        state = _HANDED_OVER.get(result.state, HandOver.UNANSWERED) if sent else HandOver.NOT_SENT
        self._write_handed_over(turn, command, command.leaf, state)
        turn.emit(
            "certificate.handed_over",
            serial=command.leaf.serial,
            purpose=command.purpose,
            state=state.value,
        )

    def _write_handed_over(
        self, turn: Turn, command: CertificateSigned, leaf: Leaf, state: HandOver
    ) -> None:
        if leaf.serial in self._revoked:
            return
        turn.effects.append(
            Persist(
                CertificateRecord(
                    leaf.serial,
                    self._memory.charger_id,
                    command.purpose,
                    command.chain,
                    leaf.not_before_ms,
                    leaf.not_after_ms,
                    handed_over=state,
                )
            )
        )

    def record_signing(self, turn: Turn, request: RecordSigning) -> Refusal | None:
        """What became of a wish for a certificate; refused where there is a newer one."""
        record = request.record
        if self._memory.security.signings.get(record.purpose) != record.asked_ms:
            return Refusal(
                "precondition", "SIGNING_SUPERSEDED", "the charger has asked anew meanwhile"
            )
        turn.effects.append(Persist(record))
        if request.certificate is not None:
            turn.effects.append(Persist(request.certificate))
        if record.state is not SigningState.PENDING:
            turn.emit(
                f"certificate.{record.state.value}",
                request_id=record.request_id,
                purpose=record.purpose,
                serial=record.serial,
                detail=record.detail,
            )
        return None

    def revoke(self, turn: Turn, certificate: CertificateRecord) -> None:
        """The next handshake with it is refused; gateways close the socket that came with it."""
        self._revoked.add(certificate.serial)
        turn.effects.append(Persist(certificate))
        turn.emit(
            "certificate.revoked",
            serial=certificate.serial,
            purpose=certificate.purpose,
            reason=certificate.revocation_reason,
        )

    # --- passwords --------------------------------------------------------------------------------

    def rotation_fault(self, request: RotatePassword) -> Refusal | None:
        """Why no new password can be sent now."""
        kept = self._memory.security
        charger: dict[str, str] = {"charger_id": self._memory.charger_id}
        if self._rotating:
            return Refusal(
                "precondition", "ROTATION_RUNNING", "a new password is on its way", charger
            )
        same = kept.described_hash == request.described_hash
        if same and len(kept.pending_hashes) >= _PENDING_MAX:
            return Refusal(
                "precondition",
                "ROTATION_UNRESOLVED",
                "the charger has not come back with any of the passwords it was sent; let it "
                "reconnect first",
                charger,
            )
        return None

    def rotating(self, turn: Turn, request: RotatePassword) -> None:
        """The password is about to be sent; from the same commit on it is right."""
        kept = self._memory.security
        if kept.described_hash != request.described_hash:
            kept.described_hash = request.described_hash
            kept.password_hash, kept.pending_hashes, kept.spare_hashes = None, [], []
        self._rotating = request.password_hash
        kept.pending_hashes = [*kept.pending_hashes, request.password_hash]
        turn.emit("charger.password_sent")
        self._keep_credential(turn)

    def password_answered(self, turn: Turn, result: CommandResult, *, sent: bool) -> CommandResult:
        """What became of it. Only where the station surely does not have it is it wrong again: an
        error may also be an answer that nobody could read. Returned is what may be told of the
        result: a station's own words may hold the password."""
        rotated, self._rotating = self._rotating, ""
        state = result.state
        refused = state is CommandState.REJECTED or (
            state is CommandState.ERROR and result.error_code in _NOT_TAKEN
        )
        kept = self._memory.security
        if rotated in kept.pending_hashes and (refused or not sent):
            kept.pending_hashes = [each for each in kept.pending_hashes if each != rotated]
            turn.emit("charger.password_kept", state=state.value)
            self._keep_credential(turn)
        return CommandResult(state, status=result.status, error_code=result.error_code)

    def _keep_credential(self, turn: Turn) -> None:
        kept = self._memory.security
        turn.changed = True
        turn.effects.append(
            Persist(
                CredentialRecord(
                    self._memory.charger_id,
                    kept.described_hash,
                    kept.password_hash,
                    "\n".join(kept.pending_hashes) or None,
                    kept.profile,
                    turn.now_ms,
                    "\n".join(kept.spare_hashes) or None,
                )
            )
        )
