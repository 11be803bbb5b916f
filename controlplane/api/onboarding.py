"""Puts chargers that nobody described where the settings say: `ACME-*=depot/main`.

It follows the journal for candidates, and looks at those that are there when it starts. What a
site cannot take (no such circuit, no room for one more offline current) stays a candidate for an
operator to look at; it is said in the log and tried again when the charger next boots."""

from __future__ import annotations

import asyncio
import fnmatch
from typing import Final, NamedTuple

import structlog

from controlplane.api.backend import Backend
from controlplane.api.configuring import add_charger
from controlplane.errors import InvalidInput, LoadstarError
from controlplane.ids import ChargerId, SiteId
from controlplane.network import ChargerConfig
from controlplane.registry.messages import REGISTRY

__all__ = ["Onboarding"]

_RETRY_S: Final = 2.0
_TELLING: Final = frozenset({"charger.candidate", "charger.booted"})
_log = structlog.get_logger(__name__)


class _Place(NamedTuple):
    pattern: str
    site_id: SiteId
    circuit: str


class _Ourselves:
    """A caller within this process, who waits as long as it takes."""

    def time_remaining(self) -> float | None:
        return None


class Onboarding:
    """Raises InvalidInput for an entry of `onboarding_allow` that is not of its form."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._places = [
            _place(entry) for entry in backend.settings.onboarding_allow if "=" in entry
        ]
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        if self._places:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                cursor = await self._backend.client.last_cursor()
                for candidate in await self._backend.reader.candidates():
                    await self._adopt(candidate.charger_id)
                async for batch in self._backend.follow(cursor):
                    for event in batch:
                        if event.kind in _TELLING and event.data["site_id"] is None:
                            await self._adopt(ChargerId(event.actor.id))
            except LoadstarError as error:
                _log.warning("onboarding_waits", error=error.message)
                await asyncio.sleep(_RETRY_S)

    async def _adopt(self, charger_id: ChargerId) -> None:
        if not self._backend.client.near(REGISTRY):
            # Another node does it.
            return
        place = next(
            (each for each in self._places if fnmatch.fnmatchcase(charger_id, each.pattern)), None
        )
        if place is None:
            return
        charger = ChargerConfig(id=charger_id, circuit=place.circuit)
        try:
            await add_charger(self._backend, place.site_id, charger, _Ourselves())
        except LoadstarError as error:
            _log.warning(
                "candidate_not_adopted", charger=charger_id, site=place.site_id, error=error.message
            )
        else:
            _log.info("candidate_adopted", charger=charger_id, site=place.site_id)


def _place(entry: str) -> _Place:
    pattern, _, place = entry.partition("=")
    site_id, slash, circuit = place.partition("/")
    if not (pattern and site_id and slash and circuit):
        raise InvalidInput(
            f"onboarding_allow: {entry!r} is not of the form PATTERN=SITE/CIRCUIT",
            reason="ONBOARDING_INVALID",
        )
    return _Place(pattern, SiteId(site_id), circuit)
