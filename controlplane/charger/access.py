"""Who may charge at one charger: its tokens, its reservations and its local list, as its actor
deals with them.

What any of them wants of the station is collected and taken by the actor at the end of its step."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.actor import LookedUp
from controlplane.charger.authorising import TOKEN_TIMER, Authoriser
from controlplane.charger.commands import Order, Origin
from controlplane.charger.local_list import LIST_TIMER, ListState, LocalLists
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import CancelReserved, ReservationAnswer, ReserveConnector
from controlplane.charger.reservations import RESERVATION_TIMER, Reservations
from controlplane.charger.transactions import Transactions
from controlplane.charger.turn import Turn
from controlplane.errors import Refusal
from controlplane.ocpp.commands import (
    CancelReservation,
    Command,
    CommandResult,
    CommandState,
    GetListBounds,
    GetListVersion,
    ReserveNow,
    SendList,
)
from controlplane.site.messages import TokensChanged
from controlplane.store.records import ReservationRecord
from controlplane.tokens import Purpose, Verdict

__all__ = ["ACCESS_TIMERS", "Access"]

ACCESS_TIMERS: Final = frozenset({LIST_TIMER, RESERVATION_TIMER, TOKEN_TIMER})
_LIST_COMMANDS: Final = (GetListBounds, GetListVersion, SendList)


class Access:
    """See the module's docstring. `wait_ms` is how long a token may be looked up."""

    __slots__ = ("_asks", "_lists", "_wanted", "authoriser", "reservations")

    def __init__(
        self,
        memory: ChargerMemory,
        transactions: Transactions,
        reservations: Reservations,
        wait_ms: int,
    ) -> None:
        self.reservations = reservations
        self.authoriser = Authoriser(memory, transactions, reservations, wait_ms)
        self._lists = LocalLists(memory)
        self._wanted: list[Command] = []
        self._asks: set[str] = set()
        """Of whoever is answered with the reservation besides the result."""

    @property
    def list_state(self) -> ListState:
        return self._lists.state

    @property
    def due(self) -> bool:
        """Whether something is to be sent."""
        return bool(self._wanted or self.authoriser.due)

    def wanted(self) -> list[Command]:
        """What the station is to be told, behind everything else; it is taken out."""
        wanted, self._wanted = self._wanted, []
        return wanted

    # --- what happens -----------------------------------------------------------------------------

    def activated(self, turn: Turn) -> None:
        """Go on where another host stopped."""
        self.reservations.activated(turn)
        self.authoriser.activated(turn)

    def settled(self, turn: Turn) -> None:
        """The station listens."""
        self._wanted += self.reservations.to_cancel()
        self._lists.settled(turn)

    def disconnected(self) -> None:
        """The connection is gone, and what was wanted over it."""
        self._wanted = []
        self.authoriser.disconnected()
        self._lists.disconnected()

    def timer_fired(self, turn: Turn, key: str) -> None:
        if key == TOKEN_TIMER:
            self.authoriser.timer_fired(turn)
        elif key == RESERVATION_TIMER:
            self.reservations.due(turn)
        else:
            self._wanted += self._lists.due(turn)

    def looked_up(self, turn: Turn, message: LookedUp) -> None:
        self.authoriser.looked_up(turn, message)
        self._wanted += self._lists.looked_up(turn, message)

    def tokens_changed(self, turn: Turn, news: TokensChanged, *, settled: bool) -> None:
        self.authoriser.changed(turn, news.keys)
        if settled:
            self._lists.changed(turn)

    # --- what operators want ----------------------------------------------------------------------

    def reserve(self, turn: Turn, ask_id: str, wish: ReserveConnector) -> Refusal | None:
        """Have the token judged first; `authoriser.ready` has the wish then."""
        refusal = self.reservations.refused(turn, wish)
        if refusal is not None:
            return refusal
        purpose = Purpose.AUTHORIZE
        return self.authoriser.check_first(turn, ask_id, wish, wish.id_token, purpose)

    def reserve_checked(
        self, turn: Turn, ask_id: str, wish: ReserveConnector, verdict: Verdict
    ) -> Command:
        """The token was accepted; returned is what the station is told."""
        self._asks.add(ask_id)
        return self.reservations.ask(turn, wish, verdict.group_id)

    def cancel(self, ask_id: str, request: CancelReserved) -> Command | Refusal:
        """What the station is told to let go of a reservation, or why it is not."""
        command = self.reservations.cancel(request.number)
        if isinstance(command, CancelReservation):
            self._asks.add(ask_id)
        return command

    def concluded(self, turn: Turn, order: Order, result: CommandResult) -> msgspec.Struct:
        """Take in what became of an order; returned is what its asker is answered."""
        command = order.command
        record: ReservationRecord | None = None
        if isinstance(command, ReserveNow):
            record = self.reservations.reserved(turn, command.number, result.state, sent=order.sent)
            if result.state is CommandState.TIMED_OUT:
                self._wanted += self.reservations.to_cancel()
        elif isinstance(command, CancelReservation):
            record = self.reservations.cancelled(turn, command.number, result.state)
        elif isinstance(command, _LIST_COMMANDS) and order.origin is Origin.LIST:
            self._wanted += self._lists.answered(turn, command, result)
        return self._answer(order, result, record)

    def _answer(
        self, order: Order, result: CommandResult, record: ReservationRecord | None
    ) -> msgspec.Struct:
        if order.ask_id not in self._asks:
            return result
        self._asks.remove(order.ask_id)
        return ReservationAnswer(result, record)

    def unanswered(self, order: Order, result: CommandResult) -> msgspec.Struct:
        """What an asker is answered who waits no longer, while the station still may answer."""
        command = order.command
        record: ReservationRecord | None = None
        if isinstance(command, ReserveNow | CancelReservation):
            record = self.reservations.standing(command.number)
        return self._answer(order, result, record)
