"""What must hold in every world besides its rows: the line and the books.

A checker trusts nothing that Loadstar says of itself: energies come from the vehicles and the
stations' meters, answers are counted on the line."""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.sim.violations import Violations
from controlplane.sim.virtual_station import ClosedBook, VirtualStation
from controlplane.store.records import SessionRecord, SessionState

__all__ = ["AnswerChecker", "EnergyChecker"]

_ANSWER_WITHIN_MS = 15_000
"""A token is waited for, its host dies, and the next host waits for it once more."""


class AnswerChecker:
    """Every CALL that reached Loadstar on a connection that lives is answered, once, in time."""

    def __init__(self, violations: Violations) -> None:
        self._violations = violations
        self._waiting: dict[tuple[str, str], list[int]] = {}
        """In the order of the first call."""
        self._earliest_ms = 0
        """No call waits that came before."""

    def called(self, connection: str, message_id: str, now_ms: int) -> None:
        if not self._waiting:
            self._earliest_ms = now_ms
        self._waiting.setdefault((connection, message_id), []).append(now_ms)

    def answered(self, connection: str, message_id: str, now_ms: int) -> None:
        waiting = self._waiting.get((connection, message_id))
        if waiting:
            waiting.pop(0)
            if not waiting:
                del self._waiting[connection, message_id]
        else:
            self._violations.record(
                now_ms, "answered without being asked", f"{connection} {message_id}"
            )

    def closed(self, connection: str) -> None:
        """The connection is gone, and with it the right to an answer."""
        for key in [key for key in self._waiting if key[0] == connection]:
            del self._waiting[key]

    def check(self, now_ms: int) -> None:
        if now_ms - self._earliest_ms <= _ANSWER_WITHIN_MS:
            return
        late = [
            key for key, waiting in self._waiting.items() if now_ms - waiting[0] > _ANSWER_WITHIN_MS
        ]
        for key in late:
            self._violations.record(now_ms, "not answered", " ".join(key))
            del self._waiting[key]
        self._earliest_ms = min((waiting[0] for waiting in self._waiting.values()), default=now_ms)


class EnergyChecker:
    """Vehicles, meters and stored sessions agree to the watt-hour, once all has come to rest."""

    def __init__(self, violations: Violations) -> None:
        self._violations = violations

    def check(
        self,
        now_ms: int,
        stations: Iterable[VirtualStation],
        sessions: Iterable[SessionRecord],
    ) -> None:
        stored: dict[tuple[str, str], list[SessionRecord]] = {}
        for session in sessions:
            stored.setdefault((session.charger_id, session.transaction_id), []).append(session)
        for station in stations:
            for refusal in station.refused:
                self._violations.record(now_ms, "transaction message refused", refusal)
            if station.backlog:
                self._violations.record(
                    now_ms, "messages left", f"{station.spec.id} holds {station.backlog}"
                )
            for book in station.closed:
                found = stored.pop((book.charger_id, book.transaction.id or ""), [])
                if fault := _disagreement(book, found):
                    self._violations.record(
                        now_ms,
                        "energy not conserved",
                        f"{book.charger_id} transaction {book.transaction.id}: {fault}",
                    )
        for charger_id, transaction_id in stored:
            self._violations.record(
                now_ms, "session without a transaction", f"{charger_id} {transaction_id}"
            )


def _disagreement(book: ClosedBook, found: list[SessionRecord]) -> str | None:
    transaction, drawn_wh = book.transaction, book.drawn_wh
    if len(found) != 1:
        return f"{len(found)} sessions are stored"
    session, register_wh = found[0], (transaction.register_stop_wh or 0)
    metered_wh = register_wh - transaction.register_start_wh
    if session.state is not SessionState.ENDED:
        return f"stored as {session.state.value}"
    # Both readings of the meter are cut to whole watt-hours.
    if abs(metered_wh - drawn_wh) > 1.001:
        return f"the vehicle drew {drawn_wh:.3f} Wh, the meter counted {metered_wh} Wh"
    if session.energy_wh != metered_wh:
        return f"the meter counted {metered_wh} Wh, {session.energy_wh} Wh are stored"
    exported_wh = transaction.exported_stop_wh - transaction.exported_start_wh
    if abs(exported_wh - book.fed_wh) > 1.001:
        return f"the vehicle fed in {book.fed_wh:.3f} Wh, the meter counted {exported_wh} Wh"
    if session.exported_wh != exported_wh:
        return f"the meter counted {exported_wh} Wh fed in, {session.exported_wh} Wh are stored"
    return None
