"""The commands of the API that are kept as resources, each written down in every state it is in.

To the rest of the actor such a command is a request like any other, whose asker is the command's
own id. Whatever is answered to that id ends the command: it becomes the record's last state and the
answer of everybody who waits. So a command ends exactly once, however many ask for it and whichever
part of the actor concludes it, and what is sent is written down before it leaves.

After a host was lost the next one is given the records that have no end. A command that was not
sent goes on where the charger is there again in time, as does one that may be sent twice
(`ocpp.commands.repeating`); any other ends as unknown: it may have been carried out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from controlplane.actor import Answer, CancelTimer, Effect, Persist, SetTimer
from controlplane.charger.commands import CommandQueue
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import Execute, ReservationAnswer, Submit, Wish
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ocpp.commands import (
    CommandResult,
    CommandState,
    GetCustomerInformation,
    RawCall,
    SetNetworkProfile,
    SetSettings,
    repeatable,
)
from controlplane.store.records import CommandRecord, CommandStage

__all__ = ["COMMAND_TIMER", "KeptCommands"]

COMMAND_TIMER: Final = "command"

_OPEN_MAX: Final = 64
_ENDED_KNOWN: Final = 32
"""How many ended ones are known by id: whoever looked one up before it ended looks again."""
_SECRET_KEYS: Final = ("authorizationkey", "basicauthpassword", "password")
_SECRET_ACTIONS: Final = frozenset({"ChangeConfiguration", "SetVariables", "SetNetworkProfile"})

_STAGES: Final = {
    CommandState.ACCEPTED: CommandStage.ANSWERED,
    CommandState.REJECTED: CommandStage.REFUSED,
    CommandState.ERROR: CommandStage.REFUSED,
    CommandState.TIMED_OUT: CommandStage.TIMED_OUT,
    CommandState.OFFLINE: CommandStage.UNKNOWN,
}
_encoder = msgspec.msgpack.Encoder()
_wish_decoder = msgspec.msgpack.Decoder(Wish)


class KeptCommands:
    """The commands of one charger that have not ended."""

    __slots__ = ("_again", "_armed_ms", "_askers", "_ended", "_memory", "_new", "_open")

    def __init__(self, memory: ChargerMemory) -> None:
        self._memory = memory
        self._open: dict[str, CommandRecord] = {}
        self._askers: dict[str, list[tuple[str, bool]]] = {}
        """Who asked, and whether for the outcome; the others want to know that it was taken in."""
        self._again: dict[str, Wish] = {}
        """What a host before this one had begun and the charger is to be told once it is there."""
        self._new = ""
        """What this step took in."""
        self._ended: tuple[str, ...] = ()
        self._armed_ms: int | None = None

    # --- what operators want ----------------------------------------------------------------------

    def known(self, ask_id: str, request: Submit) -> msgspec.Struct | None:
        """What is answered at once about a command that was submitted before; None where its
        asker waits with the others, or where it is new (`is_open` says which)."""
        record = self._open.get(request.command_id)
        if record is None:
            if request.command_id in self._ended:
                return Refusal("unavailable", "COMMAND_ENDED_MEANWHILE", "it has ended by now")
            if len(self._open) >= _OPEN_MAX:
                facts: dict[str, str] = {"charger_id": self._memory.charger_id}
                words = f"{_OPEN_MAX} commands of the charger are under way"
                return Refusal("exhausted", "CHARGER_BUSY", words, facts)
            return None
        if record.fingerprint != request.fingerprint:
            words = "this request_id was used for another request"
            return Refusal("invalid_input", "REQUEST_ID_REUSED", words)
        if not request.wait:
            return record
        self._askers.setdefault(request.command_id, []).append((ask_id, True))
        return None

    def is_open(self, command_id: str) -> bool:
        """Whether the command was taken in and has not ended."""
        return command_id in self._open

    def has_ended(self, ask_id: str) -> bool:
        """Whether this is the id of a command that ended here, not long ago."""
        return ask_id in self._ended

    def take_in(self, turn: Turn, ask_id: str, request: Submit) -> None:
        """A new command. It counts as kept from the end of this step on, unless `drop` follows."""
        secret = _holds_secret(request.wish)
        self._open[request.command_id] = CommandRecord(
            command_id=request.command_id,
            charger_id=self._memory.charger_id,
            request_type=request.request_type,
            request_id=request.request_id,
            fingerprint=request.fingerprint,
            request=b"" if secret else request.request,
            wish=b"" if secret else _encoder.encode(request.wish),
            stage=CommandStage.ACCEPTED,
            created_ms=turn.now_ms,
            until_ms=turn.now_ms + max(1, request.wish.timeout_ms),
        )
        self._new = request.command_id
        self._askers[request.command_id] = [(ask_id, request.wait)]

    def drop(self, command_id: str) -> None:
        """It was refused at once: nothing was begun, and there is nothing to keep."""
        del self._open[command_id], self._askers[command_id]
        self._new = ""

    def refused_cancel(self, command_id: str) -> Refusal | None:
        """Why a command cannot be taken back."""
        record = self._open.get(command_id)
        facts: dict[str, str] = {"command_id": command_id}
        if record is None:
            return Refusal("precondition", "COMMAND_ENDED", "the command has ended", facts)
        if record.sent_ms is not None:
            return Refusal("precondition", "COMMAND_SENT", "the charger has been told", facts)
        return None

    def cancel(self, turn: Turn, command_id: str) -> CommandRecord:
        """End a command that was not sent."""
        words = "the command was taken back before it was sent"
        refusal = Refusal("precondition", "COMMAND_CANCELLED", words, {"command_id": command_id})
        return self._end(turn, self._open[command_id], refusal, CommandStage.CANCELLED)

    # --- after a host was lost --------------------------------------------------------------------

    def restore(self, records: Iterable[CommandRecord]) -> None:
        """Take in what the store knows of commands without an end; call it before `activated`."""
        for record in records:
            self._open[record.command_id] = record

    def activated(self, turn: Turn) -> None:
        """End what cannot go on; the rest waits for the charger."""
        for record in list(self._open.values()):
            wish = _wish(record)
            sent = record.sent_ms is not None
            goes_on = isinstance(wish, Execute) and (not sent or repeatable(wish.command))
            if not goes_on or wish is None or turn.now_ms >= record.until_ms:
                self._end(turn, record, _lost(record))
                continue
            self._again[record.command_id] = wish
        self._arm(turn)

    @property
    def waits(self) -> bool:
        """Whether something is to be told once the charger is there."""
        return bool(self._again)

    def resumed(self, turn: Turn, queue: CommandQueue) -> Iterator[tuple[str, Wish]]:
        """What the charger, which is there, is told now, the oldest first."""
        while self._again and not queue.full:
            command_id = next(iter(self._again))
            wish = self._again.pop(command_id)
            record = self._open[command_id]
            self._open[command_id] = msgspec.structs.replace(record, stage=CommandStage.ACCEPTED)
            left_ms = max(1, record.until_ms - turn.now_ms)
            yield command_id, msgspec.structs.replace(wish, timeout_ms=left_ms)
        self._arm(turn)

    def due(self, turn: Turn) -> None:
        """The charger did not come back in time."""
        self._armed_ms = None
        for command_id in list(self._again):
            record = self._open[command_id]
            if turn.now_ms >= record.until_ms:
                self._end(turn, record, _lost(record))
        self._arm(turn)

    # --- what becomes of them ---------------------------------------------------------------------

    def follow(self, turn: Turn, queue: CommandQueue) -> None:
        """Write down what this step has made of the commands. An answer to a command's id is its
        end; the askers are answered in its place."""
        if not self._open:
            return
        effects: list[Effect] = turn.effects
        turn.effects = []
        for effect in effects:
            record = self._open.get(effect.ask_id) if isinstance(effect, Answer) else None
            if record is not None and isinstance(effect, Answer):
                self._end(turn, record, effect.response)
            else:
                turn.effects.append(effect)
        for record in list(self._open.values()):
            self._advance(turn, record, queue)
        self._new = ""

    def _advance(self, turn: Turn, record: CommandRecord, queue: CommandQueue) -> None:
        command_id = record.command_id
        in_flight = queue.in_flight
        if in_flight is not None and in_flight.ask_id == command_id:
            if record.stage is not CommandStage.SENT:
                record = msgspec.structs.replace(
                    record,
                    stage=CommandStage.SENT,
                    attempts=record.attempts + 1,
                    sent_ms=turn.now_ms if record.sent_ms is None else record.sent_ms,
                )
        elif record.stage is CommandStage.ACCEPTED and queue.waits(command_id):
            record = msgspec.structs.replace(record, stage=CommandStage.QUEUED)
        if record is not self._open[command_id] or command_id == self._new:
            self._open[command_id] = record
            self._write(turn, record)
        askers = self._askers.get(command_id)
        if askers and not all(wait for _, wait in askers):
            # They know it from here on; the outcome is for those who wait.
            self._askers[command_id] = [each for each in askers if each[1]]
            turn.effects += [Answer(ask_id, record) for ask_id, wait in askers if not wait]

    def _end(
        self,
        turn: Turn,
        record: CommandRecord,
        response: msgspec.Struct,
        stage: CommandStage | None = None,
    ) -> CommandRecord:
        command_id = record.command_id
        ended = msgspec.structs.replace(
            record,
            stage=stage or _stage(response, sent=record.sent_ms is not None),
            ended_ms=turn.now_ms,
            response=_encoder.encode(_kept(record, response)),
        )
        del self._open[command_id]
        self._again.pop(command_id, None)
        self._ended = (*self._ended[1 - _ENDED_KNOWN :], command_id)
        self._write(turn, ended)
        for ask_id, wait in self._askers.pop(command_id, ()):
            turn.effects.append(Answer(ask_id, response if wait else ended))
        return ended

    def _write(self, turn: Turn, record: CommandRecord) -> None:
        turn.effects.append(Persist(record))
        turn.emit(
            "command.changed",
            command_id=record.command_id,
            request_type=record.request_type,
            stage=record.stage.value,
            attempts=record.attempts,
        )

    def _arm(self, turn: Turn) -> None:
        due_ms = min((self._open[each].until_ms for each in self._again), default=None)
        if due_ms == self._armed_ms:
            return
        self._armed_ms = due_ms
        turn.effects.append(
            CancelTimer(COMMAND_TIMER) if due_ms is None else SetTimer(COMMAND_TIMER, due_ms)
        )


def _stage(response: msgspec.Struct, *, sent: bool) -> CommandStage:
    """The last state that an answer stands for."""
    if isinstance(response, ReservationAnswer):
        response = response.result
    if not isinstance(response, CommandResult):
        return CommandStage.UNKNOWN if sent else CommandStage.NOT_SENT
    if not sent and response.state is not CommandState.ACCEPTED:
        return CommandStage.NOT_SENT
    return _STAGES[response.state]


def _wish(record: CommandRecord) -> Wish | None:
    """What was wanted; None where that was not written down, or not in words of this version."""
    try:
        return _wish_decoder.decode(record.wish) if record.wish else None
    except msgspec.DecodeError:
        return None


def _lost(record: CommandRecord) -> Refusal:
    """The answer to a command that does not go on after its host was lost."""
    facts: dict[str, str] = {"charger_id": record.charger_id, "command_id": record.command_id}
    if record.sent_ms is not None:
        words = "the host was lost before the charger's answer; it may have been carried out"
        return Refusal("timed_out", "OUTCOME_UNKNOWN", words, facts)
    words = "the host was lost and the charger did not come back in time; nothing was sent to it"
    return Refusal("unavailable", "CHARGER_OFFLINE", words, facts)


def _holds_secret(wish: Wish) -> bool:
    """Whether a wish holds what must not be written down: keys and passwords."""
    command = wish.command if isinstance(wish, Execute) else None
    if isinstance(command, SetNetworkProfile):
        return True
    if isinstance(command, SetSettings):
        return any(word in key.casefold() for key in command.settings for word in _SECRET_KEYS)
    if isinstance(command, RawCall) and command.action in _SECRET_ACTIONS:
        text = msgspec.json.encode(command.payload).decode().casefold()
        return any(word in text for word in _SECRET_KEYS)
    return False


def _kept(record: CommandRecord, response: msgspec.Struct) -> msgspec.Struct:
    """What of an answer is written down: nothing of what is known of a customer."""
    if isinstance(response, CommandResult) and response.report:
        wish = _wish(record)
        if isinstance(wish, Execute) and isinstance(wish.command, GetCustomerInformation):
            return msgspec.structs.replace(response, report=())
    return response
