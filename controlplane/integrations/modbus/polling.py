"""Reads the Modbus meters of all sites and tells the sites what they show.

Invariants: a meter that is described has exactly one reader, and one that is not described has
none; what a reader tells is at least as old as it says. A reader that fails tries again, ever more
slowly, up to half a minute; it never ends the others, and what it fails to tell grows stale in its
site, whose rules for silence then hold."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Mapping

import structlog

from controlplane.errors import LoadstarError
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.integrations.modbus.meter import ModbusMeter
from controlplane.network import SiteConfig
from controlplane.network_power import ModbusMeterConfig
from controlplane.runtime import catalogue
from controlplane.runtime.client import ActorClient
from controlplane.runtime.clock import Clock
from controlplane.runtime.metrics import Meter
from controlplane.site.messages import LoadTaken, ReportBuildingLoad, ReportMeterState, SiteView
from controlplane.store.reader import StoreReader
from controlplane.store.records import SiteRecord

__all__ = ["METERS_MAX", "MeterPolling"]

METERS_MAX = 10_000
"""More meters than one process should read; further ones are refused, aloud."""

FAILURES_UNTIL_ALARM = 3
BACKOFF_MAX_S = 30.0
_JOURNAL_WAIT_S = 10.0
_EVENTS_AT_ONCE = 1_000
_RESYNC_AFTER_S = 5.0
_CHANGES = frozenset({"site.configured", "site.deleted"})
_log = structlog.get_logger(__name__)


class MeterPolling:
    """All readers of one node. `start` begins, `stop` ends every one of them."""

    def __init__(self, client: ActorClient, reader: StoreReader, clock: Clock) -> None:
        self._client = client
        self._reader = reader
        self._clock = clock
        self._readers: dict[SiteId, tuple[ModbusMeterConfig, asyncio.Task[None]]] = {}
        self._unreachable: set[SiteId] = set()
        self._counts: Counter[str] = Counter(
            {"reads": 0, "failures": 0, "reports_failed": 0, "refused": 0}
        )
        self._following: asyncio.Task[None] | None = None
        self.meter = Meter()
        self.meter.watch(catalogue.MODBUS_READS, self.counts)
        self.meter.watch(catalogue.MODBUS_METERS, self.states)

    def start(self) -> None:
        """Begin to follow the descriptions, and to read what they name."""
        self._following = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """End every reader and close its connection."""
        tasks = [task for _, task in self._readers.values()]
        if self._following is not None:
            tasks.append(self._following)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._readers.clear()
        self._unreachable.clear()

    def counts(self) -> Mapping[str, int]:
        """Readings and failures since the start, for metrics."""
        return self._counts

    def states(self) -> Mapping[str, int]:
        """Meters described and meters out of reach at this moment, for metrics."""
        return {"described": len(self._readers), "unreachable": len(self._unreachable)}

    # --- which meters there are -------------------------------------------------------------------

    async def _follow(self) -> None:
        while True:
            try:
                # The cursor first: what changes while the sites are read is read once more.
                after = await self._client.last_cursor()
                await self._read_all_descriptions()
                while True:
                    after = await self._read_changes(after)
            except LoadstarError as error:
                _log.warning("meters_not_followed", reason=error.reason, error=error.message)
            except Exception:
                # Whatever it was: descriptions must go on being followed.
                _log.exception("meters_not_followed")
            await asyncio.sleep(_RESYNC_AFTER_S)

    async def _read_all_descriptions(self) -> None:
        records = {record.site_id: record for record in await self._reader.sites()}
        for site_id in [site_id for site_id in self._readers if site_id not in records]:
            await self._follow_site(site_id, None)
        for site_id, record in records.items():
            await self._follow_site(site_id, record)

    async def _read_changes(self, after: int) -> int:
        events = await self._client.events(after, limit=_EVENTS_AT_ONCE, timeout_s=_JOURNAL_WAIT_S)
        changed = {SiteId(event.actor.id) for event in events if event.kind in _CHANGES}
        for site_id in sorted(changed):
            await self._follow_site(site_id, await self._reader.site(site_id))
        return events[-1].cursor if events else after

    async def _follow_site(self, site_id: SiteId, record: SiteRecord | None) -> None:
        wanted = None if record is None else _described(record)
        running = self._readers.get(site_id)
        if running is not None and running[0] == wanted:
            return
        if running is not None:
            running[1].cancel()
            await asyncio.gather(running[1], return_exceptions=True)
            del self._readers[site_id]
            self._unreachable.discard(site_id)
        if wanted is None:
            return
        if len(self._readers) >= METERS_MAX:
            self._counts["refused"] += 1
            _log.error("meter_refused", site_id=site_id, meters_max=METERS_MAX)
            return
        task = asyncio.create_task(self._poll(site_id, ModbusMeter(wanted)))
        self._readers[site_id] = (wanted, task)

    # --- one meter --------------------------------------------------------------------------------

    async def _poll(self, site_id: SiteId, meter: ModbusMeter) -> None:
        loop = asyncio.get_running_loop()
        interval_s = meter.config.interval_s
        failures: int | None = None
        """In a row; None before the first reading, so that its success ends an old alarm."""
        # Spread: a thousand meters that were described together are not read together.
        due_s = loop.time() + random.uniform(0, min(interval_s, 1.0))
        try:
            while True:
                await asyncio.sleep(due_s - loop.time())
                if not self._client.near(ActorRef(ActorKind.SITE, site_id)):
                    # The node that serves the site reads its meter.
                    meter.close()
                    due_s, failures = loop.time() + interval_s, None
                    continue
                failures = await self._read(site_id, meter, failures)
                due_s = max(due_s + interval_s, loop.time())
                if failures:
                    due_s = loop.time() + _backoff_s(interval_s, failures)
        finally:
            meter.close()

    async def _read(self, site_id: SiteId, meter: ModbusMeter, failures: int | None) -> int:
        """Read once and tell the site; how many readings in a row have now failed."""
        # The instant before the question: the answer is younger, never older.
        at_ms = self._clock.now_ms()
        try:
            current_ma = await meter.read()
        except LoadstarError as error:
            return await self._failed(site_id, error.message, (failures or 0) + 1)
        except Exception as error:
            # Whatever a meter may send, its reader goes on.
            _log.exception("meter_unforeseen", site_id=site_id)
            return await self._failed(site_id, f"unforeseen: {error!r}", (failures or 0) + 1)
        self._counts["reads"] += 1
        if failures is None or failures >= FAILURES_UNTIL_ALARM:
            self._unreachable.discard(site_id)
            await self._tell(site_id, ReportMeterState(fault=""))
        report = ReportBuildingLoad(at_ms=at_ms, current_ma=current_ma, view=False)
        await self._tell(site_id, report)
        return 0

    async def _failed(self, site_id: SiteId, fault: str, failures: int) -> int:
        self._counts["failures"] += 1
        if failures == FAILURES_UNTIL_ALARM:
            self._unreachable.add(site_id)
            _log.warning("meter_unreachable", site_id=site_id, error=fault)
        if failures >= FAILURES_UNTIL_ALARM:
            # Every time: what is told once may be lost with a host.
            await self._tell(site_id, ReportMeterState(fault=fault))
        return failures

    async def _tell(self, site_id: SiteId, request: ReportBuildingLoad | ReportMeterState) -> None:
        answer = LoadTaken if isinstance(request, ReportBuildingLoad) else SiteView
        try:
            await self._client.ask(ActorRef(ActorKind.SITE, site_id), request, answer)
        except LoadstarError as error:
            # Its host moves, or its description has just changed: the next reading finds it.
            self._counts["reports_failed"] += 1
            _log.info("meter_not_reported", site_id=site_id, reason=error.reason)


def _described(record: SiteRecord) -> ModbusMeterConfig | None:
    """The Modbus meter of a described site. Most sites have none: only what mentions one is
    parsed."""
    if b'"modbus"' not in record.config:
        return None
    building = SiteConfig.model_validate_json(record.config).building_load
    meter = None if building is None else building.meter
    return meter if isinstance(meter, ModbusMeterConfig) else None


def _backoff_s(interval_s: float, failures: int) -> float:
    """How long to wait after so many failures in a row."""
    wait_s = interval_s * 2.0 ** min(failures - 1, 10)
    return max(min(wait_s, BACKOFF_MAX_S), interval_s) * random.uniform(0.8, 1.2)
