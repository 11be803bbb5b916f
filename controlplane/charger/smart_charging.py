"""What a station says of limits and schedules that are not Loadstar's: those of other systems (2.x
part 2 K11 to K13), and those by which vehicles mean to charge (K15 to K17)."""

from __future__ import annotations

from typing import Final

import msgspec

from controlplane.actor import CancelTimer, SetTimer
from controlplane.charger.external_limits import EXTERNAL_LIMITS_MAX, ExternalLimit
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.transactions import Transactions
from controlplane.charger.turn import Turn
from controlplane.ids import SessionId
from controlplane.ocpp.commands import GetChargingProfiles, ProfilePurpose
from controlplane.ocpp.dialect import Done, StatusAnswer
from controlplane.ocpp.events import (
    ChargingLimitCleared,
    ChargingLimitNotified,
    VehicleScheduleNotified,
)
from controlplane.site.messages import VehicleLimits
from controlplane.units import w_from_ma

__all__ = ["EXTERNAL_TIMER", "SmartCharging"]

EXTERNAL_TIMER: Final = "external_limit"

_RENEGOTIATIONS_MAX: Final = 3
"""How often a vehicle that keeps to its schedule is told its limit anew."""


class SmartCharging:
    """Limits and schedules of one charger that others make."""

    __slots__ = ("_armed_ms", "_memory", "_renegotiated", "_transactions", "question")

    def __init__(self, memory: ChargerMemory, transactions: Transactions) -> None:
        self._memory = memory
        self._transactions = transactions
        self.question: GetChargingProfiles | None = None
        """What the station is to be asked after this turn."""
        self._armed_ms: int | None = None
        self._renegotiated: tuple[SessionId | None, int] = (None, 0)

    def activated(self, turn: Turn) -> None:
        """Go on where another host stopped."""
        self._arm(turn)

    # --- limits of other systems ------------------------------------------------------------------

    def limit_notified(self, turn: Turn, event: ChargingLimitNotified) -> Done:
        """Another system limits a connector or the whole charger (K11.FR.02, K12.FR.02). A station
        that does not say to what is asked for the profile that it keeps of it."""
        if not event.schedules:
            self.question = GetChargingProfiles(
                connector_id=event.connector_id, purpose=ProfilePurpose.EXTERNAL
            )
        self._take(turn, event)
        return Done()

    def limit_reported(self, turn: Turn, event: ChargingLimitNotified) -> None:
        """A profile that the station keeps of such a limit, whoever asked for it."""
        known = next((each for each in self._memory.external_limits if each.of_same(event)), None)
        if known is None:
            self._take(turn, event)
        elif not known.schedules:
            self._take(turn, msgspec.structs.replace(event, grid_critical=known.grid_critical))

    def _take(self, turn: Turn, event: ChargingLimitNotified) -> None:
        memory = self._memory
        others = self._others(event)
        limit = ExternalLimit.of(event, turn.now_ms)
        memory.external_limits = [*others[-EXTERNAL_LIMITS_MAX + 1 :], limit]
        found = memory.external_limit(event.connector_id or self._first_id(), turn.now_ms)
        turn.emit(
            "charger.external_limit",
            connector_id=event.connector_id,
            source=event.source,
            grid_critical=event.grid_critical,
            limit_ma=None if found is None else found[0],
        )
        # One that had to make room bounded somebody too.
        self._changed(turn, 0 if len(others) >= EXTERNAL_LIMITS_MAX else event.connector_id)

    def limit_cleared(self, turn: Turn, event: ChargingLimitCleared) -> Done:
        """Such a limit is gone (K13.FR.02); said of the whole charger, of every connector."""
        left = self._others(event)
        if event.connector_id == 0:
            left = [each for each in left if each.source != event.source]
        turn.emit(
            "charger.external_limit_cleared", connector_id=event.connector_id, source=event.source
        )
        if len(left) != len(self._memory.external_limits):
            self._memory.external_limits = left
            self._changed(turn, event.connector_id)
        return Done()

    def booted(self, turn: Turn) -> None:
        """A station need not keep such limits through a boot, and tells them again if it does."""
        if self._memory.external_limits:
            self._memory.external_limits = []
            self._changed(turn, 0)

    def due(self, turn: Turn) -> None:
        """Another period of some limit has begun."""
        self._armed_ms = None
        self._tell(turn, 0)
        self._arm(turn)

    def _others(self, event: ChargingLimitNotified | ChargingLimitCleared) -> list[ExternalLimit]:
        return [each for each in self._memory.external_limits if not each.of_same(event)]

    def _first_id(self) -> int:
        described = self._memory.described
        return described.connectors[0].id if described and described.connectors else 0

    def _changed(self, turn: Turn, connector_id: int) -> None:
        turn.changed = True
        self._tell(turn, connector_id)
        self._arm(turn)

    def _tell(self, turn: Turn, connector_id: int) -> None:
        described = self._memory.described
        for connector in () if described is None else described.connectors:
            if connector_id in (0, connector.id):
                self._transactions.tell_state(turn, connector.id)

    def _arm(self, turn: Turn) -> None:
        instants = [each.next_change_ms(turn.now_ms) for each in self._memory.external_limits]
        due_ms = min((each for each in instants if each is not None), default=None)
        if due_ms == self._armed_ms:
            return
        self._armed_ms = due_ms
        turn.effects.append(
            CancelTimer(EXTERNAL_TIMER) if due_ms is None else SetTimer(EXTERNAL_TIMER, due_ms)
        )

    # --- schedules of vehicles --------------------------------------------------------------------

    def schedule_notified(self, turn: Turn, event: VehicleScheduleNotified) -> StatusAnswer:
        """A vehicle says how it means to charge. Within the limit that is Accepted (K15.FR.11,
        K16.FR.06); above it Rejected (K15.FR.12), and the site tells it its limit anew, which
        begins a renegotiation (K15.FR.13, K16.FR.08)."""
        session = self._memory.open_session_on(event.connector_id)
        allowed = self._allowed(event.connector_id, event.schedule.unit)
        wanted = max((each.limit or 0 for each in event.schedule.periods), default=0)
        fits = allowed is not None and wanted <= allowed
        turn.emit(
            "session.vehicle_schedule",
            session_id=None if session is None else session.session_id,
            connector_id=event.connector_id,
            unit=event.schedule.unit,
            wanted=wanted,
            allowed=allowed,
            accepted=fits,
        )
        if fits:
            return StatusAnswer("Accepted")
        if session is not None and self._may_renegotiate(session.session_id):
            said = session.vehicle or VehicleLimits()
            session.vehicle = msgspec.structs.replace(said, said_ms=turn.now_ms)
            turn.changed = True
            self._transactions.tell_state(turn, session.connector_id)
        return StatusAnswer("Rejected")

    def _allowed(self, connector_id: int, unit: str) -> float | None:
        """The limit in force as the station was told it; that of the hardware while nobody knows.
        None for a connector that nobody described."""
        described = self._memory.described
        leaf = None if described is None else described.connector(connector_id)
        if described is None or leaf is None:
            return None
        connector = self._memory.connectors.get(connector_id)
        limit_ma = leaf.current_max_ma
        if connector is not None and connector.limit_ma is not None:
            limit_ma = connector.limit_ma
        if unit == "A":
            return limit_ma / 1_000
        grid_w = w_from_ma(limit_ma, voltage_v=described.voltage_v, phases=leaf.phases)
        return grid_w * described.efficiency_permille / 1_000

    def _may_renegotiate(self, session_id: SessionId) -> bool:
        known_id, count = self._renegotiated
        count = count + 1 if known_id == session_id else 1
        self._renegotiated = (session_id, count)
        return count <= _RENEGOTIATIONS_MAX
