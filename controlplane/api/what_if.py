"""`WhatIfService`: what would have been with another description of a site.

The service reads what the store knows and has the question worked out by two processes of its own
(`controlplane.what_if`), one for each half, one question at a time; they end with the caller, with
the deadline and with the server. Invariant: however long a question is, it costs this process's
loop nothing."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec
import structlog

import controlplane
from controlplane.api.backend import Backend, Caller, invalid, timestamp
from controlplane.api.descriptions import tariff_from_message
from controlplane.api.foresight import price_intervals
from controlplane.api.sites import require_site
from controlplane.api.v1 import what_if_pb2, what_if_pb2_grpc
from controlplane.errors import (
    Exhausted,
    LoadstarError,
    Precondition,
    Refusal,
    TimedOut,
    raise_refusal,
)
from controlplane.ids import ActorKind, ActorRef, SessionId, SiteId
from controlplane.network import SiteConfig, TariffConfig
from controlplane.network_power import CONTRACT_MAX_W
from controlplane.planning.forecasts import SiteForecasts
from controlplane.site.foresight_messages import GetForecasts
from controlplane.store.records import SessionRecord
from controlplane.units import MS_PER_HOUR, MS_PER_S
from controlplane.what_if.changes import changed
from controlplane.what_if.question import Fault, Half, Outcome, Progress, Question, Visit

__all__ = ["WhatIf"]

AT_ONCE: Final = 1
BUDGET_S: Final = 600.0
SESSIONS_MAX: Final = 50_000
DAYS_MAX: Final = 366
"""Twelve months."""

PRICES_MAX: Final = 40_000
"""A year of quarters of an hour."""

LEARNED_MS: Final = 28 * 24 * MS_PER_HOUR
"""So long before the first day sessions are learned from."""

_STAY_MIN_MS = 60_000
_WEEK_H = 7 * 24
_SLOT_S = 900
_LINE_MAX_BYTES = 16 * 1024 * 1024
_TOLD_MAX = 16
"""Lines of both processes that wait for a caller who reads slowly."""
_log = structlog.get_logger(__name__)


class WhatIf(what_if_pb2_grpc.WhatIfServiceServicer):
    """Answers `controlplane.api.v1.WhatIfService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._working = 0

    async def AskWhatIf(
        self, request: what_if_pb2.AskWhatIfRequest, context: Any
    ) -> AsyncIterator[what_if_pb2.AskWhatIfResponse]:
        if self._working >= AT_ONCE:
            raise Exhausted(
                "another question is being worked on; ask again when it is answered",
                reason="WHAT_IF_BUSY",
            )
        self._working += 1
        remaining_s = context.time_remaining()
        budget_s = BUDGET_S if remaining_s is None else min(BUDGET_S, remaining_s)
        until_s = asyncio.get_running_loop().time() + budget_s
        try:
            async with asyncio.timeout_at(until_s):
                question, told = await self._question(request, context)
            async with aclosing(_worked_out(question, until_s)) as lines:
                halves: dict[bool, Half] = {}
                done_percent = {False: 0.0, True: 0.0}
                async for what_if, line in lines:
                    if isinstance(line, Half):
                        halves[what_if] = line
                    else:
                        done_percent[what_if] = line.done_percent
                        progress = _progress(line, what_if, sum(done_percent.values()) / 2)
                        yield what_if_pb2.AskWhatIfResponse(progress=progress)
            _fill(told, halves[False], halves[True])
            yield what_if_pb2.AskWhatIfResponse(answer=told)
        except TimeoutError as error:
            raise TimedOut(
                f"not answered within {budget_s:.0f} s: ask for fewer days",
                reason="WHAT_IF_TOO_LONG",
            ) from error
        finally:
            self._working -= 1

    # --- the question -----------------------------------------------------------------------------

    async def _question(
        self, request: what_if_pb2.AskWhatIfRequest, caller: Caller
    ) -> tuple[Question, what_if_pb2.WhatIfAnswer]:
        """What is to be worked out, and what of the answer is known already."""
        record = await require_site(self._backend, request.site_id)
        site, tariff = _tariffs(SiteConfig.model_validate_json(record.config), request)
        zone = ZoneInfo(site.time_zone)
        start_ms, end_ms = _span(request, zone, now_ms=self._backend.clock.now_ms())
        prices = price_intervals("prices", request.prices, most=PRICES_MAX)
        stored = await self._stored(record.site_id, start_ms - LEARNED_MS, end_ms)
        powers = await self._backend.reader.strongest_w(stored)
        visits = [_visit(each, powers) for each in stored if _over(each)]
        inside = tuple(
            each for each in visits if each.arrival_ms >= start_ms and each.departure_ms <= end_ms
        )
        if not inside:
            raise Precondition(
                f"no session of site {site.id} that began and ended in those days is stored",
                reason="NO_SESSIONS",
                metadata={"site_id": site.id},
            )
        other, words = changed(
            site,
            inside,
            cap_w=request.cap_w if request.HasField("cap_w") else None,
            added_charger_count=request.added_charger_count,
            circuit=request.circuit_id,
            tariff=tariff,
        )
        building_w, solar_w = await self._week(site, zone, caller)
        there = sum(each.ended_ms is None or each.ended_ms > start_ms for each in stored)
        question = Question(
            as_is=site.model_dump_json().encode(),
            what_if=other.model_dump_json().encode(),
            start_ms=start_ms,
            end_ms=end_ms,
            visits=inside,
            before=tuple(each for each in visits if each.departure_ms <= start_ms),
            building_w=building_w,
            solar_w=solar_w,
            prices=prices,
        )
        return question, what_if_pb2.WhatIfAnswer(
            site_id=site.id,
            start_time=timestamp(start_ms),
            end_time=timestamp(end_ms),
            session_count=len(inside),
            left_out_count=there - len(inside),
            recorded_wh=sum(each.energy_wh for each in inside),
            assumptions=words,
        )

    async def _stored(self, site_id: SiteId, from_ms: int, until_ms: int) -> list[SessionRecord]:
        """Sessions that began in a time, the oldest first."""
        found: list[SessionRecord] = []
        token = ""
        while True:
            page, token = await self._backend.reader.sessions_begun(
                site_id, from_ms=from_ms, until_ms=until_ms, page_token=token
            )
            found += page
            if len(found) > SESSIONS_MAX:
                raise Exhausted(
                    f"more than {SESSIONS_MAX} sessions, with those of the four weeks before: ask "
                    "for fewer days",
                    reason="SESSIONS_TOO_MANY",
                    metadata={"site_id": site_id},
                )
            if not token:
                return found

    async def _week(
        self, site: SiteConfig, zone: ZoneInfo, caller: Caller
    ) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """A usual week of building and sun by the hour, as the site expects its next one; nothing
        where it has neither, or no tariff for which it would have learned."""
        if site.building_load is None and site.solar is None:
            return (), ()
        try:
            found = await self._backend.ask(
                ActorRef(ActorKind.SITE, site.id),
                GetForecasts(slot_s=3_600, slots=_WEEK_H),
                SiteForecasts,
                caller,
            )
        except Precondition:
            return (), ()
        building, solar = [0] * _WEEK_H, [0] * _WEEK_H
        for slot in found.slots:
            local = datetime.fromtimestamp(slot.start_ms / MS_PER_S, zone)
            hour = local.weekday() * 24 + local.hour
            building[hour], solar[hour] = slot.building_w, slot.solar_w
        if not any(building) and not any(solar):
            return (), ()
        return tuple(building), tuple(solar)


def _tariffs(
    site: SiteConfig, request: what_if_pb2.AskWhatIfRequest
) -> tuple[SiteConfig, TariffConfig | None]:
    """The site as it is, with a tariff, and the one that it would have.

    Raises:
        InvalidInput: nothing would be another.
        Precondition: nobody says what energy costs.
    """
    given = tariff_from_message(request.tariff) if request.HasField("tariff") else None
    if request.HasField("cap_w") and not 0 < request.cap_w <= CONTRACT_MAX_W:
        raise invalid("cap_w", f"1 to {CONTRACT_MAX_W} W")
    if given is None and not request.added_charger_count and not request.HasField("cap_w"):
        raise invalid(
            "cap_w", "nothing would be another: give cap_w, added_charger_count or tariff"
        )
    if site.tariff is not None:
        return site, given
    if given is None:
        raise Precondition(
            f"site {site.id} is described without a tariff: give one",
            reason="TARIFF_UNDESCRIBED",
            metadata={"site_id": site.id},
        )
    return site.model_copy(update={"tariff": given}), given


def _span(request: what_if_pb2.AskWhatIfRequest, zone: ZoneInfo, *, now_ms: int) -> tuple[int, int]:
    """From the midnight before the first day to the one after the last."""
    first, last = (_day(request, field) for field in ("start_date", "end_date"))
    if not timedelta(0) <= last - first < timedelta(days=DAYS_MAX):
        raise invalid("end_date", f"start_date or later, {DAYS_MAX} days in all at most")
    start_ms, end_ms = _midnight_ms(first, zone), _midnight_ms(last + timedelta(days=1), zone)
    if start_ms >= now_ms:
        raise invalid("start_date", "must be past")
    return start_ms, end_ms


def _day(request: what_if_pb2.AskWhatIfRequest, field: str) -> date:
    try:
        return date.fromisoformat(getattr(request, field))
    except ValueError as error:
        raise invalid(field, "a day, such as 2026-09-01") from error


def _midnight_ms(day: date, zone: ZoneInfo) -> int:
    """Of a day on a clock, at a whole quarter of an hour: some zones once had others."""
    local = datetime(day.year, day.month, day.day, tzinfo=zone)
    return int(local.timestamp()) // _SLOT_S * _SLOT_S * MS_PER_S


def _over(session: SessionRecord) -> bool:
    """Whether it is over and was more than a mistake."""
    ended_ms = session.ended_ms
    return ended_ms is not None and ended_ms - session.started_ms >= _STAY_MIN_MS


def _visit(session: SessionRecord, powers: dict[SessionId, int]) -> Visit:
    assert session.ended_ms is not None  # `_over` says so
    said_ms = session.departure_ms
    return Visit(
        id=session.session_id,
        charger_id=session.charger_id,
        connector_id=session.connector_id,
        arrival_ms=session.started_ms,
        departure_ms=session.ended_ms,
        energy_wh=max(0, session.energy_wh),
        need_wh=session.need_wh,
        said_ms=said_ms if said_ms is not None and said_ms > session.started_ms else None,
        token=session.token_key or session.id_token,
        power_max_w=powers.get(session.session_id),
    )


# --- the process ----------------------------------------------------------------------------------


async def _worked_out(
    question: Question, until_s: float
) -> AsyncGenerator[tuple[bool, Progress | Half], None]:
    """What the two processes tell, and which of them, each its half last.

    Raises:
        TimeoutError: they were not done by then, on the loop's clock.
        LoadstarError: one says so, or ended without an answer.
    """
    told: asyncio.Queue[tuple[bool, Progress | Half] | Exception] = asyncio.Queue(_TOLD_MAX)
    encoded = msgspec.msgpack.encode(question)

    async def follow(what_if: bool) -> None:
        try:
            async with aclosing(_half(encoded, what_if, until_s)) as lines:
                async for line in lines:
                    await told.put((what_if, line))
        except Exception as error:
            await told.put(error)

    following = [asyncio.create_task(follow(what_if)) for what_if in (False, True)]
    missing = len(following)
    try:
        while missing:
            line = await told.get()
            if isinstance(line, Exception):
                raise line
            yield line
            missing -= isinstance(line[1], Half)
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def _half(
    question: bytes, what_if: bool, until_s: float
) -> AsyncGenerator[Progress | Half, None]:
    """What the process of one half tells, one after the other, its outcome last."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "controlplane.what_if",
        "what-if" if what_if else "as-is",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=_environment(),
        limit=_LINE_MAX_BYTES,
    )
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    assert stdin is not None and stdout is not None and stderr is not None
    complaint = asyncio.create_task(stderr.read())
    try:
        async with asyncio.timeout_at(until_s):
            with suppress(ConnectionError):  # what it says below tells why
                stdin.write(question)
                await stdin.drain()
            stdin.close()
        while True:
            async with asyncio.timeout_at(until_s):
                line = await stdout.readline()
                if not line:
                    _log.error("what_if_died", complaint=(await complaint).decode()[-4_000:])
                    raise LoadstarError("the replay failed; the log says why", reason="INTERNAL")
            told = msgspec.json.decode(line, type=Progress | Half | Fault)
            if isinstance(told, Fault):
                raise_refusal(Refusal(told.kind, told.reason, told.message))
            yield told
            if isinstance(told, Half):
                return
    finally:
        if process.returncode is None:
            process.kill()
        complaint.cancel()
        await process.wait()


def _environment() -> dict[str, str]:
    """That of this process, in which the package is found wherever it lies."""
    package = str(Path(controlplane.__file__).parents[1])
    known = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (package, known)))}


# --- the answer -----------------------------------------------------------------------------------


def _progress(told: Progress, what_if: bool, done_percent: float) -> what_if_pb2.WhatIfProgress:
    return what_if_pb2.WhatIfProgress(
        done_percent=done_percent, day=told.day.isoformat(), what_if=what_if
    )


def _fill(message: what_if_pb2.WhatIfAnswer, as_is: Half, what_if: Half) -> None:
    message.as_is.CopyFrom(_outcome(as_is.outcome))
    message.what_if.CopyFrom(_outcome(what_if.outcome))
    message.assumptions.extend(as_is.assumptions)


def _outcome(outcome: Outcome) -> what_if_pb2.WhatIfOutcome:
    could_less = outcome.cost - outcome.cost_least
    return what_if_pb2.WhatIfOutcome(
        connector_count=outcome.connectors,
        session_count=outcome.sessions,
        turned_away_count=outcome.turned_away,
        turned_away_estimated_count=outcome.turned_away_estimated,
        estimated_count=outcome.estimated,
        wanted_wh=outcome.wanted_wh,
        delivered_wh=outcome.delivered_wh,
        missing_wh=outcome.missing_wh,
        missing_least_wh=outcome.missing_least_wh,
        short_count=outcome.short,
        peak_w=outcome.peak_w,
        peak_time=timestamp(outcome.peak_at_ms),
        charging_peak_w=outcome.charging_peak_w,
        currency=outcome.currency,
        energy_cost=_decimal(outcome.energy_cost),
        demand_cost=_decimal(outcome.demand_cost),
        cost=_decimal(outcome.cost),
        cost_least=_decimal(outcome.cost_least),
        gap_percent=float(100 * could_less / abs(outcome.cost)) if outcome.cost else 0.0,
        months=[
            what_if_pb2.WhatIfMonth(
                month=month.month,
                charged_wh=month.charged_wh,
                peak_w=month.peak_w,
                energy_cost=_decimal(month.energy_cost),
                demand_costs=[
                    what_if_pb2.WhatIfDemandCost(
                        name=each.name,
                        peak_w=each.peak_w,
                        peak_time=timestamp(each.at_ms),
                        cost=_decimal(each.cost),
                    )
                    for each in month.demand
                ],
                cost=_decimal(month.cost),
            )
            for month in outcome.months
        ],
        plan_count=outcome.plans,
        stale=outcome.stale,
    )


def _decimal(amount: Decimal) -> str:
    """An amount without an exponent."""
    return f"{amount.normalize():f}"
