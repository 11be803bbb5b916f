"""From a boot or a new connection to a station that has settled, and what the site is told of it.

`Settling` decides what the station is told next and `Line` carries it there; here the one is driven
by the answers to the other. The invariants: the site hears of every change of whether the charger
is online and settled; a station settles only once everything it was told has been answered."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.charger.access import Access
from controlplane.charger.commands import Order, Origin
from controlplane.charger.line import Line
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.sessions import Sessions
from controlplane.charger.settling import Settling
from controlplane.charger.turn import Turn
from controlplane.ocpp.commands import (
    ClearLimits,
    Command,
    CommandResult,
    CommandState,
    SetSettings,
)
from controlplane.site.messages import ChargerPresence

__all__ = ["Preparation"]


class Preparation:
    """What one station goes through before it may be steered."""

    __slots__ = ("_access", "_line", "_memory", "_sessions", "_settling")

    def __init__(
        self,
        memory: ChargerMemory,
        line: Line,
        settling: Settling,
        access: Access,
        sessions: Sessions,
    ) -> None:
        self._memory = memory
        self._line = line
        self._settling = settling
        self._access = access
        self._sessions = sessions

    def rest(self, turn: Turn) -> None:
        """Leave the station in peace for a while, then prepare it. Tell the presence after it."""
        self._settling.rest(turn, self._line.connection)

    def replayed(self, turn: Turn) -> None:
        """The station is still telling what happened before."""
        self._settling.replayed(turn)

    def stop(self, turn: Turn) -> None:
        """The connection is gone."""
        self._settling.stop(turn)

    def resume(self, turn: Turn) -> None:
        """The station was prepared on this very connection, by the host before."""
        self._settling.resume(turn)
        self.tell_presence(turn)
        self._access.settled(turn)

    def tell_presence(self, turn: Turn) -> None:
        """Tell the site whether the charger is online and settled, and how it defaults."""
        defaults_ma = self._memory.defaults_ma()
        most_ma = max(defaults_ma.values(), default=None)
        turn.tell_site(
            ChargerPresence(
                self._memory.charger_id,
                bool(self._line.connection),
                self._settling.settled,
                most_ma,
                {number: own for number, own in defaults_ma.items() if own != most_ma},
            )
        )

    # --- what is due ------------------------------------------------------------------------------

    def rested(self, turn: Turn) -> None:
        """It has been left in peace for long enough."""
        if self._line.dialect is not None and self._line.connection:
            self._tell(turn, self._settling.rested(turn))

    def report_overdue(self, turn: Turn) -> None:
        """What it was asked to tell of itself does not come."""
        self._tell(turn, self._settling.report_overdue(turn))

    def default_doubted(self, turn: Turn) -> None:
        """A limit that was to be a default profile has failed: see to it that there is one."""
        self._settling.default_doubted(turn)

    def default_due(self, turn: Turn) -> None:
        """Time to see whether default profiles are missing."""
        self._tell(turn, self._settling.default_due(turn))

    # --- what the station says --------------------------------------------------------------------

    def reported(self, turn: Turn) -> None:
        """The station has told what it can do, or will not: go on, and tell the site what sessions
        can take by that."""
        self._tell(turn, ())
        for session in self._memory.open_sessions():
            self._sessions.tell_state(turn, session.connector_id)

    def answered(self, turn: Turn, order: Order, result: CommandResult) -> None:
        """A step of what prepares the station is done."""
        if isinstance(order.command, ClearLimits) and result.status == "Accepted":
            # Whoever set them is told where to look: nothing else says that they are gone.
            turn.emit("charger.foreign_defaults_removed")
        if isinstance(order.command, SetSettings) and order.sent:
            self._memory.probing.told(turn.now_ms)
        dialect = self._line.dialect
        if dialect is not None:
            self._settling.answered(turn, dialect, order.command, result.state)
        if not self._line.connection:
            return
        if self._settling.settled:
            self.tell_presence(turn)
        simpler = None
        if dialect is not None and result.state in (CommandState.REJECTED, CommandState.ERROR):
            simpler = self._settling.simpler_sampling(dialect, order.command)
        self._tell(turn, () if simpler is None else (simpler,))

    def _tell(self, turn: Turn, commands: Iterable[Command]) -> None:
        """Tell the station what it must know, and the site once it has settled."""
        line = self._line
        dialect = line.dialect
        if not line.connection or dialect is None:
            return
        for command in commands:
            line.order(turn, dialect, command, Origin.SETTLING)
        if not line.queue.pending(Origin.SETTLING):
            for command in self._settling.metering(dialect):
                line.order(turn, dialect, command, Origin.SETTLING)
        if not line.queue.pending(Origin.SETTLING) and self._settling.prepared(
            turn, line.connection
        ):
            self.tell_presence(turn)
            self._access.settled(turn)
