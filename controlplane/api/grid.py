"""`GridService`: feeders, and limits on feeders and sites, from now on or for a time to come."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import (
    Backend,
    invalid,
    page_size,
    required,
    span_ms,
    timestamp,
)
from controlplane.api.configuring import CONFIGURE_TIMEOUT_S, configure_feeder
from controlplane.api.descriptions import feeder_from_message, feeder_to_message
from controlplane.api.sites import CURRENT_MAX_MA, allocation_to_message, require_site
from controlplane.api.v1 import grid_pb2, grid_pb2_grpc
from controlplane.errors import NotFound, Precondition
from controlplane.feeder.messages import (
    DeleteFeeder,
    FeederDeleted,
    FeederView,
    GetFeeder,
    SetFeederLimit,
)
from controlplane.ids import ActorKind, ActorRef, FeederId
from controlplane.network import FeederConfig
from controlplane.site.messages import SetSiteLimit, SiteView
from controlplane.store.records import FeederRecord

__all__ = ["Grid"]

_POWER_MAX_W = 10**12


class Grid(grid_pb2_grpc.GridServiceServicer):
    """Answers `controlplane.api.v1.GridService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

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
        record = await self._require_feeder(request.feeder_id)
        view = await self._backend.ask(
            _feeder_ref(request.feeder_id), GetFeeder(), FeederView, context
        )
        return grid_pb2.GetFeederResponse(
            feeder=_feeder_to_message(record), state=_state_to_message(view)
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
        if not 0 <= request.power_w <= _POWER_MAX_W:
            raise invalid("power_w", f"0 to {_POWER_MAX_W} W")
        await self._require_feeder(request.feeder_id)
        from_ms, until_ms = span_ms(request)
        view = await self._backend.ask(
            _feeder_ref(request.feeder_id),
            SetFeederLimit(power_w=request.power_w, from_ms=from_ms, until_ms=until_ms),
            FeederView,
            context,
            request_id=request.request_id,
        )
        return grid_pb2.SetFeederLimitResponse(state=_state_to_message(view))

    async def ClearFeederLimit(
        self, request: grid_pb2.ClearFeederLimitRequest, context: Any
    ) -> grid_pb2.ClearFeederLimitResponse:
        await self._require_feeder(request.feeder_id)
        view = await self._backend.ask(
            _feeder_ref(request.feeder_id),
            SetFeederLimit(power_w=None),
            FeederView,
            context,
            request_id=request.request_id,
        )
        return grid_pb2.ClearFeederLimitResponse(state=_state_to_message(view))

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

    async def _require_feeder(self, feeder_id: str) -> FeederRecord:
        record = await self._backend.reader.feeder(FeederId(feeder_id)) if feeder_id else None
        if record is None:
            raise NotFound(
                f"there is no feeder {feeder_id!r}",
                reason="FEEDER_UNKNOWN",
                metadata={"feeder_id": feeder_id},
            )
        return record

    async def _refuse_while_supplying(self, feeder_id: str) -> None:
        # The feeder's actor knows the sites that have reported to it; the store also knows those
        # that have only been described.
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


def _state_to_message(view: FeederView) -> grid_pb2.FeederState:
    return grid_pb2.FeederState(
        time=timestamp(view.at_ms),
        limit_ma=view.limit_ma,
        sites=[
            grid_pb2.FeederShare(
                site_id=share.site_id,
                cap_ma=share.cap_ma,
                acknowledged=share.acknowledged,
                wanted_ma=share.wanted_ma,
                liability_ma=share.liability_ma,
                measured_ma=share.measured_ma,
            )
            for share in view.sites
        ],
    )


def _feeder_ref(feeder_id: str) -> ActorRef:
    return ActorRef(ActorKind.FEEDER, feeder_id)
