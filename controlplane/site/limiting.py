"""Taking in what an operator limits: a whole site, one of its circuits, one of its connectors.

Invariant: a request that is refused has changed nothing."""

from __future__ import annotations

from controlplane.actor import Emit
from controlplane.errors import Refusal
from controlplane.ids import ConnectorKey
from controlplane.limit_schedule import WINDOWS_MAX, LimitWindow, scheduled
from controlplane.site.configure import refusal
from controlplane.site.live import LiveSite
from controlplane.site.messages import SetCircuitLimit, SetConnectorLimit, SetSiteLimit
from controlplane.site.overrides import OVERRIDES_MAX

__all__ = ["take_limit"]

LimitRequest = SetSiteLimit | SetCircuitLimit | SetConnectorLimit


def take_limit(site: LiveSite, request: LimitRequest, now_ms: int) -> Emit | Refusal:
    """Take a limit; what the journal is told of it, or why it cannot be taken."""
    site_id, state = site.config.id, site.state
    window = _window(request, site_id, now_ms)
    if isinstance(window, Refusal):
        return window
    event = {"limit_ma": window.limit, "from_ms": window.from_ms, "until_ms": window.until_ms}
    match request:
        case SetSiteLimit():
            windows = scheduled(state.windows, window, now_ms=now_ms)
            if len(windows) > WINDOWS_MAX:
                return _full("WINDOWS_FULL", f"a site holds {WINDOWS_MAX} limits", site_id)
            state.windows = windows
            return Emit("site.limit_changed", event)
        case SetCircuitLimit(circuit_id=circuit_id):
            if all(circuit.id != circuit_id for circuit in site.config.circuits):
                return _unknown("CIRCUIT_UNKNOWN", f"no circuit {circuit_id!r}", site_id)
            if not state.overrides.set_circuit(circuit_id, window, now_ms=now_ms):
                return _full("OVERRIDES_FULL", _OVERRIDES_FULL, site_id)
            return Emit("site.circuit_limit_changed", {"circuit_id": circuit_id, **event})
        case SetConnectorLimit(charger_id=charger_id, connector_id=connector_id):
            key = ConnectorKey(charger_id, connector_id)
            if key not in site.by_key:
                return _unknown("CONNECTOR_UNKNOWN", f"no connector {key}", site_id)
            if not state.overrides.set_connector(key, window, now_ms=now_ms):
                return _full("OVERRIDES_FULL", _OVERRIDES_FULL, site_id)
            names = {"charger_id": charger_id, "connector_id": connector_id}
            return Emit("site.connector_limit_changed", {**names, **event})


def _window(request: LimitRequest, site_id: str, now_ms: int) -> LimitWindow | Refusal:
    """When the limit of a request holds, or why it cannot be taken."""
    from_ms = now_ms if request.from_ms is None else request.from_ms
    if request.limit_ma is not None and request.limit_ma < 0:
        return refusal("invalid_input", "LIMIT_NEGATIVE", "limit_ma is 0 or above", site_id)
    if request.until_ms is not None and request.until_ms <= max(from_ms, now_ms):
        return refusal(
            "invalid_input", "WINDOW_EMPTY", "until_ms is not after from_ms and now", site_id
        )
    return LimitWindow(request.limit_ma, from_ms, request.until_ms)


_OVERRIDES_FULL = f"the circuits and connectors of a site hold {OVERRIDES_MAX} limits together"


def _full(reason: str, message: str, site_id: str) -> Refusal:
    return refusal("exhausted", reason, message, site_id)


def _unknown(reason: str, message: str, site_id: str) -> Refusal:
    return refusal("not_found", reason, f"{message} in site {site_id}", site_id)
