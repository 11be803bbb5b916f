"""How long recovery took, kind by kind. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from controlplane.chaos.reach import Affected
from controlplane.chaos.schedule import Fault

__all__ = ["Measures"]


class Measures:
    """Of one run. Times are seconds: the longest that a station which always had something to say
    waited for an answer, from the blow, or where nobody could serve meanwhile from its end."""

    def __init__(self) -> None:
        self.unserved: list[str] = []
        """Stations that were not served again in time, by fault."""
        self.unbalanced = 0
        """How often shards were not spread fairly long after a fault."""
        self._faults: Counter[str] = Counter()
        self._schedule: list[str] = []
        self._stayed: dict[str, list[float]] = {}
        self._redialled: dict[str, list[float]] = {}
        self._sockets_lost: Counter[str] = Counter()
        self._spoilt: set[int] = set()

    def struck(self, fault: Fault) -> None:
        """A fault strikes."""
        self._faults[fault.kind.value] += 1
        self._schedule.append(str(fault))

    def spoil(self) -> None:
        """Another one strikes on top of the last: how long that took tells nothing."""
        self._spoilt.add(len(self._schedule))

    def recovered(
        self, fault: Fault, affected: Affected, times_s: Mapping[str, float], sockets_lost: int
    ) -> str:
        """Everybody whom the fault reached is served again; a line for people."""
        if fault.number in self._spoilt:
            return f"fault {fault.number}: recovered, with what came on top"
        stayed = [times_s[charger_id] for charger_id in affected.all - affected.redialling]
        redialled = [times_s[charger_id] for charger_id in affected.redialling]
        self._stayed.setdefault(fault.kind.value, []).extend(stayed)
        self._redialled.setdefault(fault.kind.value, []).extend(redialled)
        self._sockets_lost[fault.kind.value] += sockets_lost
        return (
            f"fault {fault.number}: {len(stayed)} waited {max(stayed, default=0):.1f} s at most,"
            f" {len(redialled)} who had to dial again {max(redialled, default=0):.1f} s,"
            f" {sockets_lost} other sockets lost"
        )

    def counted(self) -> dict[str, Any]:
        """What happened."""
        return {"faults": dict(self._faults), "schedule": self._schedule}

    def times(self) -> dict[str, Any]:
        """What it took."""
        return {
            "unserved": len(self.unserved),
            "unbalanced": self.unbalanced,
            "recovery_timed": {k: len(v) for k, v in self._stayed.items() if v},
            "recovery_p50_s": {k: _share(v, 0.5) for k, v in self._stayed.items() if v},
            "recovery_p99_s": {k: _share(v, 0.99) for k, v in self._stayed.items() if v},
            "recovery_max_s": {k: _share(v, 1.0) for k, v in self._stayed.items() if v},
            "redial_p99_s": {k: _share(v, 0.99) for k, v in self._redialled.items() if v},
            "sockets_lost": {k: count for k, count in self._sockets_lost.items() if count},
        }


def _share(values_s: list[float], share: float) -> float:
    """What this share of the values does not exceed."""
    ordered = sorted(values_s)
    return round(ordered[min(len(ordered) - 1, int(len(ordered) * share))], 3)
