"""`GridService`: feeders, and limits on feeders and sites, from now on or for a time to come. What
concerns grid events stands in `grid_events.py`."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import (
    invalid,
    page_size,
    required,
    span_ms,
    timestamp,
)
from controlplane.api.configuring import CONFIGURE_TIMEOUT_S, configure_feeder
from controlplane.api.descriptions import feeder_from_message, feeder_to_message
from controlplane.api.grid_events import (
    POWER_MAX_W,
    GridEventCalls,
    grid_event_to_message,
    id_field,
    require_feeder,
)
from controlplane.api.sites import CURRENT_MAX_MA, allocation_to_message, require_site
from controlplane.api.v1 import grid_pb2, grid_pb2_grpc
from controlplane.errors import Precondition
from controlplane.feeder.messages import (
    DeleteFeeder,
    FeederDeleted,
    FeederView,
    GetFeeder,
    MemberShare,
    Overload,
    SetFeederLimit,
)
from controlplane.ids import ActorKind, ActorRef, FeederId
from controlplane.network import FeederConfig
from controlplane.site.messages import SetSiteLimit, SiteView
from controlplane.store.records import FeederRecord

__all__ = ["Grid", "state_to_message"]

_OVERLOAD_REASONS = {
    "silent": grid_pb2.OVERLOAD_REASON_SILENT,
    "floor": grid_pb2.OVERLOAD_REASON_FLOOR,
    "awaited": grid_pb2.OVERLOAD_REASON_AWAITED,
    "draws_more": grid_pb2.OVERLOAD_REASON_DRAWS_MORE,
}


class Grid(GridEventCalls, grid_pb2_grpc.GridServiceServicer):
    """Answers `controlplane.api.v1.GridService`."""

    async def CreateFeeder(
        self, request: grid_pb2.CreateFeederRequest, context: Any
    ) -> grid_pb2.CreateFeederResponse:
        required(request, "feeder")
        config = feeder_from_message(request.feeder)
        await configure_feeder(
            self._backend, config, context, request_id=request.request_id, create_only=True
        )
        return grid_pb2.CreateFeederResponse(feeder=await self._feeder(config))

    async def UpdateFeeder(
        self, request: grid_pb2.UpdateFeederRequest, context: Any
    ) -> grid_pb2.UpdateFeederResponse:
        required(request, "feeder")
        config = feeder_from_message(request.feeder)
        await configure_feeder(
            self._backend, config, context, request_id=request.request_id, update_only=True
        )
        return grid_pb2.UpdateFeederResponse(feeder=await self._feeder(config))

    async def GetFeeder(
        self, request: grid_pb2.GetFeederRequest, context: Any
    ) -> grid_pb2.GetFeederResponse:
        record = await require_feeder(self._backend, request.feeder_id)
        view = await self._backend.ask(
            _feeder_ref(request.feeder_id), GetFeeder(), FeederView, context
        )
        return grid_pb2.GetFeederResponse(
            feeder=_feeder_to_message(record), state=state_to_message(view)
        )

    async def ListFeeders(
        self, request: grid_pb2.ListFeedersRequest, context: Any
    ) -> grid_pb2.ListFeedersResponse:
        size = page_size(request.page_size)
        found = [
            record
            for record in await self._backend.reader.feeders()
            if record.feeder_id > request.page_token
        ]
        page = found[:size]
        return grid_pb2.ListFeedersResponse(
            feeders=[_feeder_to_message(record) for record in page],
            next_page_token=page[-1].feeder_id if len(found) > size else "",
        )

    async def DeleteFeeder(
        self, request: grid_pb2.DeleteFeederRequest, context: Any
    ) -> grid_pb2.DeleteFeederResponse:
        required(request, "feeder_id")
        async with self._backend.configuring:
            await self._refuse_while_supplying(request.feeder_id)
            await self._backend.ask(
                _feeder_ref(request.feeder_id),
                DeleteFeeder(),
                FeederDeleted,
                context,
                timeout_s=CONFIGURE_TIMEOUT_S,
                request_id=request.request_id,
            )
        return grid_pb2.DeleteFeederResponse()

    async def SetFeederLimit(
        self, request: grid_pb2.SetFeederLimitRequest, context: Any
    ) -> grid_pb2.SetFeederLimitResponse:
        required(request, "feeder_id", "power_w")
        if not 0 <= request.power_w <= POWER_MAX_W:
            raise invalid("power_w", f"0 to {POWER_MAX_W} W")
        await require_feeder(self._backend, request.feeder_id)
        from_ms, until_ms = span_ms(request)
        view = await self._backend.ask(
            _feeder_ref(request.feeder_id),
            SetFeederLimit(power_w=request.power_w, from_ms=from_ms, until_ms=until_ms),
            FeederView,
            context,
            request_id=request.request_id,
        )
        return grid_pb2.SetFeederLimitResponse(state=state_to_message(view))

    async def ClearFeederLimit(
        self, request: grid_pb2.ClearFeederLimitRequest, context: Any
    ) -> grid_pb2.ClearFeederLimitResponse:
        await require_feeder(self._backend, request.feeder_id)
        view = await self._backend.ask(
            _feeder_ref(request.feeder_id),
            SetFeederLimit(power_w=None),
            FeederView,
            context,
            request_id=request.request_id,
        )
        return grid_pb2.ClearFeederLimitResponse(state=state_to_message(view))

    async def SetSiteLimit(
        self, request: grid_pb2.SetSiteLimitRequest, context: Any
    ) -> grid_pb2.SetSiteLimitResponse:
        required(request, "site_id", "limit_ma")
        if not 0 <= request.limit_ma <= CURRENT_MAX_MA:
            raise invalid("limit_ma", f"0 to {CURRENT_MAX_MA} mA")
        await require_site(self._backend, request.site_id)
        from_ms, until_ms = span_ms(request)
        view = await self._backend.ask(
            ActorRef(ActorKind.SITE, request.site_id),
            SetSiteLimit(limit_ma=request.limit_ma, from_ms=from_ms, until_ms=until_ms),
            SiteView,
            context,
            request_id=request.request_id,
        )
        return grid_pb2.SetSiteLimitResponse(allocation=allocation_to_message(view))

    async def ClearSiteLimit(
        self, request: grid_pb2.ClearSiteLimitRequest, context: Any
    ) -> grid_pb2.ClearSiteLimitResponse:
        await require_site(self._backend, request.site_id)
        view = await self._backend.ask(
            ActorRef(ActorKind.SITE, request.site_id),
            SetSiteLimit(limit_ma=None),
            SiteView,
            context,
            request_id=request.request_id,
        )
        return grid_pb2.ClearSiteLimitResponse(allocation=allocation_to_message(view))

    async def _feeder(self, config: FeederConfig) -> grid_pb2.Feeder:
        record = await self._backend.reader.feeder(FeederId(config.id))
        return grid_pb2.Feeder(
            description=feeder_to_message(config),
            update_time=timestamp(record.updated_ms if record else None),
        )

    async def _refuse_while_supplying(self, feeder_id: str) -> None:
        # The feeder's actor knows what has reported to it; the store also knows what has only been
        # described.
        for feeder in await self._backend.reader.feeders():
            if FeederConfig.model_validate_json(feeder.config).parent == feeder_id:
                raise Precondition(
                    f"feeder {feeder_id} supplies feeder {feeder.feeder_id}",
                    reason="FEEDER_IN_USE",
                    metadata={"feeder_id": feeder_id, "supplied_feeder_id": feeder.feeder_id},
                )
        for record in await self._backend.reader.sites():
            if record.feeder_id == feeder_id:
                raise Precondition(
                    f"feeder {feeder_id} supplies site {record.site_id}",
                    reason="FEEDER_IN_USE",
                    metadata={"feeder_id": feeder_id, "site_id": record.site_id},
                )


def _feeder_to_message(record: FeederRecord) -> grid_pb2.Feeder:
    return grid_pb2.Feeder(
        description=feeder_to_message(FeederConfig.model_validate_json(record.config)),
        update_time=timestamp(record.updated_ms),
    )


def state_to_message(view: FeederView) -> grid_pb2.FeederState:
    """A feeder's view of itself, as a message."""
    return grid_pb2.FeederState(
        time=timestamp(view.at_ms),
        limit_ma=view.limit_ma,
        sites=[_share_to_message(share, site_id=share.id) for share in view.sites],
        feeders=[_share_to_message(share, feeder_id=share.id) for share in view.feeders],
        cap_ma=view.cap_ma,
        measured_w=view.measured_w,
        liability_w=view.liability_w,
        overload=None if view.overload is None else _overload_to_message(view.overload),
        events=[grid_event_to_message(event, _feeder_ref(view.feeder_id)) for event in view.events],
    )


def _share_to_message(share: MemberShare, **member: str) -> grid_pb2.FeederShare:
    return grid_pb2.FeederShare(
        cap_ma=share.cap_ma,
        acknowledged=share.acknowledged,
        wanted_ma=share.wanted_ma,
        liability_ma=share.liability_ma,
        measured_ma=share.measured_ma,
        measured_w=share.measured_w,
        wish_w=share.wish_w,
        spare_w=share.spare_w,
        **member,
    )


def _overload_to_message(overload: Overload) -> grid_pb2.FeederOverload:
    return grid_pb2.FeederOverload(
        start_time=timestamp(overload.since_ms),
        excess_ma=overload.excess_ma,
        shares=[
            grid_pb2.FeederOverloadShare(
                reason=_OVERLOAD_REASONS[share.cause],
                excess_ma=share.excess_ma,
                **id_field(share.member),
            )
            for share in overload.shares
        ],
    )


def _feeder_ref(feeder_id: str) -> ActorRef:
    return ActorRef(ActorKind.FEEDER, feeder_id)
