"""Sends the reports of `reports` to the VTN, each once, and brings them up to date.

Invariant: which reports exist is the VTN's knowledge; after a restart it is read from there. A
report that cannot be sent is tried again with the next look and never holds up the steering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import structlog

from controlplane.api.v1 import grid_pb2
from controlplane.errors import AlreadyExists, NotFound, Precondition
from controlplane.integrations.openadr.grid import GridClient
from controlplane.integrations.openadr.mapping import shortened, source_prefix
from controlplane.integrations.openadr.reports import ReportBody, acknowledgement, due, requested
from controlplane.integrations.openadr.settings import OpenAdrSettings
from controlplane.integrations.openadr.timing import Window
from controlplane.integrations.openadr.vtn import VtnClient
from controlplane.integrations.openadr.wire import Event, Report, read_objects
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["REPORTED_FOR_MS", "Answering"]

REPORTED_FOR_MS = 24 * MS_PER_HOUR
"""Events that ended longer ago are not reported on any more."""

_SETTLING_MS = 60 * MS_PER_S
"""An interval that Loadstar has still not closed so long after its end is reported as it is."""

_REMEMBERED_MAX = 10_000
_log = structlog.get_logger(__name__)


class Answering:
    """The reports of one VEN."""

    def __init__(self, settings: OpenAdrSettings, vtn: VtnClient, grid: GridClient) -> None:
        self._settings = settings
        self._vtn = vtn
        self._grid = grid
        self._known: dict[tuple[str, str], str] | None = None
        """Ids of our reports at the VTN, by event and name."""
        self._told: dict[tuple[str, str], str] = {}
        """What was said last, by event and name."""

    def wanted(self, event: Event, windows: Sequence[Window], *, now_ms: int) -> bool:
        """Whether something of this event may have to be reported now."""
        asks = bool(event.report_descriptors)
        if not windows or not (asks or self._settings.acknowledge == "always"):
            return False
        begun = windows[0].immediate or min(w.start_ms for w in windows) - MS_PER_HOUR <= now_ms
        return begun and max(w.end_ms for w in windows) > now_ms - REPORTED_FOR_MS

    async def answer(
        self,
        event: Event,
        windows: Sequence[Window],
        grid_events: Sequence[grid_pb2.GridEvent],
        *,
        now_ms: int,
    ) -> None:
        """Send what is due of one event.

        Args:
            grid_events: everything that Loadstar knows of the program, without samples.

        Raises:
            LoadstarError: one of the two sides cannot be reached, or refuses.
        """
        found = _by_position(event, windows, grid_events)
        state = _state(found)
        asks = bool(event.report_descriptors)
        if self._settings.acknowledge == "always" or (
            self._settings.acknowledge == "requested" and asks
        ):
            body = acknowledgement(event, windows, found)
            if body is not None:
                await self._tell(event, body, state)
        for number, descriptor in enumerate(event.report_descriptors or []):
            for positions in due(descriptor, windows, now_ms=now_ms):
                late = now_ms - windows[positions[-1]].end_ms > _SETTLING_MS
                if not late and any(_is_open(e) for at in positions for e in found.get(at, ())):
                    # Loadstar has not closed its account yet.
                    continue
                await self._report(event, number, windows, positions, found, once=True)
            if descriptor.frequency == 0 and found:
                positions = range(max(found) + 1)
                await self._report(event, number, windows, positions, found, state=state)

    async def _report(
        self,
        event: Event,
        number: int,
        windows: Sequence[Window],
        positions: range,
        found: Mapping[int, Sequence[grid_pb2.GridEvent]],
        *,
        once: bool = False,
        state: str = "sent",
    ) -> None:
        empty = requested(event, number, windows, positions, {})
        if empty is None:
            return
        key = (event.id, empty.name)
        if self._told.get(key) == state or (once and key in await self._reports()):
            return
        whole = {
            position: [await self._grid.event(each.event_id) for each in found.get(position, ())]
            for position in positions
        }
        body = requested(event, number, windows, positions, whole)
        assert body is not None
        await self._tell(event, body, state)

    async def _tell(self, event: Event, body: ReportBody, state: str) -> None:
        """Create the report, or replace it where it is there and says something else."""
        key = (event.id, body.name)
        if self._told.get(key) == state:
            return
        document = body.document(
            client_name=self._settings.ven_name,
            resource_name=self._settings.resource,
            program_id=None if self._vtn.knows_31 else event.program_id,
        )
        known = await self._reports()
        if key in known:
            try:
                await self._vtn.put(f"/reports/{known[key]}", document)
            except NotFound:
                del known[key]
        if key not in known:
            known[key] = await self._create(key, document)
        self._told[key] = state
        while len(self._told) > _REMEMBERED_MAX:
            self._told.pop(next(iter(self._told)))
        _log.info("openadr_reported", event_id=event.id, report=body.name)

    async def _create(self, key: tuple[str, str], document: dict[str, Any]) -> str:
        try:
            answer = await self._vtn.post("/reports", document)
        except AlreadyExists:
            # An answer was lost: what is there is brought up to date with the next change.
            self._known = None
            return (await self._reports()).get(key, "")
        return str(answer.get("id", "")) if isinstance(answer, dict) else ""

    async def _reports(self) -> dict[tuple[str, str], str]:
        if self._known is None:
            try:
                raws = await self._vtn.objects("/reports", clientName=self._settings.ven_name)
            except (NotFound, Precondition) as error:
                _log.warning("openadr_reports_hidden", error=error.message)
                raws = []
            ours, _ = read_objects(raws, Report)
            self._known = {
                (report.event_id, report.report_name): report.id
                for report in ours
                if report.report_name and report.client_name == self._settings.ven_name
            }
        return self._known


def _by_position(
    event: Event, windows: Sequence[Window], grid_events: Sequence[grid_pb2.GridEvent]
) -> dict[int, list[grid_pb2.GridEvent]]:
    """What stands in Loadstar for each interval, oldest first."""
    prefix = f"{source_prefix(event.program_id)}{shortened(event.id)}/"
    places = {
        f"{window.interval_id}" + (f".{window.cycle}" if window.cycle else ""): position
        for position, window in enumerate(windows)
    }
    found: dict[int, list[grid_pb2.GridEvent]] = {}
    for grid_event in sorted(grid_events, key=_received_ms):
        if grid_event.source.startswith(prefix):
            place = grid_event.source[len(prefix) :].partition("+")[0].partition(":")[0]
            if place in places:
                found.setdefault(places[place], []).append(grid_event)
    return found


def _is_open(event: grid_pb2.GridEvent) -> bool:
    return not event.response.HasField("finish_time")


def _received_ms(event: grid_pb2.GridEvent) -> int:
    return int(event.response.receive_time.ToMilliseconds())


def _state(found: Mapping[int, Sequence[grid_pb2.GridEvent]]) -> str:
    """What of the events is worth another report when it changes: states and moments, not
    measurements."""
    return ";".join(
        f"{event.event_id}={event.state}"
        + "".join(
            f",{field}"
            for field in ("apply_time", "acknowledge_time", "meet_time")
            if event.response.HasField(field)
        )
        for position in sorted(found)
        for event in found[position]
    )
