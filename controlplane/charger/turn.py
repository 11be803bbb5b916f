"""One step of a charger's actor while it runs: the instant, what has been decided so far, and
whether anything durable changed."""

from __future__ import annotations

from typing import Any

from controlplane.actor import Effect, Emit, Message, Persist, Send
from controlplane.charger.messages import StationCalled
from controlplane.ids import ActorKind, ActorRef, ChargerId, SiteId
from controlplane.store.records import QuarantineRecord

__all__ = ["Turn"]


class Turn:
    """What one step collects. `changed` asks for a snapshot at its end; `call` is the station's
    CALL that is being handled, kept for quarantine."""

    __slots__ = ("call", "changed", "charger_id", "effects", "now_ms", "site_id")

    def __init__(self, charger_id: ChargerId, site_id: SiteId | None, now_ms: int) -> None:
        self.charger_id = charger_id
        self.site_id = site_id
        self.now_ms = now_ms
        self.effects: list[Effect] = []
        self.changed = False
        self.call: StationCalled | None = None

    def emit(self, kind: str, **data: Any) -> None:
        """Append to the journal; every event names the charger and its site."""
        self.effects.append(
            Emit(kind, {"charger_id": self.charger_id, "site_id": self.site_id, **data})
        )

    def tell_site(self, message: Message) -> None:
        """Send to the charger's site; a charger without one has nobody to tell."""
        if self.site_id is not None:
            self.effects.append(Send(ActorRef(ActorKind.SITE, self.site_id), message))

    def quarantine(self, reason: str, **facts: Any) -> None:
        """Keep the station's message for an operator, with the facts that made it doubtful."""
        action, payload = ("", {}) if self.call is None else (self.call.action, self.call.payload)
        self.effects.append(
            Persist(
                QuarantineRecord(
                    self.charger_id,
                    self.now_ms,
                    reason,
                    action,
                    {"payload": payload, "facts": facts},
                )
            )
        )
        self.emit("charger.quarantined", reason=reason, action=action, **facts)
