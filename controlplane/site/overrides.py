"""What an operator holds circuits and connectors to, over time.

Invariant: an override only ever lowers: a circuit's rows carry no more than before, a connector's
session is given no more than its hardware, its rule and its rows allow anyway."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from controlplane.ids import ConnectorKey
from controlplane.limit_schedule import LimitWindow, limit_at, next_change_ms, scheduled

__all__ = ["OVERRIDES_MAX", "Overrides"]

OVERRIDES_MAX = 2_000
"""How many limits over time the circuits and connectors of one site may hold together."""

Windows = tuple[LimitWindow, ...]


class Overrides(msgspec.Struct):
    """Limits in mA by circuit id, and by connector (`charger/connector`)."""

    circuits: dict[str, Windows] = {}
    connectors: dict[str, Windows] = {}

    def set_circuit(self, circuit_id: str, window: LimitWindow, *, now_ms: int) -> bool:
        """Take a limit of a circuit; False, and nothing changed, where there are too many."""
        return self._set(self.circuits, circuit_id, window, now_ms=now_ms)

    def set_connector(self, key: ConnectorKey, window: LimitWindow, *, now_ms: int) -> bool:
        """Take a limit of a connector; False, and nothing changed, where there are too many."""
        return self._set(self.connectors, str(key), window, now_ms=now_ms)

    def circuit_ma(self, circuit_id: str, now_ms: int) -> int | None:
        """The limit in force on a circuit, building included; None where there is none."""
        return limit_at(self.circuits.get(circuit_id, ()), now_ms)

    def connector_ma(self, key: ConnectorKey, now_ms: int) -> int | None:
        """The limit in force on a connector; None where there is none."""
        return limit_at(self.connectors.get(str(key), ()), now_ms) if self.connectors else None

    def next_change_ms(self, now_ms: int) -> int | None:
        """The next instant after `now_ms` at which another limit may come into force."""
        instants = [
            next_change_ms(windows, now_ms)
            for windows in (*self.circuits.values(), *self.connectors.values())
        ]
        return min((each for each in instants if each is not None), default=None)

    def keep(self, *, circuits: Iterable[str], connectors: Iterable[ConnectorKey]) -> None:
        """Forget the limits of everything else: it is described no more."""
        _keep(self.circuits, set(circuits))
        _keep(self.connectors, {str(key) for key in connectors})

    def _set(
        self, overrides: dict[str, Windows], name: str, window: LimitWindow, *, now_ms: int
    ) -> bool:
        self._forget_past(now_ms)
        before = overrides.get(name, ())
        after = scheduled(before, window, now_ms=now_ms)
        held = sum(len(windows) for windows in (*self.circuits.values(), *self.connectors.values()))
        if held - len(before) + len(after) > OVERRIDES_MAX:
            return False
        overrides[name] = after
        if not after:
            del overrides[name]
        return True

    def _forget_past(self, now_ms: int) -> None:
        for overrides in (self.circuits, self.connectors):
            for name, windows in list(overrides.items()):
                left = tuple(
                    each for each in windows if each.until_ms is None or each.until_ms > now_ms
                )
                if left:
                    overrides[name] = left
                else:
                    del overrides[name]


def _keep(overrides: dict[str, Windows], names: set[str]) -> None:
    for name in overrides.keys() - names:
        del overrides[name]
