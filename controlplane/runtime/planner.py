"""Works out plans for the actors of one host, on a thread beside them.

One plan at a time; the core lets other threads run meanwhile. Each actor has one question that
waits at most: a newer one takes its place, and the older is never answered. A plan ends after
`BUDGET_S` with the best that was found, so nobody waits for long. Askers bound their wait: where
this host ends first, there is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Final

from controlplane.actor import PlanFound, PlanWanted
from controlplane.errors import InvalidInput
from controlplane.ids import ActorRef
from controlplane.planning import Desk
from controlplane.runtime.telemetry import log

__all__ = ["BUDGET_S", "Planner"]

BUDGET_S: Final = 2.0
"""How long one plan may take. A site's takes milliseconds; that of a feeder with thousands of
vehicles is cut here, and says how good it is."""


class Planner:
    """The plans of one host.

    Args:
        answered: called on the loop with who asked and the answer.
        took: called on the loop with the seconds that each plan took.
    """

    def __init__(
        self,
        answered: Callable[[ActorRef, PlanFound], None],
        took: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._answered = answered
        self._took = took
        self._waiting: dict[ActorRef, PlanWanted] = {}
        self._desk = Desk()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="planner")
        self._planning: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def begin(self, ref: ActorRef, wanted: PlanWanted) -> None:
        """Plan for `ref`. Who asks again keeps its place among those that wait."""
        self._waiting[ref] = wanted
        if self._planning is None:
            self._planning = asyncio.get_running_loop().create_task(self._plan())

    def close(self) -> None:
        """Answer nothing more."""
        self._waiting.clear()
        if self._planning is not None:
            self._planning.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _plan(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                ref = next(iter(self._waiting))
                wanted = self._waiting.pop(ref)
                begun_s = perf_counter()
                found = await loop.run_in_executor(self._thread, self._solve, ref, wanted)
                self._took(perf_counter() - begun_s)
                self._answered(ref, found)
        finally:
            self._planning = None

    def _solve(self, ref: ActorRef, wanted: PlanWanted) -> PlanFound:
        try:
            answer = self._desk.answer(ref, wanted.question, timeout_s=BUDGET_S)
        except InvalidInput as error:
            return PlanFound(wanted.plan_id, None, error.message)
        except Exception as error:
            # What cannot be planned is shown beside its site; it is no reason to lose the thread.
            log.exception("not_planned", actor=str(ref))
            return PlanFound(wanted.plan_id, None, f"{type(error).__name__}: {error}")
        return PlanFound(wanted.plan_id, answer)
