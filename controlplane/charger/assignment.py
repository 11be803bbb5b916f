"""To which site a charger belongs, how it is described there, and what that site is told of it.

The invariant: a site to which a charger is assigned hears where each of its connectors stands,
whether or not the description is news: from the charger's own return where both were brought back,
else in answer to the assignment."""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from controlplane.charger.commands import Origin
from controlplane.charger.credits import accrue
from controlplane.charger.described import Described
from controlplane.charger.line import Line
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import ChargerAssigned, ChargerUnassigned
from controlplane.charger.preparing import Preparation
from controlplane.charger.security import Security
from controlplane.charger.sessions import Sessions
from controlplane.charger.station import Station
from controlplane.charger.turn import Turn
from controlplane.network import ChargerConfig
from controlplane.ocpp.commands import Trigger

__all__ = ["Assignment", "described_digest"]

_DIGEST_BYTES: Final = 8


class Assignment:
    """The charger's place in the network."""

    __slots__ = (
        "_line",
        "_memory",
        "_preparation",
        "_security",
        "_sessions",
        "_station",
    )

    def __init__(
        self,
        memory: ChargerMemory,
        line: Line,
        preparation: Preparation,
        *,
        security: Security,
        station: Station,
        sessions: Sessions,
    ) -> None:
        self._memory = memory
        self._line = line
        self._preparation = preparation
        self._security = security
        self._station = station
        self._sessions = sessions

    def assigned(self, turn: Turn, message: ChargerAssigned) -> None:
        """It belongs to this site and is described like this; news make it be prepared anew."""
        memory = self._memory
        digest = described_digest(message)
        known = digest == memory.described_digest and memory.described is not None
        if message.again and known and memory.site_id == message.site_id:
            self._security.waits_no_more(turn)
            return
        described = Described.of(
            ChargerConfig.model_validate_json(message.config),
            voltage_v=message.voltage_v,
            main_meter_interval_s=message.main_meter_interval_s,
            authorisation=message.authorisation,
            feed_in=message.feed_in,
        )
        self._settle_credits(turn, described)
        moved = memory.site_id != message.site_id
        changed = memory.described != described
        turn.site_id = memory.site_id = message.site_id
        memory.described, memory.described_digest = described, digest
        self._security.waits_no_more(turn)
        if moved or changed:
            turn.changed = True
            turn.emit("charger.assigned")
        if (moved or changed) and self._line.connection:
            self._preparation.rest(turn)
            dialect = self._line.dialect
            if self._station.boot_pending and dialect is not None:
                # It was told to come again later; it is welcome now (2.0.1 B02).
                self._line.order(turn, dialect, Trigger("BootNotification"), Origin.SETTLING)
        self.tell_all(turn)

    def _settle_credits(self, turn: Turn, described: Described) -> None:
        """What was fed in until the terms change is credited at those that held."""
        before = self._memory.described
        if before is None or before.feed_in is None or before.feed_in == described.feed_in:
            return
        for session in self._memory.sessions:
            if accrue(turn, self._memory, session, before.feed_in):
                self._sessions.store(turn, session)

    def unassigned(self, turn: Turn, message: ChargerUnassigned) -> None:
        """It left this site; of another than its own that is old news."""
        if self._memory.site_id != message.site_id:
            return
        self._memory.site_id = turn.site_id = None
        self._memory.described, self._memory.described_digest = None, b""
        turn.changed = True
        turn.emit("charger.unassigned", left_site_id=message.site_id)

    def tell_all(self, turn: Turn) -> None:
        """Tell the site where the charger and each of its connectors stands."""
        self._preparation.tell_presence(turn)
        memory = self._memory
        described = () if memory.described is None else memory.described.connectors
        for connector_id in {*memory.connectors, *(each.id for each in described)}:
            self._sessions.tell_state(turn, connector_id)


def described_digest(message: ChargerAssigned) -> bytes:
    """Of all that the description says: the same words need not be read again."""
    words = f"{message.voltage_v} {message.main_meter_interval_s} {message.authorisation!r}"
    if message.feed_in is not None:
        words += f" {message.feed_in!r}"
    return blake2b(words.encode() + b"\n" + message.config, digest_size=_DIGEST_BYTES).digest()
