"""One step of a charger's actor while it runs: the instant, what has been decided so far, and
whether anything durable changed."""

from __future__ import annotations

from typing import Any

import msgspec

from controlplane.actor import Effect, Emit, Message, Persist, Send
from controlplane.charger.messages import StationCalled
from controlplane.ids import ActorKind, ActorRef, ChargerId, SiteId
from controlplane.ocpp.typed import MeterValues
from controlplane.store.records import QuarantineRecord, QuarantineState

__all__ = ["Turn"]


class Turn(msgspec.Struct):
    """What one step collects. `changed` asks for a snapshot at its end; `call` is the station's
    CALL that is being handled, kept for quarantine."""

    charger_id: ChargerId
    site_id: SiteId | None
    now_ms: int
    effects: list[Effect] = []
    changed: bool = False
    call: StationCalled | None = None
    history: bool = False
    """The station tells of what happened before it was connected."""
    routine: bool = False
    """Nothing follows from it beyond its effects: no other part need be asked."""
    sample_wanted: int | None = None
    """A connector of which it is not clear what flows there now."""
    settled: bool = True
    """It has been left in peace for long enough to have told all of that."""

    def emit(self, kind: str, **data: Any) -> None:
        """Append to the journal; every event names the charger and its site."""
        self.effects.append(
            Emit(kind, {"charger_id": self.charger_id, "site_id": self.site_id, **data})
        )

    def deviation(self, kind: str, **facts: Any) -> None:
        """Journal that the station does something another way than the specification has it."""
        self.emit("charger.deviation", deviation=kind, **facts)

    def tell_site(self, message: Message) -> None:
        """Send to the charger's site; a charger without one has nobody to tell."""
        if self.site_id is not None:
            self.effects.append(Send(ActorRef(ActorKind.SITE, self.site_id), message))

    def quarantine(
        self,
        reason: str,
        *,
        released: bool = False,
        unknown: str | None = None,
        **facts: Any,
    ) -> None:
        """Keep the station's message for an operator, with the facts that made it doubtful.

        `released`: it was clear enough what was meant, and has been taken so. `unknown`: the
        transaction that it speaks of and nobody knows.
        """
        action, payload = ("", {}) if self.call is None else (self.call.action, self.call.payload)
        if isinstance(payload, MeterValues):
            payload = payload.untyped()
        self._keep(
            QuarantineRecord(
                self.charger_id,
                self.now_ms,
                reason,
                action,
                {"payload": payload, "facts": facts},
                state=QuarantineState.RELEASED if released else QuarantineState.OPEN,
                session_id=facts.get("session_id"),
                transaction_id=unknown,
                resolved_ms=self.now_ms if released else None,
            ),
            facts,
        )

    def quarantine_text(self, action: str, text: str, fault: str) -> None:
        """Keep a message that nobody could read."""
        facts = {"fault": fault}
        payload = {"payload": {"text": text}, "facts": facts}
        self._keep(
            QuarantineRecord(self.charger_id, self.now_ms, "unreadable", action, payload), facts
        )

    def _keep(self, record: QuarantineRecord, facts: dict[str, Any]) -> None:
        self.effects.append(Persist(record))
        self.emit(
            "charger.quarantined",
            reason=record.reason,
            action=record.action,
            state=record.state.value,
            **facts,
        )
