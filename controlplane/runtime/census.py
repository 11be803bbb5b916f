"""How many chargers, connectors and sessions a host has, and how they are: counted now and then, a
few hundred at a time, so that nobody waits for it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable
from itertools import islice
from typing import Final

from controlplane.charger.messages import ChargerCondition
from controlplane.ids import ActorKind
from controlplane.runtime import catalogue
from controlplane.runtime.residents import Resident

__all__ = ["Census", "take_census"]

_AT_ONCE: Final = 500


class Census:
    """What was counted; kinds, states and alarms of which there is none stand at 0."""

    def __init__(self) -> None:
        self.actors: Counter[str] = Counter({kind.value: 0 for kind in ActorKind})
        self.loading = 0
        self.chargers: Counter[str] = Counter(dict.fromkeys(catalogue.CHARGERS.values, 0))
        self.faulted = 0
        self.connectors: Counter[str] = Counter(dict.fromkeys(catalogue.CONNECTORS.values, 0))
        self.sessions = 0
        self.power_w = 0
        self.alarms: Counter[str] = Counter(dict.fromkeys(catalogue.ALARMS.values, 0))

    def count(self, resident: Resident) -> None:
        """Add one actor: a charger says how it is, a site which alarms stand."""
        actor = resident.actor
        self.actors[resident.ref.kind.value] += 1
        if actor is None:
            self.loading += 1
            return
        condition = getattr(actor, "condition", None)
        if condition is not None:
            self._count_charger(condition())
        alarms = getattr(actor, "standing_alarms", None)
        if alarms is not None:
            self.alarms.update(alarms())

    def _count_charger(self, condition: ChargerCondition) -> None:
        self.chargers["online" if condition.online else "offline"] += 1
        self.faulted += condition.faulted
        self.connectors.update(condition.statuses)
        self.sessions += condition.sessions
        self.power_w += condition.power_w


async def take_census(residents: Iterable[Resident]) -> Census:
    """Count all; other work goes on in between, so the count is of no single instant."""
    census, waiting = Census(), iter(list(residents))
    while few := list(islice(waiting, _AT_ONCE)):
        for resident in few:
            census.count(resident)
        await asyncio.sleep(0)
    return census
