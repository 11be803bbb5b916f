"""What a site's outlook learns from what the site's actor sees, and what others ask of it and push
into it.

Only a site with a tariff learns: for others nothing is planned. The outlook is written down by the
hour, when a peak rises, when a session ends and when something is pushed; what was seen since goes
with a lost host. Invariant: nothing here is needed for the safety of a conductor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from controlplane.actor import Effect, Emit
from controlplane.errors import Refusal
from controlplane.ids import SiteId
from controlplane.planning.forecasts import site_forecasts
from controlplane.planning.outlook import Expectation, calendar_of
from controlplane.planning.series import Interval, Series, overlaps
from controlplane.site.demand import Demand
from controlplane.site.foresight_messages import (
    ForecastKind,
    ForesightTaken,
    GetForecasts,
    PushForecast,
    PushPrices,
)
from controlplane.units import MS_PER_S, w_from_ma

if TYPE_CHECKING:
    from controlplane.site.live import LiveSite
    from controlplane.site.messages import SessionDemand
    from controlplane.site.state import BuildingLoad

__all__ = [
    "answer_foresight",
    "expectation",
    "inherit_outlook",
    "see_building",
    "see_draw",
    "see_solar",
    "session_began",
    "session_ended",
]

# --- what the site sees ---------------------------------------------------------------------------


def inherit_outlook(site: LiveSite, before: LiveSite) -> None:
    """Go on with what the description before had learned. Prices of another currency are none."""
    site.outlook = before.outlook
    old, new = before.config.tariff, site.config.tariff
    if old is not None and new is not None and old.currency != new.currency:
        site.outlook.prices = Series()
        _save(site)


def see_building(site: LiveSite, load: BuildingLoad) -> bool:
    """The building was measured; whether that is worth a snapshot, as for all of these."""
    if site.config.tariff is None:
        return False
    sum_ma = sum(max(0, each) for each in load.current_ma)
    power_w = w_from_ma(sum_ma, voltage_v=site.config.voltage_v, phases=1)
    return site.outlook.observe_building(power_w, load.at_ms) and _save(site)


def see_solar(site: LiveSite, power_w: int, at_ms: int) -> bool:
    """The solar plant was measured."""
    if site.config.tariff is None:
        return False
    return site.outlook.observe_solar(power_w, at_ms) and _save(site)


def see_draw(site: LiveSite, building_ma: list[int], now_ms: int, *, stale: bool) -> bool:
    """A round begins: count what the site draws for the demand charges of its tariff."""
    tariff = site.config.tariff
    if tariff is None or not tariff.demand_charges:
        return False
    if tariff.chargers_only:
        power_w = sum(connector.measured_w or 0 for connector in site.connectors)
        measured = heard = True
    else:
        power_w, measured = site.power.draws_w(now_ms, building_ma=building_ma, stale=stale)
        heard = site.config.building_load is None or site.state.building is not None
    rose = site.outlook.observe_draw(
        power_w, measured=measured and heard, at_ms=now_ms, tariff=tariff, zone=site.zone
    )
    return rose and _save(site)


def session_began(site: LiveSite, session: SessionDemand, now_ms: int) -> None:
    """A session began that the ledger did not know: one that is told again after a crash did
    not."""
    if site.config.tariff is not None:
        site.outlook.arrived(min(session.started_ms, now_ms))


def session_ended(site: LiveSite, demand: Demand, now_ms: int) -> bool:
    """A session is over: learn how long it stayed and what it took."""
    tariff = site.config.tariff
    if tariff is None:
        return False
    learned = site.outlook.ended(
        started_ms=demand.session.started_ms,
        ended_ms=now_ms,
        energy_wh=demand.energy_wh,
        power_max_w=demand.behaviour.known.power_max_w or 0,
        calendar=calendar_of(tariff, site.zone),
        expected=demand.expected,
    )
    return learned and _save(site)


def expectation(demand: Demand) -> Expectation | None:
    """What is forecast of a session that has just begun; None where nothing is."""
    found = demand.forecast
    if found is None or found.departure_ms is None or found.need_wh is None:
        return None
    return Expectation(found.departure_ms - demand.session.started_ms, found.need_wh)


def _save(site: LiveSite) -> bool:
    site.state.outlook = site.outlook.snapshot()
    return True


# --- what others push and ask ---------------------------------------------------------------------


def answer_foresight(
    site: LiveSite, request: PushPrices | PushForecast | GetForecasts, now_ms: int
) -> tuple[msgspec.Struct, list[Effect]]:
    """The answer to a request. Where there are effects, the state is to be written: something is
    known now that a plan starts from."""
    tariff = site.config.tariff
    if tariff is None:
        words = f"site {site.config.id} is described without a tariff: nothing is planned there"
        return _refused(site, "precondition", "TARIFF_UNDESCRIBED", words), []
    match request:
        case GetForecasts():
            found = site_forecasts(
                site.outlook,
                tariff,
                now_ms=now_ms,
                slot_s=request.slot_s,
                slots=request.slots,
                zone=site.zone,
            )
            return found, []
        case PushPrices():
            refused = _prices_refused(site, request)
            if refused is not None:
                return refused, []
            taken = site.outlook.pushed(request.prices, now_ms)
            event = {"currency": request.currency, "taken": taken}
            return _taken(site, "site.prices_pushed", site.outlook.prices, taken, event)
        case PushForecast():
            refused = _intervals_refused(site, request.powers)
            if refused is not None:
                return refused, []
            outlook = site.outlook
            power = outlook.building if request.kind is ForecastKind.BUILDING else outlook.sun
            taken = outlook.told(power, request.powers, now_ms)
            event = {"kind": request.kind.value, "taken": taken}
            return _taken(site, "site.forecast_pushed", power.told, taken, event)


def _taken(
    site: LiveSite, kind: str, series: Series, taken: int, event: dict[str, object]
) -> tuple[msgspec.Struct, list[Effect]]:
    _save(site)
    told = {"site_id": site.config.id, **event, "until_ms": series.until_ms}
    answer = ForesightTaken(SiteId(site.config.id), taken, series.until_ms)
    return answer, [Emit(kind, told)]


def _prices_refused(site: LiveSite, request: PushPrices) -> Refusal | None:
    tariff = site.config.tariff
    assert tariff is not None
    if tariff.day_ahead is None:
        words = f"the tariff of site {site.config.id} has no day_ahead: it follows no market"
        return _refused(site, "precondition", "TARIFF_NOT_DAY_AHEAD", words)
    if request.currency != tariff.currency:
        words = (
            f"prices in {request.currency} for site {site.config.id}, whose tariff is in "
            f"{tariff.currency}"
        )
        return _refused(site, "precondition", "CURRENCY_DIFFERS", words)
    return _intervals_refused(site, request.prices)


def _intervals_refused(site: LiveSite, intervals: Sequence[Interval]) -> Refusal | None:
    pair = overlaps(intervals)
    if pair is None:
        return None
    at_s = intervals[pair[1]].start_s
    words = f"two intervals of one push overlap, at {at_s * MS_PER_S} ms of the epoch"
    return _refused(site, "invalid_input", "INTERVALS_OVERLAP", words)


def _refused(site: LiveSite, kind: str, reason: str, words: str) -> Refusal:
    return Refusal(kind, reason, words, {"site_id": site.config.id})
