"""Keeps a station's local list in step with the tokens that may charge at it.

A list has a version of our own count, one more with each SendLocalList, because a station refuses a
difference whose version is not above the one it has (2.x part 2 D01.FR.19) and a long list takes
several. The invariants: a difference is sent only on top of a list that the station confirmed to
have; whatever it says otherwise (another version, a mismatch) leads to the whole list; the list is
sent behind everything else that is wanted of the station, and no more often than the pause allows.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from enum import StrEnum
from itertools import chain
from typing import Final

from controlplane.actor import LookedUp, LookUp, SetTimer
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.turn import Turn
from controlplane.ocpp.answers import list_version_answered, settings_answered
from controlplane.ocpp.commands import (
    Command,
    CommandResult,
    CommandState,
    GetListBounds,
    GetListVersion,
    ListEntry,
    SendList,
)
from controlplane.store.queries import ListFound, ListQuery
from controlplane.tokens import Token, TokenState, TokenStatus

__all__ = ["LIST_TIMER", "ListState", "LocalLists"]

LIST_TIMER: Final = "local_list"

_PAUSE_MS: Final = 10_000
"""From a change to the first message of it; changes that follow each other are sent together."""
_SPREAD_MS: Final = 10_000
"""The chargers of a site do not all begin at once."""
_RETRY_MS: Final = 600_000
_REFRESH_MS: Final = 24 * 3_600_000
"""The list is compared anew at least this often: tokens become valid by the clock alone."""
_ENTRIES_MAX: Final = 10_000
_PER_MESSAGE: Final = 100
"""Entries in one message, where the station does not say how many it takes: some 12 KB."""
_PER_MESSAGE_MAX: Final = 250


class ListState(StrEnum):
    """Where a station's list stands."""

    OFF = "off"
    """The site does not keep lists."""
    PENDING = "pending"
    """It is to be sent, or is being sent."""
    IN_STEP = "in_step"
    CUT = "cut"
    """In step as far as the station's list is long."""
    UNSUPPORTED = "unsupported"
    REFUSED = "refused"
    """The station did not take it; tried again later."""


class LocalLists:
    """The local list of one charger."""

    __slots__ = ("_asked", "_bounds_known", "_due_ms", "_memory", "_sending", "_serial", "state")

    def __init__(self, memory: ChargerMemory) -> None:
        self._memory = memory
        self._sending: deque[SendList] = deque()
        self._asked = ""
        self._bounds_known = False
        self._serial = 0
        self._due_ms: int | None = None
        self.state = ListState.OFF

    @property
    def wanted(self) -> bool:
        """Whether the site keeps lists."""
        described = self._memory.described
        authorisation = None if described is None else described.authorisation
        return authorisation is not None and authorisation.local_list

    # --- when -------------------------------------------------------------------------------------

    def settled(self, turn: Turn) -> None:
        """The station listens: compare its list soon."""
        self._restart(turn)

    def changed(self, turn: Turn) -> None:
        """Tokens were changed."""
        if self.state is not ListState.UNSUPPORTED:
            self._restart(turn)

    def disconnected(self) -> None:
        """Nothing more is sent; the next connection begins anew."""
        self._sending.clear()
        self._asked = ""
        self._bounds_known = False

    def _restart(self, turn: Turn) -> None:
        if not self.wanted:
            self.state = ListState.OFF
            return
        self.state = ListState.PENDING
        self._again(turn, _PAUSE_MS + zlib.crc32(self._memory.charger_id.encode()) % _SPREAD_MS)

    def _again(self, turn: Turn, pause_ms: int) -> None:
        """Look again in so long, or sooner where that was meant before."""
        at_ms = turn.now_ms + pause_ms
        if self._due_ms is None or at_ms < self._due_ms:
            self._due_ms = at_ms
            turn.effects.append(SetTimer(LIST_TIMER, at_ms))

    def due(self, turn: Turn) -> Iterable[Command]:
        """The pause is over: ask what the station has and how much it takes."""
        self._due_ms = None
        if not self.wanted:
            return ()
        if self._sending or self._asked:
            # Still at it; what has changed since comes right behind.
            self._restart(turn)
            return ()
        self.state = ListState.PENDING
        return (GetListVersion(),) if self._bounds_known else (GetListBounds(), GetListVersion())

    # --- what the station says --------------------------------------------------------------------

    def answered(self, turn: Turn, command: Command, result: CommandResult) -> Iterable[Command]:
        """Take in an answer; returned is what the station is told next."""
        match command:
            case GetListBounds():
                self._take_bounds(turn, result)
            case GetListVersion():
                self._take_version(turn, result)
            case SendList():
                return self._sent(turn, command, result)
        return ()

    def _take_bounds(self, turn: Turn, result: CommandResult) -> None:
        """How many entries a message and the list may have; what is not said stays as it was."""
        known = self._memory.local_list
        self._bounds_known = result.state is CommandState.ACCEPTED
        for setting in settings_answered(result.payload):
            value = setting.value or ""
            if not value.strip().isdecimal() or int(value) < 1:
                continue
            if setting.key == "LocalAuthListMaxLength":
                known.entries_max = min(int(value), _ENTRIES_MAX)
            else:
                known.per_message = min(int(value), _PER_MESSAGE_MAX)
            turn.changed = True

    def _take_version(self, turn: Turn, result: CommandResult) -> None:
        known = self._memory.local_list
        if result.state is CommandState.ERROR:
            self.state = ListState.UNSUPPORTED
            return
        version = list_version_answered(result.payload)
        if result.state is not CommandState.ACCEPTED or version is None:
            self._again(turn, _RETRY_MS)
            return
        if version < 0:
            # 1.6 section 5.10: it keeps no list, or is set not to.
            self.state = ListState.UNSUPPORTED
            return
        if version != known.number:
            known.number, known.synced = max(version, 0), 0
            turn.changed = True
        stale = turn.now_ms >= known.full_ms + _REFRESH_MS
        self._look_up(turn, after_version=0 if stale or known.cut else known.synced)

    def _look_up(self, turn: Turn, *, after_version: int) -> None:
        memory = self._memory
        if memory.site_id is None:
            return
        self._serial += 1
        self._asked = f"list-{turn.now_ms:x}-{self._serial:x}-{after_version}"
        query = ListQuery(
            memory.site_id,
            memory.charger_id,
            after_version,
            memory.local_list.entries_max or _ENTRIES_MAX,
        )
        turn.effects.append(LookUp(self._asked, query))

    def looked_up(self, turn: Turn, message: LookedUp) -> Iterable[Command]:
        """What the list is to hold is known; returned is the first message of it."""
        if message.look_up_id != self._asked:
            return ()
        self._asked = ""
        found = message.answer
        if not isinstance(found, ListFound):
            self._again(turn, _RETRY_MS)
            return ()
        known = self._memory.local_list
        full = message.look_up_id.endswith("-0")
        entries = list(_entries(found, turn.now_ms, full=full))
        known.target, known.cut = found.version, not found.complete
        turn.changed = True
        if not full and not entries:
            return self._in_step(turn)
        if full:
            known.full_ms = turn.now_ms
        size = known.per_message or _PER_MESSAGE
        parts = [tuple(entries[at : at + size]) for at in range(0, len(entries), size)] or [()]
        self._sending = deque(
            SendList(known.number + 1 + position, full and position == 0, part)
            for position, part in enumerate(parts)
        )
        return (self._sending[0],)

    def _sent(self, turn: Turn, command: SendList, result: CommandResult) -> Iterable[Command]:
        known = self._memory.local_list
        if not self._sending or self._sending[0] is not command:
            return ()
        if result.state is CommandState.ACCEPTED:
            self._sending.popleft()
            known.number = command.version
            # Until the last part is in, what the list reflects is not to be named.
            known.synced = 0
            turn.changed = True
            return (self._sending[0],) if self._sending else self._in_step(turn)
        self._sending.clear()
        known.synced = 0
        turn.changed = True
        mismatch = result.status == "VersionMismatch" and not command.full
        if mismatch:
            self._look_up(turn, after_version=0)
            return ()
        self.state = ListState.REFUSED
        if result.status == "NotSupported" or result.error_code in _UNSUPPORTED:
            self.state = ListState.UNSUPPORTED
            return ()
        turn.emit("charger.local_list", state=self.state.value, status=result.status)
        self._again(turn, _RETRY_MS)
        return ()

    def _in_step(self, turn: Turn) -> tuple[()]:
        known = self._memory.local_list
        known.synced = known.target
        turn.changed = True
        self.state = ListState.CUT if known.cut else ListState.IN_STEP
        turn.emit(
            "charger.local_list",
            state=self.state.value,
            version=known.number,
            tokens_version=known.synced,
        )
        self._again(turn, _REFRESH_MS)
        return ()


_UNSUPPORTED: Final = frozenset({"NotSupported", "NotImplemented"})


def _entries(found: ListFound, now_ms: int, *, full: bool) -> Iterator[ListEntry]:
    """What a station is told of each token. One that is not valid yet is left out: a list has no
    word for when it begins."""
    early = [each for each in found.tokens if (each.valid_from_ms or 0) > now_ms]
    for token in found.tokens:
        if (token.valid_from_ms or 0) <= now_ms:
            yield _entry(token, now_ms)
    if not full:
        for id_token in chain(found.gone, (each.id_token for each in early)):
            yield ListEntry(id_token, status=None)


def _entry(token: Token, now_ms: int) -> ListEntry:
    status = TokenStatus.ACCEPTED
    if token.state is TokenState.BLOCKED:
        status = TokenStatus.BLOCKED
    elif token.state is TokenState.NO_CREDIT:
        status = TokenStatus.NO_CREDIT
    elif token.valid_until_ms is not None and now_ms >= token.valid_until_ms:
        status = TokenStatus.EXPIRED
    return ListEntry(
        token.id_token,
        token.type,
        status,
        token.valid_until_ms,
        token.group_id,
        token.language,
        token.message,
    )
