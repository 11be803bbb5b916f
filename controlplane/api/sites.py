"""`SitesService`: what stands where, and who may draw how much at this moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from controlplane.api.backend import (
    Backend,
    Caller,
    instant_ms,
    invalid,
    page_size,
    required,
    seconds,
    span_ms,
    timestamp,
)
from controlplane.api.configuring import CONFIGURE_TIMEOUT_S, configure_site
from controlplane.api.descriptions import site_from_message, site_to_message
from controlplane.api.v1 import electrical_pb2, sites_pb2, sites_pb2_grpc
from controlplane.errors import NotFound
from controlplane.ids import ActorKind, ActorRef, ChargerId, SiteId
from controlplane.network import SiteConfig
from controlplane.site.demand import Source
from controlplane.site.messages import (
    CURRENT_MAX_MA,
    POWER_MAX_W,
    CircuitView,
    ConnectorAllocation,
    ConnectorExplanation,
    DeleteSite,
    ExplainConnector,
    GetSite,
    LoadTaken,
    PhaseCurrents,
    ReportBuildingLoad,
    ReportSitePower,
    SetCircuitLimit,
    SetConnectorLimit,
    SiteDeleted,
    SitePowerView,
    SiteView,
)
from controlplane.store.reader import PAGE_SIZE_MAX
from controlplane.store.records import LimitDecision, SiteRecord
from controlplane.units import MS_PER_S

__all__ = ["CURRENT_MAX_MA", "Sites", "allocation_to_message", "demand_source", "require_site"]

_DECISIONS_DEFAULT = 10

_SOURCES = {
    Source.DRIVER: sites_pb2.DEMAND_SOURCE_DRIVER,
    Source.VEHICLE: sites_pb2.DEMAND_SOURCE_VEHICLE,
    Source.FORECAST: sites_pb2.DEMAND_SOURCE_FORECAST,
}


class Sites(sites_pb2_grpc.SitesServiceServicer):
    """Answers `controlplane.api.v1.SitesService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def CreateSite(
        self, request: sites_pb2.CreateSiteRequest, context: Any
    ) -> sites_pb2.CreateSiteResponse:
        required(request, "site")
        config = site_from_message(request.site)
        await configure_site(
            self._backend, config, context, request_id=request.request_id, create_only=True
        )
        return sites_pb2.CreateSiteResponse(site=await self._site(config))

    async def UpdateSite(
        self, request: sites_pb2.UpdateSiteRequest, context: Any
    ) -> sites_pb2.UpdateSiteResponse:
        required(request, "site")
        config = site_from_message(request.site)
        await configure_site(
            self._backend, config, context, request_id=request.request_id, update_only=True
        )
        return sites_pb2.UpdateSiteResponse(site=await self._site(config))

    async def GetSite(
        self, request: sites_pb2.GetSiteRequest, context: Any
    ) -> sites_pb2.GetSiteResponse:
        record = await require_site(self._backend, request.site_id)
        return sites_pb2.GetSiteResponse(site=_site_to_message(record))

    async def ListSites(
        self, request: sites_pb2.ListSitesRequest, context: Any
    ) -> sites_pb2.ListSitesResponse:
        size = page_size(request.page_size)
        found = [
            record
            for record in await self._backend.reader.sites()
            if record.site_id > request.page_token
            and (not request.feeder_id or record.feeder_id == request.feeder_id)
        ]
        page = found[:size]
        return sites_pb2.ListSitesResponse(
            sites=[_site_to_message(record) for record in page],
            next_page_token=page[-1].site_id if len(found) > size else "",
        )

    async def DeleteSite(
        self, request: sites_pb2.DeleteSiteRequest, context: Any
    ) -> sites_pb2.DeleteSiteResponse:
        required(request, "site_id")
        await self._backend.ask(
            _ref(request.site_id),
            DeleteSite(),
            SiteDeleted,
            context,
            timeout_s=CONFIGURE_TIMEOUT_S,
            request_id=request.request_id,
        )
        return sites_pb2.DeleteSiteResponse()

    async def GetSiteAllocation(
        self, request: sites_pb2.GetSiteAllocationRequest, context: Any
    ) -> sites_pb2.GetSiteAllocationResponse:
        view = await self._view(request.site_id, context)
        return sites_pb2.GetSiteAllocationResponse(allocation=allocation_to_message(view))

    async def WatchSiteAllocation(
        self, request: sites_pb2.WatchSiteAllocationRequest, context: Any
    ) -> AsyncIterator[sites_pb2.WatchSiteAllocationResponse]:
        interval_s = seconds(
            "interval_s", request.interval_s, default_s=1.0, least_s=0.2, most_s=3_600.0
        )
        told: SiteView | None = None
        while True:
            view = await self._view(request.site_id, context)
            # A round that changed nothing differs from the one before only in its number and time.
            # So do energy and power that are counted up to now.
            same = told and msgspec.structs.replace(
                view, at_ms=told.at_ms, round=told.round, power=told.power
            )
            if told is None or same != told:
                told = view
                yield sites_pb2.WatchSiteAllocationResponse(allocation=allocation_to_message(view))
            await asyncio.sleep(interval_s)

    async def ExplainConnector(
        self, request: sites_pb2.ExplainConnectorRequest, context: Any
    ) -> sites_pb2.ExplainConnectorResponse:
        required(request, "charger_id")
        charger = await self._backend.reader.charger(ChargerId(request.charger_id))
        if charger is None:
            raise NotFound(
                f"no site has a charger {request.charger_id!r}",
                reason="CHARGER_UNKNOWN",
                metadata={"charger_id": request.charger_id},
            )
        count = request.decision_count or _DECISIONS_DEFAULT
        if not 1 <= count <= PAGE_SIZE_MAX:
            raise invalid("decision_count", f"1 to {PAGE_SIZE_MAX}")
        asked = ExplainConnector(charger.charger_id, request.connector_id)
        found = await self._backend.ask(_ref(charger.site_id), asked, ConnectorExplanation, context)
        now_ms = self._backend.clock.now_ms()
        at_ms = instant_ms(request, "time")
        decisions = await self._backend.reader.limit_decisions(
            charger.charger_id,
            found.allocation.connector_id,
            until_ms=now_ms if at_ms is None else at_ms,
            limit=count,
        )
        return explanation_to_message(found, decisions, at_ms=at_ms)

    async def ReportBuildingLoad(
        self, request: sites_pb2.ReportBuildingLoadRequest, context: Any
    ) -> sites_pb2.ReportBuildingLoadResponse:
        required(request, "site_id", "current")
        await require_site(self._backend, request.site_id)
        currents = (request.current.l1_ma, request.current.l2_ma, request.current.l3_ma)
        for line, current_ma in zip(("l1_ma", "l2_ma", "l3_ma"), currents, strict=True):
            if not -CURRENT_MAX_MA <= current_ma <= CURRENT_MAX_MA:
                raise invalid(f"current.{line}", f"-{CURRENT_MAX_MA} to {CURRENT_MAX_MA} mA")
        at_ms = instant_ms(request, "measure_time")
        site = _ref(request.site_id)
        # The limits that follow do not wait for words about every connector.
        await self._backend.ask(
            site,
            ReportBuildingLoad(
                at_ms=self._backend.clock.now_ms() if at_ms is None else at_ms,
                current_ma=currents,
                view=False,
            ),
            LoadTaken,
            context,
            # Without a time of its own, a repeated report is a new measurement.
            request_id="" if at_ms is None else request.request_id,
        )
        view = await self._backend.ask(site, GetSite(), SiteView, context)
        return sites_pb2.ReportBuildingLoadResponse(allocation=allocation_to_message(view))

    async def ReportSitePower(
        self, request: sites_pb2.ReportSitePowerRequest, context: Any
    ) -> sites_pb2.ReportSitePowerResponse:
        required(request, "site_id")
        await require_site(self._backend, request.site_id)
        if not 0 <= request.solar_w <= POWER_MAX_W:
            raise invalid("solar_w", f"0 to {POWER_MAX_W} W")
        if not -POWER_MAX_W <= request.battery_w <= POWER_MAX_W:
            raise invalid("battery_w", f"-{POWER_MAX_W} to {POWER_MAX_W} W")
        soc_percent = (
            request.battery_soc_percent if request.HasField("battery_soc_percent") else None
        )
        if soc_percent is not None and not 0 <= soc_percent <= 100:
            raise invalid("battery_soc_percent", "0 to 100")
        at_ms = instant_ms(request, "measure_time")
        view = await self._backend.ask(
            _ref(request.site_id),
            ReportSitePower(
                at_ms=self._backend.clock.now_ms() if at_ms is None else at_ms,
                solar_w=request.solar_w,
                battery_w=request.battery_w,
                battery_soc_percent=soc_percent,
            ),
            SiteView,
            context,
            request_id="" if at_ms is None else request.request_id,
        )
        return sites_pb2.ReportSitePowerResponse(allocation=allocation_to_message(view))

    async def SetCircuitLimit(
        self, request: sites_pb2.SetCircuitLimitRequest, context: Any
    ) -> sites_pb2.SetCircuitLimitResponse:
        required(request, "site_id", "circuit_id", "limit_ma")
        from_ms, until_ms = _limit_span(request)
        limit = SetCircuitLimit(request.circuit_id, request.limit_ma, from_ms, until_ms)
        return sites_pb2.SetCircuitLimitResponse(
            allocation=await self._limited(request, limit, context)
        )

    async def ClearCircuitLimit(
        self, request: sites_pb2.ClearCircuitLimitRequest, context: Any
    ) -> sites_pb2.ClearCircuitLimitResponse:
        required(request, "site_id", "circuit_id")
        limit = SetCircuitLimit(request.circuit_id, None)
        return sites_pb2.ClearCircuitLimitResponse(
            allocation=await self._limited(request, limit, context)
        )

    async def SetConnectorLimit(
        self, request: sites_pb2.SetConnectorLimitRequest, context: Any
    ) -> sites_pb2.SetConnectorLimitResponse:
        required(request, "site_id", "charger_id", "connector_id", "limit_ma")
        from_ms, until_ms = _limit_span(request)
        limit = SetConnectorLimit(
            ChargerId(request.charger_id),
            request.connector_id,
            request.limit_ma,
            from_ms,
            until_ms,
        )
        return sites_pb2.SetConnectorLimitResponse(
            allocation=await self._limited(request, limit, context)
        )

    async def ClearConnectorLimit(
        self, request: sites_pb2.ClearConnectorLimitRequest, context: Any
    ) -> sites_pb2.ClearConnectorLimitResponse:
        required(request, "site_id", "charger_id", "connector_id")
        limit = SetConnectorLimit(ChargerId(request.charger_id), request.connector_id, None)
        return sites_pb2.ClearConnectorLimitResponse(
            allocation=await self._limited(request, limit, context)
        )

    async def _limited(
        self, request: Any, limit: msgspec.Struct, caller: Caller
    ) -> sites_pb2.SiteAllocation:
        """Tell a site the limit of something in it; the allocation that follows."""
        await require_site(self._backend, request.site_id)
        view = await self._backend.ask(
            _ref(request.site_id), limit, SiteView, caller, request_id=request.request_id
        )
        return allocation_to_message(view)

    async def _site(self, config: SiteConfig) -> sites_pb2.Site:
        record = await self._backend.reader.site(SiteId(config.id))
        return sites_pb2.Site(
            description=site_to_message(config),
            update_time=timestamp(record.updated_ms if record else None),
        )

    async def _view(self, site_id: str, caller: Caller) -> SiteView:
        await require_site(self._backend, site_id)
        return await self._backend.ask(_ref(site_id), GetSite(), SiteView, caller)


def _limit_span(
    request: sites_pb2.SetCircuitLimitRequest | sites_pb2.SetConnectorLimitRequest,
) -> tuple[int | None, int | None]:
    if not 0 <= request.limit_ma <= CURRENT_MAX_MA:
        raise invalid("limit_ma", f"0 to {CURRENT_MAX_MA} mA")
    return span_ms(request)


async def require_site(backend: Backend, site_id: str) -> SiteRecord:
    """The site as described.

    Raises:
        NotFound: there is none.
    """
    record = await backend.reader.site(SiteId(site_id)) if site_id else None
    if record is None:
        raise NotFound(
            f"there is no site {site_id!r}", reason="SITE_UNKNOWN", metadata={"site_id": site_id}
        )
    return record


def allocation_to_message(view: SiteView) -> sites_pb2.SiteAllocation:
    """A site's view of itself, as a message."""
    return sites_pb2.SiteAllocation(
        site_id=view.site_id,
        time=timestamp(view.at_ms),
        round=view.round,
        feeder_cap_ma=view.cap_ma,
        limit_ma=view.limit_ma,
        building_load_stale=view.building_load_stale,
        violations=view.violations,
        circuits=[_circuit_to_message(circuit) for circuit in view.circuits],
        connectors=[_connector_to_message(connector) for connector in view.connectors],
        power=None if view.power is None else _power_to_message(view.power),
    )


def explanation_to_message(
    found: ConnectorExplanation, decisions: list[LimitDecision], *, at_ms: int | None
) -> sites_pb2.ExplainConnectorResponse:
    """An explanation as a message; of a moment that is past only the decisions are known."""
    told = [
        sites_pb2.LimitDecision(
            time=timestamp(decision.at_ms),
            session_id=decision.session_id or "",
            limit_ma=decision.limit_ma,
            before_ma=decision.before_ma,
            reason=decision.reason,
        )
        for decision in decisions
    ]
    if at_ms is not None:
        return sites_pb2.ExplainConnectorResponse(
            site_id=found.site_id, time=timestamp(at_ms), decisions=told
        )
    return sites_pb2.ExplainConnectorResponse(
        site_id=found.site_id,
        time=timestamp(found.at_ms),
        allocation=_connector_to_message(found.allocation),
        factors=[
            sites_pb2.LimitFactor(**msgspec.structs.asdict(factor)) for factor in found.factors
        ],
        shares=[sites_pb2.RowShare(**msgspec.structs.asdict(share)) for share in found.shares],
        decisions=told,
    )


def _site_to_message(record: SiteRecord) -> sites_pb2.Site:
    return sites_pb2.Site(
        description=site_to_message(SiteConfig.model_validate_json(record.config)),
        update_time=timestamp(record.updated_ms),
    )


def _circuit_to_message(circuit: CircuitView) -> sites_pb2.CircuitState:
    return sites_pb2.CircuitState(
        circuit_id=circuit.circuit_id,
        rating=_phases(circuit.rating_ma),
        capacity=_phases(circuit.capacity_ma),
        building=_phases(circuit.building_ma),
        liability=_phases(circuit.liability_ma),
        measured=_phases(circuit.measured_ma),
        limit_ma=circuit.limit_ma,
    )


def _power_to_message(power: SitePowerView) -> sites_pb2.SitePower:
    return sites_pb2.SitePower(
        draws_w=power.draws_w,
        measured=power.measured,
        contract_w=power.contract_w,
        window_start_time=timestamp(power.window_start_ms),
        window_end_time=timestamp(power.window_end_ms),
        used_wh=power.used_wh,
        allowed_w=power.allowed_w,
        last_mean_w=power.last_mean_w,
        last_held=power.last_held,
        solar_w=power.solar_w,
        battery_w=power.battery_w,
        battery_soc_percent=power.battery_soc_percent,
        report_stale=power.report_stale,
        surplus_w=power.surplus_w,
    )


def _connector_to_message(connector: ConnectorAllocation) -> sites_pb2.ConnectorAllocation:
    return sites_pb2.ConnectorAllocation(
        charger_id=connector.charger_id,
        connector_id=connector.connector_id,
        session_id=connector.session_id or "",
        target_ma=connector.target_ma,
        limit_ma=connector.limit_ma,
        liability_ma=connector.liability_ma,
        measured_ma=connector.measured_ma,
        reason=connector.reason,
        operator_limit_ma=connector.override_ma,
        energy_needed_wh=connector.energy_needed_wh,
        laxity_s=None if connector.laxity_ms is None else connector.laxity_ms // MS_PER_S,
        departure_time=timestamp(connector.departure_ms),
        need_source=demand_source(connector.need_source),
        departure_source=demand_source(connector.departure_source),
    )


def demand_source(source: str | None) -> sites_pb2.DemandSource.ValueType:
    """Who says what a session needs or when it leaves; None: nobody."""
    if source is None:
        return sites_pb2.DEMAND_SOURCE_UNSPECIFIED
    return _SOURCES[Source(source)]


def _phases(currents: PhaseCurrents) -> electrical_pb2.PhaseCurrents:
    return electrical_pb2.PhaseCurrents(l1_ma=currents[0], l2_ma=currents[1], l3_ma=currents[2])


def _ref(site_id: str) -> ActorRef:
    return ActorRef(ActorKind.SITE, site_id)
