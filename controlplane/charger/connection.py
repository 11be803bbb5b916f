"""The life of a charger's connections: one comes, one goes, one outlives the actor's host.

The invariants: the newest connection wins at once and the end of an older one changes nothing; what
was wanted of the station on a connection ends with it."""

from __future__ import annotations

from controlplane.actor import CloseSocket
from controlplane.charger.access import Access
from controlplane.charger.concluding import Conclusions
from controlplane.charger.line import Line
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import StationConnected, StationDisconnected
from controlplane.charger.preparing import Preparation
from controlplane.charger.reports import Reports
from controlplane.charger.security import Security
from controlplane.charger.turn import Turn
from controlplane.ocpp.versions import DIALECTS

__all__ = ["Connection"]


class Connection:
    """The station's connection as its gateway tells of it; `Line` is what is said on it."""

    __slots__ = (
        "_access",
        "_conclusions",
        "_line",
        "_memory",
        "_preparation",
        "_reports",
        "_security",
    )

    def __init__(
        self,
        memory: ChargerMemory,
        line: Line,
        preparation: Preparation,
        conclusions: Conclusions,
        access: Access,
        *,
        reports: Reports,
        security: Security,
    ) -> None:
        self._memory = memory
        self._line = line
        self._preparation = preparation
        self._conclusions = conclusions
        self._access = access
        self._reports = reports
        self._security = security

    def connected(self, turn: Turn, message: StationConnected) -> None:
        """A connection takes the place of any other."""
        if message.connection == self._line.connection:
            return
        if message.ocpp_version not in DIALECTS:
            turn.effects.append(
                CloseSocket(message.connection, 1002, f"{message.ocpp_version} is not spoken here")
            )
            return
        self._hang_up(turn)
        self._line.queue.connect(message.connection, turn.now_ms, message.epoch)
        self._line.last_seen_ms = turn.now_ms
        if self._memory.ocpp_version != message.ocpp_version:
            self._memory.ocpp_version = message.ocpp_version
            turn.changed = True
        self._security.connected(turn, message)
        self._conclusions.connected(turn, resumed=message.resumed)
        if message.resumed and self._memory.settled_connection == message.connection:
            self._preparation.resume(turn)
            return
        turn.emit(
            "charger.connected",
            connection=message.connection,
            ocpp_version=message.ocpp_version,
            remote=message.remote,
        )
        self._preparation.rest(turn)
        self._preparation.tell_presence(turn)

    def disconnected(self, turn: Turn, message: StationDisconnected) -> None:
        """A connection is gone, perhaps one that counts no more."""
        if message.connection != self._line.connection:
            return
        turn.emit("charger.disconnected", connection=message.connection, reason=message.reason)
        self._hang_up(turn)
        self._preparation.tell_presence(turn)

    def _hang_up(self, turn: Turn) -> None:
        """Whatever was wanted of the station on its connection ends here."""
        self._access.disconnected()
        self._preparation.stop(turn)
        self._conclusions.restarted(turn)
        self._conclusions.disconnected(turn)
        self._reports.hang_up(turn)
