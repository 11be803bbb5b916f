"""What a site's process tells the one that watches: one JSON line a tick.

Every line is a picture of one instant, so that sums over a circuit are true sums."""

from __future__ import annotations

import msgspec

__all__ = ["OutletReport", "SessionReport", "SiteReport"]


class OutletReport(msgspec.Struct, frozen=True, array_like=True):
    """One connector at the instant. `lines_a` is what it puts on L1, L2, L3 of the site; `id_token`
    names the visit, empty where nobody is plugged in."""

    charger_id: str
    connector_id: int
    online: bool
    id_token: str
    state: str
    vehicle_state: str
    soc: float
    offered_a: float
    lines_a: tuple[float, float, float]


class SessionReport(msgspec.Struct, frozen=True, array_like=True):
    """One transaction by the station's own books. `transaction_id` is None until a 1.6 CSMS gave
    one."""

    charger_id: str
    connector_id: int
    id_token: str
    transaction_id: str | None
    started_ms: int
    ended_ms: int | None
    delivered_wh: int


class SiteReport(msgspec.Struct, frozen=True):
    """A whole site at the instant `at_ms`. `done` is set on the last report, when every vehicle has
    left and every message was answered or given up."""

    site_id: str
    at_ms: int
    outlets: tuple[OutletReport, ...]
    sessions: tuple[SessionReport, ...]
    messages_sent: int
    messages_received: int
    refused: int
    backlog: int
    connections: int
    done: bool = False
