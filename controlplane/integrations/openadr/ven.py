"""The loop of a VEN: look at the utility's events, bring Loadstar's grid events into line with
them, push their prices, report.

Invariants: nothing happens twice, because what is there is read before anything is changed. While
one side is away the other keeps what it has: grid events carry their own end. An event is only
called off when the VTN says that it is gone, not because it is missing from a list."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from controlplane.api.v1 import grid_pb2
from controlplane.errors import AlreadyExists, InvalidInput, LoadstarError, NotFound, Precondition
from controlplane.integrations.openadr.answering import REPORTED_FOR_MS, Answering
from controlplane.integrations.openadr.grid import GridClient, held
from controlplane.integrations.openadr.mapping import (
    Ignored,
    Kind,
    Wish,
    addressed,
    prevailing,
    shortened,
    source_prefix,
    wishes,
)
from controlplane.integrations.openadr.prices import PriceStep, price_steps, timeline
from controlplane.integrations.openadr.reconcile import Held, Plan, grid_event_id, missing, plan
from controlplane.integrations.openadr.settings import OpenAdrSettings
from controlplane.integrations.openadr.timing import Window, lay_out
from controlplane.integrations.openadr.vtn import VtnClient
from controlplane.integrations.openadr.wire import (
    Event,
    Malformed,
    NamedObject,
    Program,
    ValuesMap,
    read_objects,
)
from controlplane.runtime.clock import Clock
from controlplane.units import MS_PER_HOUR, MS_PER_S

__all__ = ["Look", "Ven"]

_BACKOFF_MAX_S = 300.0
_LOADSTAR_BACKOFF_MAX_S = 30.0
_RETRY_AFTER_MAX_S = 3_600.0
_PROGRAM_READ_MS = 300 * MS_PER_S
_PUSH_AGAIN_MS = MS_PER_HOUR
"""Sites come, and are given tariffs, and keep only so many prices ahead."""
_REFUSED_AGAIN_MS = 600 * MS_PER_S
_CLOCKS_DIFFER_MS = 30 * MS_PER_S
_REMEMBERED_MAX = 10_000
_log = structlog.get_logger(__name__)


@dataclass
class Look:
    """What the utility asks at one moment."""

    events: list[Event] = field(default_factory=list)
    windows: dict[str, list[Window]] = field(default_factory=dict)
    wishes: list[Wish] = field(default_factory=list)
    prices: list[PriceStep] = field(default_factory=list)
    """What holds from today on, in order of time."""
    ignored: list[Ignored] = field(default_factory=list)
    malformed: list[Malformed] = field(default_factory=list)


class Ven:
    """One VEN: one program of one VTN, for one feeder or site of one Loadstar."""

    def __init__(
        self, settings: OpenAdrSettings, vtn: VtnClient, grid: GridClient, clock: Clock
    ) -> None:
        self._settings = settings
        self._vtn = vtn
        self._grid = grid
        self._clock = clock
        self._answering = Answering(settings, vtn, grid)
        self._registered = False
        self._names = {settings.ven_name, settings.resource, *settings.groups}
        self._program: Program | None = None
        self._program_read_ms = 0
        self._seen_ms: dict[str, int] = {}
        """When an event that tells no instant of its own was first seen."""
        self._settled: dict[str, str] = {}
        """By source, the id of what is not begun again; spares asking for the past every time."""
        self._ahead_ms = 0
        self._pushed: list[PriceStep] = []
        """The prices that were pushed last."""
        self._push_again_ms = 0
        """When they are pushed again though nothing changes."""
        self._said: dict[str, None] = {}

    async def run(self) -> None:
        """Look again and again, until cancelled; failures make it slower, never end it."""
        failures = 0
        while True:
            try:
                await self.cycle()
                failures = 0
                wait_s = self._settings.poll_s * random.uniform(0.9, 1.1)
            except LoadstarError as error:
                failures += 1
                wait_s = self._backoff_s(error, failures)
                _log.warning(
                    "openadr_failed",
                    reason=error.reason,
                    error=error.message,
                    failures=failures,
                    again_s=round(wait_s, 1),
                )
            except Exception:
                # Whatever it was: the utility's events must go on being heard.
                failures += 1
                wait_s = self._backoff_s(LoadstarError("unforeseen"), failures)
                _log.exception("openadr_failed_unforeseen", failures=failures)
            await asyncio.sleep(wait_s)

    async def cycle(self) -> Plan:
        """Look once, change what has to change, report what is due; what was changed.

        Raises:
            LoadstarError: one of the two sides is out of reach, or refuses.
        """
        look = await self.look()
        self._say(look)
        now_ms = self._clock.now_ms()
        prefix = source_prefix(self._program_id)
        standing = await self._grid.open_events(prefix)
        open_events = [
            event
            for each in standing
            if (event := held(each)) is not None and event.kind is not Kind.RESTORE
        ]
        untouched = await self._unknown(look, open_events)
        past = await self._past(look, open_events, now_ms=now_ms)
        found = plan(look.wishes, open_events, now_ms=now_ms, untouched=untouched, past=past)
        for wish in found.settled:
            self._settled[wish.source] = grid_event_id(wish)
        await self._change(found)
        await self._push_prices(look.prices, now_ms=now_ms)
        await self._answer(look, standing)
        return found

    async def look(self, *, register: bool = True) -> Look:
        """What the utility asks of us, without doing anything about it in Loadstar.

        Args:
            register: enter our VEN and resource at the VTN where they are not known.

        Raises:
            LoadstarError: the VTN is out of reach or refuses, or has no such program.
        """
        if not self._registered:
            await self._vtn.discover()
            await self._register(enter=register)
            self._registered = register
        program = await self._find_program()
        raws = await self._vtn.objects("/events", programID=program.id)
        if self._vtn.knows_31:
            # 3.1 tells events that have targets only to whoever names them.
            named = await self._vtn.objects(
                "/events", programID=program.id, targets=sorted(self._names)
            )
            ids = {raw.get("id") for raw in raws if isinstance(raw, dict)}
            raws += [raw for raw in named if isinstance(raw, dict) and raw.get("id") not in ids]
        self._compare_clocks()
        events, malformed = read_objects(raws, Event)
        look = Look(malformed=malformed)
        for event in events:
            if event.program_id == program.id and addressed(event.targets, self._names):
                self._read(event, program, look)
        look.wishes = prevailing(look.wishes)
        look.prices = timeline(look.prices, now_ms=self._clock.now_ms())
        return look

    # --- the utility's side -----------------------------------------------------------------------

    def _read(self, event: Event, program: Program, look: Look) -> None:
        now_ms = self._clock.now_ms()
        seen_ms = self._seen_ms.setdefault(event.id, now_ms)
        _bounded(self._seen_ms)
        try:
            windows = lay_out(
                event,
                program,
                ven_name=self._settings.ven_name,
                seen_ms=seen_ms if event.duration is None else now_ms,
                ahead_ms=self._ahead_ms,
            )
        except (ValueError, OverflowError) as error:
            look.malformed.append(Malformed(event.id, str(error)))
            return
        target = str(self._settings.target)
        asked, ignored = wishes(event, program, windows, self._settings.levels, target=target)
        look.events.append(event)
        look.windows[event.id] = windows
        look.wishes += asked
        look.ignored += ignored
        if self._settings.prices == "follow":
            steps, ignored = price_steps(event, program, windows)
            look.prices += steps
            look.ignored += ignored

    async def _register(self, *, enter: bool) -> None:
        """Find our VEN and its resource, or enter them where the VTN lets us; in many programs it
        is the utility that enters them, with the targets by which it will address them."""
        ven = await self._named("/vens", "venName", self._settings.ven_name)
        if ven is None and enter:
            ven = await self._enter(
                "/vens", "VEN_VEN_REQUEST", {"venName": self._settings.ven_name}
            )
        if ven is None:
            return
        self._take_names(ven)
        path = "/resources" if self._vtn.knows_31 else f"/vens/{ven.id}/resources"
        query = {"venID": ven.id} if self._vtn.knows_31 else {}
        name = self._settings.resource
        resource = await self._named(path, "resourceName", name, **query)
        if resource is None and enter:
            resource = await self._enter(
                path, "VEN_RESOURCE_REQUEST", {"resourceName": name, **query}
            )
        if resource is not None:
            self._take_names(resource)

    async def _named(self, path: str, key: str, name: str, **query: str) -> NamedObject | None:
        try:
            raws = await self._vtn.objects(path, **{key: name}, **query)
        except (NotFound, InvalidInput, Precondition) as error:
            if error.reason == "VTN_UNAUTHORIZED":
                raise
            return None
        found, _ = read_objects(raws, NamedObject)
        return next((each for each in found if name in {each.ven_name, each.resource_name}), None)

    async def _enter(self, path: str, type: str, body: dict[str, str]) -> NamedObject | None:
        if self._vtn.knows_31:
            body = {"objectType": type, **body}
        try:
            answer = await self._vtn.post(path, body)
        except (AlreadyExists, NotFound, InvalidInput, Precondition) as error:
            if error.reason == "VTN_UNAUTHORIZED":
                raise
            _log.info("openadr_not_registered", path=path, reason=error.reason, error=error.message)
            return None
        _log.info("openadr_registered", path=path, **body)
        found, _ = read_objects([answer], NamedObject)
        return found[0] if found else None

    def _take_names(self, found: NamedObject) -> None:
        """The targets that the utility gave to our VEN or resource are names of ours."""
        for target in found.targets or []:
            values = target.values if isinstance(target, ValuesMap) else [target]
            self._names.update(value for value in values if isinstance(value, str))

    async def _find_program(self) -> Program:
        now_ms = self._clock.now_ms()
        if self._program is not None and now_ms < self._program_read_ms + _PROGRAM_READ_MS:
            return self._program
        wanted = self._settings.program
        found, _ = read_objects(await self._vtn.objects("/programs"), Program)
        if self._vtn.knows_31 and not any(wanted in {p.id, p.program_name} for p in found):
            raws = await self._vtn.objects("/programs", targets=sorted(self._names))
            found += read_objects(raws, Program)[0]
        program = next((p for p in found if wanted == p.id), None) or next(
            (p for p in found if wanted == p.program_name), None
        )
        if program is None:
            raise NotFound(
                f"the VTN shows us no program {wanted!r}", reason="OPENADR_PROGRAM_UNKNOWN"
            )
        self._program, self._program_read_ms = program, now_ms
        return program

    @property
    def _program_id(self) -> str:
        assert self._program is not None
        return self._program.id

    def _compare_clocks(self) -> None:
        """Take over a difference of the clocks that matters, and only when it has changed: "now" of
        an event is by the utility's clock, and must not tremble with every answer."""
        ahead_ms = self._vtn.ahead_ms
        if ahead_ms is None or abs(ahead_ms - self._ahead_ms) < _CLOCKS_DIFFER_MS:
            return
        self._ahead_ms = round(ahead_ms, -4) if abs(ahead_ms) >= _CLOCKS_DIFFER_MS else 0
        _log.warning("openadr_clocks_differ", vtn_ahead_s=self._ahead_ms // MS_PER_S)

    # --- Loadstar's side --------------------------------------------------------------------------

    async def _unknown(self, look: Look, open_events: Sequence[Held]) -> set[str]:
        """Sources whose event is in no list, or malformed, and yet is not gone."""
        prefix = source_prefix(self._program_id)
        listed = {shortened(event.id) for event in look.events}
        listed |= {wish.source[len(prefix) :].partition("/")[0] for wish in look.wishes}
        malformed = {shortened(each.id) for each in look.malformed}
        by_event: dict[str, set[str]] = {}
        for event in open_events:
            by_event.setdefault(event.source[len(prefix) :].partition("/")[0], set()).add(
                event.source
            )
        unknown: set[str] = set()
        for name, sources in by_event.items():
            if name in malformed or (name not in listed and await self._still_there(name)):
                unknown |= sources
        return unknown

    async def _still_there(self, event_name: str) -> bool:
        """Whether an event that no list shows still stands at the VTN and is meant for us."""
        if "~" in event_name:
            return False
        try:
            raw = await self._vtn.get(f"/events/{event_name}")
        except NotFound:
            return False
        except Precondition as error:
            if error.reason != "VTN_FORBIDDEN":
                raise
            return False
        found, _ = read_objects([raw], Event)
        return not found or (
            found[0].program_id == self._program_id and addressed(found[0].targets, self._names)
        )

    async def _past(
        self, look: Look, open_events: Sequence[Held], *, now_ms: int
    ) -> dict[str, list[Held]]:
        """What the sources of missing wishes have asked before. It is only asked for when something
        is missing, and not again for what is known to be settled."""
        lacking = missing(look.wishes, open_events, now_ms=now_ms)
        past: dict[str, list[Held]] = {}
        fresh = []
        for wish in lacking:
            if self._settled.get(wish.source) == grid_event_id(wish):
                past[wish.source] = [_stand_in(wish)]
            else:
                fresh.append(wish)
        if fresh:
            since_ms = min(wish.start_ms for wish in fresh) - 24 * MS_PER_HOUR
            prefix = source_prefix(self._program_id)
            events = await self._grid.events(prefix, since_ms=since_ms)
            events.sort(key=lambda event: event.response.receive_time.ToMilliseconds())
            sources = {wish.source for wish in fresh}
            for each in events:
                event = held(each)
                if event is not None and event.source in sources:
                    past.setdefault(event.source, []).append(event)
        return past

    async def _change(self, found: Plan) -> None:
        for creation in found.create:
            self._settled.pop(creation.source, None)
            try:
                await self._grid.create(creation)
            except (AlreadyExists, InvalidInput) as error:
                # Another process of ours was first, or its time has just gone by.
                _log.warning(
                    "openadr_not_created",
                    grid_event_id=creation.event_id,
                    reason=error.reason,
                    error=error.message,
                )
                continue
            _log.info(
                "openadr_created",
                grid_event_id=creation.event_id,
                source=creation.source,
                kind=creation.kind.value,
                power_w=creation.power_w,
            )
        for withdrawal in found.cancel:
            self._settled.pop(withdrawal.source, None)
            await self._grid.withdraw(withdrawal)
            _log.info("openadr_withdrawn", grid_event_id=withdrawal.event_id)

    async def _push_prices(self, steps: Sequence[PriceStep], *, now_ms: int) -> None:
        """Push what has changed at once, and all of it again from time to time; what no site takes
        is said once."""
        current = [each for each in self._pushed if each.end_ms > now_ms]
        if not steps or (current == steps and now_ms < self._push_again_ms):
            return
        refusals: dict[str, str] = {}
        for currency in sorted({each.currency for each in steps}):
            told = [each for each in steps if each.currency == currency]
            try:
                refusals |= await self._grid.push_prices(told, currency)
            except (InvalidInput, NotFound, Precondition) as error:
                refusals[str(self._settings.target)] = error.message
        self._pushed = list(steps)
        self._push_again_ms = now_ms + (_REFUSED_AGAIN_MS if refusals else _PUSH_AGAIN_MS)
        if not refusals:
            _log.info("openadr_prices_pushed", intervals=len(steps), until_ms=steps[-1].end_ms)
        for place, words in refusals.items():
            self._once(
                f"prices {place} {words}", "openadr_prices_refused", target=place, words=words
            )

    async def _answer(self, look: Look, standing: Sequence[grid_pb2.GridEvent]) -> None:
        now_ms = self._clock.now_ms()
        wanted = [
            event
            for event in look.events
            if self._answering.wanted(event, look.windows[event.id], now_ms=now_ms)
        ]
        if not wanted:
            return
        starts_ms = [window.start_ms for event in wanted for window in look.windows[event.id]]
        since_ms = max(min(starts_ms), now_ms - REPORTED_FOR_MS) - MS_PER_HOUR
        prefix = source_prefix(self._program_id)
        # What began long ago and still stands was read already.
        known = {event.event_id: event for event in standing}
        known |= {e.event_id: e for e in await self._grid.events(prefix, since_ms=since_ms)}
        for event in wanted:
            try:
                await self._answering.answer(
                    event, look.windows[event.id], list(known.values()), now_ms=now_ms
                )
            except LoadstarError as error:
                if error.reason in {"VTN_UNREACHABLE", "VTN_SILENT", "VTN_BUSY"}:
                    raise
                self._once(
                    f"report {event.id} {error.reason}",
                    "openadr_not_reported",
                    event_id=event.id,
                    reason=error.reason,
                    error=error.message,
                )

    # --- what a person has to know ----------------------------------------------------------------

    def _say(self, look: Look) -> None:
        for fault in look.malformed:
            self._once(
                f"malformed {fault.id} {fault.fault}",
                "openadr_event_malformed",
                event_id=fault.id,
                error=fault.fault,
            )
        for each in look.ignored:
            self._once(
                f"ignored {each.event_id} {each.interval_id} {each.payload_type} {each.reason}",
                "openadr_payload_ignored",
                event_id=each.event_id,
                interval_id=each.interval_id,
                payload_type=each.payload_type,
                reason=each.reason,
                words=each.words,
            )

    def _once(self, key: str, event: str, **fields: object) -> None:
        if key not in self._said:
            self._said[key] = None
            _bounded(self._said)
            _log.warning(event, **fields)

    def _backoff_s(self, error: LoadstarError, failures: int) -> float:
        """Longer with every failure in a row, at random so that a thousand VENs do not come back in
        the same second; no earlier than the VTN asks for."""
        most_s = _BACKOFF_MAX_S
        if error.reason.startswith("LOADSTAR_"):
            most_s = _LOADSTAR_BACKOFF_MAX_S
        wait_s = min(self._settings.poll_s * 2.0 ** min(failures - 1, 10), most_s)
        wait_s = max(1.0, wait_s * random.uniform(0.5, 1.0))
        with suppress(KeyError):
            told_s = float(error.metadata["retry_after_s"])
            wait_s = max(wait_s, min(told_s, _RETRY_AFTER_MAX_S))
        return wait_s


def _stand_in(wish: Wish) -> Held:
    """What stands for the past of a wish that is known to be settled."""
    return Held(
        event_id=grid_event_id(wish),
        source=wish.source,
        kind=wish.kind,
        power_w=wish.power_w,
        start_ms=wish.start_ms,
        end_ms=wish.end_ms,
        begun=False,
    )


def _bounded(remembered: dict[str, int] | dict[str, None]) -> None:
    while len(remembered) > _REMEMBERED_MAX:
        remembered.pop(next(iter(remembered)))
