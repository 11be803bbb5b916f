"""What becomes of the tokens that a station shows, and of those it is to be started with.

Tokens are the network's and not the charger's, so they are looked up, and the answer to the station
waits meanwhile. The invariants: every CALL is answered once, in the order of the CALLs, within a
bounded time; the transaction is stored before its token is looked up, so no energy is lost and of
two transactions of one token at least one sees the other; a session whose token is refused, or not
judged yet, is given no power and is kept in the books like any other."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from zlib import crc32

from controlplane.actor import Answer as Answered
from controlplane.actor import CancelTimer, LookedUp, LookUp, Persist, Reply, SetTimer
from controlplane.charger.memory import ChargerMemory, Session
from controlplane.charger.messages import Execute, ReserveConnector, StationCalled
from controlplane.charger.metering import session_record
from controlplane.charger.reservations import Reservations
from controlplane.charger.token_check import TokenCheck
from controlplane.charger.transactions import Transactions
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ocpp.dialect import Answer, Dialect
from controlplane.store.queries import TokenFound, TokenQuery
from controlplane.tokens import (
    PENDING,
    Authorisation,
    Purpose,
    TokenStatus,
    Verdict,
    judge,
    judge_unheard,
    token_key,
)

__all__ = ["TOKEN_TIMER", "Authoriser", "Checked"]

Checked = tuple[str, Execute | ReserveConnector, Verdict]
"""Who asked, for what, and the verdict on its token."""

TOKEN_TIMER: Final = "token"

_QUESTIONS_MAX: Final = 128
"""Tokens of one charger that are looked up at once; its open sessions are at most half of that."""
_AGAIN_MS: Final = 60_000
"""After so long a token that could not be looked up is looked up again."""
_RESUMED_REST_MS: Final = 2_000
_RESUMED_SPREAD_MS: Final = 10_000
"""Within so long after that, the tokens of sessions that a host took over are looked up."""


@dataclass(slots=True, eq=False)
class _Held:
    """The place of an answer to the station; `answer` None while it waits."""

    connection: str
    message_id: str
    dialect: Dialect
    answer: Answer | None


@dataclass(slots=True, eq=False)
class _Question:
    """A token that is looked up. Once nobody waits any longer the answer still counts for the
    session."""

    check: TokenCheck
    until_ms: int
    held: _Held | None = None
    wish: tuple[str, Execute | ReserveConnector] | None = None
    waits: bool = True


class Authoriser:
    """The tokens of one charger. `wait_ms` is how long a look-up may take."""

    __slots__ = (
        "_armed_ms",
        "_held",
        "_memory",
        "_questions",
        "_ready",
        "_reservations",
        "_serial",
        "_transactions",
        "_wait_ms",
    )

    def __init__(
        self,
        memory: ChargerMemory,
        transactions: Transactions,
        reservations: Reservations,
        wait_ms: int,
    ) -> None:
        self._memory = memory
        self._transactions = transactions
        self._reservations = reservations
        self._wait_ms = wait_ms
        self._held: deque[_Held] = deque()
        self._questions: dict[str, _Question] = {}
        self._ready: list[Checked] = []
        self._serial = 0
        self._armed_ms: int | None = None

    # --- the station ------------------------------------------------------------------------------

    def answer(self, turn: Turn, dialect: Dialect, call: StationCalled, answer: Answer) -> None:
        """Answer the station: at once, or when the token in `answer` is judged."""
        if not (self._held or isinstance(answer, TokenCheck)):
            turn.effects.append(Reply(call.connection, call.message_id, dialect.reply(answer)))
            return
        held = _Held(call.connection, call.message_id, dialect, answer)
        self._held.append(held)
        if isinstance(answer, TokenCheck):
            held.answer = None
            self._ask(turn, answer, held=held)
        self._flush(turn)

    def disconnected(self) -> None:
        """Nobody is there to hear the answers; the station repeats what it needs to."""
        self._held.clear()
        for question in self._questions.values():
            question.held = None

    def activated(self, turn: Turn) -> None:
        """Judge what the host before had not judged, and a little later what it had once more: news
        of a change may have come while nobody was there to hear it."""
        for session in self._memory.open_sessions():
            if session.token_status == PENDING:
                self._ask_again(turn, session)
            elif self._authorisation is not None and session.id_token is not None:
                self._ask_later(turn, session)
        self._rearm(turn)

    # --- what others want -------------------------------------------------------------------------

    def check_first(
        self,
        turn: Turn,
        ask_id: str,
        wish: Execute | ReserveConnector,
        id_token: str,
        purpose: Purpose,
        *,
        connector_id: int = 0,
    ) -> Refusal | None:
        """Look up the token of a wish; what may be sent is in `ready` later."""
        if len(self._questions) >= _QUESTIONS_MAX:
            return Refusal(
                "exhausted",
                "CHARGER_BUSY",
                "too many tokens are looked up for the charger",
                {"charger_id": self._memory.charger_id},
            )
        self._ask(turn, TokenCheck(id_token, purpose, connector_id), wish=(ask_id, wish))
        return None

    @property
    def due(self) -> bool:
        """Whether the token of some wish was accepted."""
        return bool(self._ready)

    def ready(self) -> list[Checked]:
        """The wishes whose tokens were accepted; they are taken out."""
        ready, self._ready = self._ready, []
        return ready

    def changed(self, turn: Turn, keys: tuple[str, ...] | None) -> None:
        """Tokens were changed (None: any): judge the running sessions of these anew."""
        if self._authorisation is None:
            return
        for session in list(self._memory.open_sessions()):
            if session.id_token is None:
                continue
            if keys is None or token_key(session.id_token) in keys:
                self._ask_again(turn, session)

    # --- looking up -------------------------------------------------------------------------------

    @property
    def _authorisation(self) -> Authorisation | None:
        described = self._memory.described
        return None if described is None else described.authorisation

    def _ask_again(self, turn: Turn, session: Session) -> None:
        """Judge a session that runs: one that was accepted is held to less. What is read already
        may be older than the reason to ask, so whoever waits for that waits for this."""
        asked = [
            look_up_id
            for look_up_id, question in self._questions.items()
            if question.check.judges and question.check.session_number == session.number
        ]
        for look_up_id in asked:
            self._look_up(turn, self._questions.pop(look_up_id))
        if asked:
            return
        waits = session.token_status == PENDING
        pause_ms = self._wait_ms if waits else _AGAIN_MS
        self._look_up(turn, _Question(_check_of(session), turn.now_ms + pause_ms, waits=waits))

    def _ask_later(self, turn: Turn, session: Session) -> None:
        """Judge a session that runs, at a moment of its charger's own: a host that takes over a
        whole network has more urgent things to read."""
        spread_ms = crc32(self._memory.charger_id.encode()) % _RESUMED_SPREAD_MS
        question = _Question(
            _check_of(session), turn.now_ms + _RESUMED_REST_MS + spread_ms, waits=False
        )
        self._questions[self._next_id(turn)] = question

    def _next_id(self, turn: Turn) -> str:
        self._serial += 1
        return f"{turn.now_ms:x}-{self._serial:x}"

    def _ask(
        self,
        turn: Turn,
        check: TokenCheck,
        *,
        held: _Held | None = None,
        wish: tuple[str, Execute | ReserveConnector] | None = None,
    ) -> None:
        question = _Question(check, turn.now_ms + self._wait_ms, held, wish)
        authorisation = self._authorisation
        if authorisation is None:
            self._conclude(turn, question, Verdict(TokenStatus.ACCEPTED))
        elif len(self._questions) >= _QUESTIONS_MAX:
            self._conclude(turn, question, judge_unheard(authorisation))
        else:
            self._look_up(turn, question)

    def _look_up(self, turn: Turn, question: _Question) -> None:
        look_up_id = self._next_id(turn)
        self._questions[look_up_id] = question
        key = token_key(question.check.id_token)
        turn.effects.append(LookUp(look_up_id, TokenQuery(key)))
        self._rearm(turn)

    def looked_up(self, turn: Turn, message: LookedUp) -> None:
        """The store has answered, or could not."""
        question = self._questions.pop(message.look_up_id, None)
        if question is None:
            return
        found = message.answer
        authorisation = self._authorisation or Authorisation()
        if isinstance(found, TokenFound):
            self._conclude(turn, question, self._judge(turn, question.check, found, authorisation))
        else:
            if question.waits:
                self._conclude(turn, question, judge_unheard(authorisation))
            if question.check.judges:
                question.held = question.wish = None
                question.waits = False
                question.until_ms = turn.now_ms + _AGAIN_MS
                self._questions[message.look_up_id] = question
        self._flush(turn)
        self._rearm(turn)

    def timer_fired(self, turn: Turn) -> None:
        """Decide what nobody may wait for any longer; ask again what failed."""
        self._armed_ms = None
        for look_up_id, question in list(self._questions.items()):
            gone = self._questions.get(look_up_id) is not question
            if gone or turn.now_ms < question.until_ms:
                continue
            if not question.waits:
                session = self._session(question.check)
                if session is None or session.ended_ms is not None:
                    del self._questions[look_up_id]
                else:
                    question.until_ms = turn.now_ms + _AGAIN_MS
                    self._ask_again(turn, session)
                continue
            self._conclude(turn, question, judge_unheard(self._authorisation or Authorisation()))
            question.held = question.wish = None
            question.waits = False
            question.until_ms = turn.now_ms + _AGAIN_MS
            if not question.check.judges:
                del self._questions[look_up_id]
        self._flush(turn)
        self._rearm(turn)

    # --- judging ----------------------------------------------------------------------------------

    def _session(self, check: TokenCheck) -> Session | None:
        number = check.session_number
        return next((each for each in self._memory.sessions if each.number == number), None)

    def _judge(
        self, turn: Turn, check: TokenCheck, found: TokenFound, authorisation: Authorisation
    ) -> Verdict:
        session = self._session(check)
        accepted = session is not None and session.token_status == TokenStatus.ACCEPTED
        own_id = None if session is None else session.session_id
        # Whoever was accepted once goes on, though the token expired or others came since.
        goes_on = accepted and check.judges
        verdict = judge(
            found.token,
            authorisation,
            Purpose.CONTINUE if goes_on else check.purpose,
            site_id=self._memory.site_id,
            charger_id=self._memory.charger_id,
            now_ms=turn.now_ms,
            others=sum(1 for each in found.sessions if each != own_id),
        )
        if check.purpose is not Purpose.START or not verdict.accepted or goes_on:
            return verdict
        if self._reservations.kept_from(check.connector_id, check.id_token, verdict.group_id):
            return Verdict(TokenStatus.NOT_AT_THIS_TIME, group_id=verdict.group_id)
        return verdict

    def _conclude(self, turn: Turn, question: _Question, verdict: Verdict) -> None:
        check = question.check
        asked = check.purpose is Purpose.AUTHORIZE and question.wish is None
        if asked or not (verdict.accepted or check.judges):
            turn.emit("token.authorised", id_token=check.id_token, status=verdict.status.value)
        if question.held is not None:
            question.held.answer = check.answered(verdict)
        if check.judges:
            self._judged(turn, check, verdict)
        if question.wish is None:
            return
        ask_id, wish = question.wish
        if verdict.accepted:
            self._ready.append((ask_id, wish, verdict))
            return
        refusal = Refusal(
            "precondition",
            "TOKEN_REFUSED",
            f"the token is answered {verdict.status.value}: nothing was sent",
            {"charger_id": self._memory.charger_id, "status": verdict.status.value},
        )
        turn.effects.append(Answered(ask_id, refusal))

    def _judged(self, turn: Turn, check: TokenCheck, verdict: Verdict) -> None:
        """Write into the session what became of its token."""
        session = self._session(check)
        if session is None or self._authorisation is None:
            return
        if verdict.accepted and session.ended_ms is None:
            self._reservations.used(turn, session, verdict.group_id)
        status = verdict.status.value
        if (session.token_status, session.group_id) == (status, verdict.group_id):
            return
        session.token_status, session.group_id = status, verdict.group_id
        turn.changed = True
        turn.effects.append(Persist(session_record(self._memory, session)))
        turn.emit(
            "session.authorised" if verdict.accepted else "session.unauthorised",
            session_id=session.session_id,
            connector_id=session.connector_id,
            id_token=session.id_token,
            status=status,
        )
        if session.ended_ms is None:
            self._transactions.sessions.tell_state(turn, session.connector_id)

    def _flush(self, turn: Turn) -> None:
        """Give the answers that wait for nothing any more, in the order of the CALLs."""
        while self._held and self._held[0].answer is not None:
            held = self._held.popleft()
            assert held.answer is not None
            turn.effects.append(
                Reply(held.connection, held.message_id, held.dialect.reply(held.answer))
            )

    def _rearm(self, turn: Turn) -> None:
        instants: Iterable[int] = (each.until_ms for each in self._questions.values())
        due_ms = min(instants, default=None)
        if due_ms == self._armed_ms:
            return
        self._armed_ms = due_ms
        turn.effects.append(
            CancelTimer(TOKEN_TIMER) if due_ms is None else SetTimer(TOKEN_TIMER, due_ms)
        )


def _check_of(session: Session) -> TokenCheck:
    """What is asked about the token of a session that runs."""
    assert session.id_token is not None
    return TokenCheck(
        session.id_token,
        Purpose.CONTINUE if session.authorised else Purpose.START,
        session.connector_id,
        session_number=session.number,
        judges=True,
    )
