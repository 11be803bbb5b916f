"""`FirmwareService`: images, updates of single chargers, campaigns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

from controlplane.api.backend import Backend, instant_ms, invalid, seconds, timestamp
from controlplane.api.executing import (
    charger_ref,
    charger_unknown,
    execute,
    outcome_of,
    request_number,
    require_charger,
)
from controlplane.api.v1 import firmware_pb2, firmware_pb2_grpc
from controlplane.campaign.messages import (
    CampaignChange,
    CampaignPlan,
    CampaignStage,
    CampaignView,
    ChangeCampaign,
    CreateCampaign,
    Firmware,
    GetCampaign,
)
from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.errors import NotFound
from controlplane.files.store import FirmwareImage
from controlplane.ids import NAME_PATTERN, ActorKind, ActorRef, ChargerId
from controlplane.ocpp.commands import PublishFirmware, UnpublishFirmware, UpdateFirmware

__all__ = ["FirmwareCalls"]

_PART_MAX_BYTES = 1024 * 1024
_SPAN_MAX_S = 604_800.0
_AT_ONCE_MAX = 1_000
_STAGES = {
    stage: firmware_pb2.CampaignStage.Value(f"CAMPAIGN_STAGE_{stage.name}")
    for stage in CampaignStage
}
_CHANGES = {
    firmware_pb2.CampaignChange.Value(f"CAMPAIGN_CHANGE_{change.name}"): change
    for change in CampaignChange
}


class FirmwareCalls(firmware_pb2_grpc.FirmwareServiceServicer):
    """Answers `controlplane.api.v1.FirmwareService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    # --- images -----------------------------------------------------------------------------------

    async def UploadFirmware(
        self, request_iterator: AsyncIterator[firmware_pb2.UploadFirmwareRequest], context: Any
    ) -> firmware_pb2.UploadFirmwareResponse:
        first = await anext(request_iterator, None)
        if first is None or first.WhichOneof("part") != "description":
            raise invalid("description", "must be the first message")
        said = first.description
        store = self._backend.files.store
        coming = store.incoming()
        incoming, path = await asyncio.to_thread(coming.__enter__)
        try:
            async for part in request_iterator:
                if len(part.content) > _PART_MAX_BYTES:
                    raise invalid("content", f"at most {_PART_MAX_BYTES} bytes at a time")
                await asyncio.to_thread(incoming.write, part.content)
            keep = partial(
                store.keep_firmware,
                incoming,
                path,
                name=said.name,
                version=said.version[:255],
                stored_ms=time.time_ns() // 1_000_000,
                signing_certificate=said.signing_certificate or None,
                signature=said.signature or None,
            )
            image = await asyncio.to_thread(keep)
        finally:
            await asyncio.to_thread(coming.__exit__, None, None, None)
        return firmware_pb2.UploadFirmwareResponse(image=self._image_to_message(image))

    async def ListFirmware(
        self, request: firmware_pb2.ListFirmwareRequest, context: Any
    ) -> firmware_pb2.ListFirmwareResponse:
        images = await asyncio.to_thread(self._backend.files.store.firmware)
        return firmware_pb2.ListFirmwareResponse(
            images=[self._image_to_message(image) for image in images]
        )

    async def DeleteFirmware(
        self, request: firmware_pb2.DeleteFirmwareRequest, context: Any
    ) -> firmware_pb2.DeleteFirmwareResponse:
        await asyncio.to_thread(self._backend.files.store.delete_firmware, request.sha256)
        return firmware_pb2.DeleteFirmwareResponse()

    # --- one charger ------------------------------------------------------------------------------

    async def UpdateFirmware(
        self, request: firmware_pb2.UpdateFirmwareRequest, context: Any
    ) -> firmware_pb2.UpdateFirmwareResponse:
        location, image = request.location, None
        match request.WhichOneof("firmware"):
            case "sha256":
                image = await self._image(request.sha256)
                location = self._backend.files.url(image.path)
            case None:
                raise invalid("firmware", "name an image or a location")
        retrieve_ms = instant_ms(request, "retrieve_time")
        command = UpdateFirmware(
            request_id=request_number(request.request_id),
            location=location,
            # Long past stands for at once: what is repeated must be the same request again.
            retrieve_ms=0 if retrieve_ms is None else retrieve_ms,
            install_ms=instant_ms(request, "install_time"),
            signing_certificate=None if image is None else image.signing_certificate,
            signature=None if image is None else image.signature,
            version="" if image is None else image.version,
        )
        result = await execute(self._backend, command, request, context)
        return firmware_pb2.UpdateFirmwareResponse(outcome=outcome_of(result))

    async def GetUpdate(
        self, request: firmware_pb2.GetUpdateRequest, context: Any
    ) -> firmware_pb2.GetUpdateResponse:
        await require_charger(self._backend, request.charger_id)
        view = await self._backend.ask(
            charger_ref(request.charger_id), GetCharger(), ChargerView, context
        )
        update = view.update
        if update is None:
            raise NotFound(f"{request.charger_id} took no update", reason="UPDATE_UNKNOWN")
        return firmware_pb2.GetUpdateResponse(
            version=update.version,
            campaign_id=update.campaign_id,
            status=update.status,
            ended=update.ended,
            changed_time=timestamp(update.changed_ms),
        )

    async def PublishFirmware(
        self, request: firmware_pb2.PublishFirmwareRequest, context: Any
    ) -> firmware_pb2.PublishFirmwareResponse:
        image = await self._image(request.sha256)
        command = PublishFirmware(
            request_id=request_number(request.request_id),
            location=self._backend.files.url(image.path),
            checksum=image.md5,
        )
        result = await execute(self._backend, command, request, context)
        return firmware_pb2.PublishFirmwareResponse(outcome=outcome_of(result))

    async def UnpublishFirmware(
        self, request: firmware_pb2.UnpublishFirmwareRequest, context: Any
    ) -> firmware_pb2.UnpublishFirmwareResponse:
        image = await self._image(request.sha256)
        result = await execute(self._backend, UnpublishFirmware(image.md5), request, context)
        return firmware_pb2.UnpublishFirmwareResponse(outcome=outcome_of(result))

    # --- campaigns --------------------------------------------------------------------------------

    async def CreateCampaign(
        self, request: firmware_pb2.CreateCampaignRequest, context: Any
    ) -> firmware_pb2.CreateCampaignResponse:
        _require_campaign_id(request.campaign_id)
        image = await self._image(request.sha256)
        await self._require_chargers(request)
        start_ms = instant_ms(request, "start_time")
        at_once_max = request.at_once_max or 50
        if not 1 <= at_once_max <= _AT_ONCE_MAX:
            raise invalid("at_once_max", f"1 to {_AT_ONCE_MAX}, or 0 for 50")
        if request.failures_max < 0:
            raise invalid("failures_max", "0 or more")
        plan = CampaignPlan(
            campaign_id=request.campaign_id,
            firmware=Firmware(
                image.version,
                self._backend.files.url(image.path),
                image.signing_certificate,
                image.signature,
            ),
            waves=tuple(tuple(map(ChargerId, wave.charger_ids)) for wave in request.waves),
            failures_max=request.failures_max,
            start_ms=0 if start_ms is None else start_ms,
            only_idle=not request.also_busy,
            patience_ms=self._span_ms("patience_s", request.patience_s, 7_200.0, least_s=60.0),
            pause_ms=600_000
            if not request.HasField("pause_s")
            else self._span_ms("pause_s", request.pause_s, 0.0, least_s=0.0),
            at_once_max=at_once_max,
        )
        view = await self._ask(request, CreateCampaign(plan), context)
        return firmware_pb2.CreateCampaignResponse(campaign=_campaign_to_message(view))

    async def GetCampaign(
        self, request: firmware_pb2.GetCampaignRequest, context: Any
    ) -> firmware_pb2.GetCampaignResponse:
        _require_campaign_id(request.campaign_id)
        view = await self._ask(request, GetCampaign(), context)
        return firmware_pb2.GetCampaignResponse(campaign=_campaign_to_message(view))

    async def ListCampaigns(
        self, request: firmware_pb2.ListCampaignsRequest, context: Any
    ) -> firmware_pb2.ListCampaignsResponse:
        records = await self._backend.reader.campaigns(only_open=request.only_open)
        return firmware_pb2.ListCampaignsResponse(
            campaigns=[
                firmware_pb2.CampaignSummary(
                    campaign_id=record.campaign_id,
                    version=record.version,
                    stage=_STAGES[CampaignStage(record.stage)],
                    updated_time=timestamp(record.updated_ms),
                )
                for record in records
            ]
        )

    async def ChangeCampaign(
        self, request: firmware_pb2.ChangeCampaignRequest, context: Any
    ) -> firmware_pb2.ChangeCampaignResponse:
        _require_campaign_id(request.campaign_id)
        change = _CHANGES.get(request.change)
        if change is None:
            raise invalid("change", "must be given")
        view = await self._ask(request, ChangeCampaign(change), context)
        return firmware_pb2.ChangeCampaignResponse(campaign=_campaign_to_message(view))

    async def _ask(self, request: Any, wish: Any, context: Any) -> CampaignView:
        return await self._backend.ask(
            ActorRef(ActorKind.CAMPAIGN, request.campaign_id),
            wish,
            CampaignView,
            context,
            request_id=getattr(request, "request_id", ""),
        )

    async def _require_chargers(self, request: firmware_pb2.CreateCampaignRequest) -> None:
        wanted = [ChargerId(name) for wave in request.waves for name in wave.charger_ids]
        known = await self._backend.reader.chargers_named(wanted)
        for charger_id in wanted:
            if charger_id not in known:
                raise charger_unknown(charger_id)

    @staticmethod
    def _span_ms(field: str, given_s: float, default_s: float, *, least_s: float) -> int:
        span_s = seconds(field, given_s, default_s=default_s, least_s=least_s, most_s=_SPAN_MAX_S)
        return round(span_s * 1_000)

    async def _image(self, sha256: str) -> FirmwareImage:
        return await asyncio.to_thread(self._backend.files.store.firmware_image, sha256)

    def _image_to_message(self, image: FirmwareImage) -> firmware_pb2.FirmwareImage:
        return firmware_pb2.FirmwareImage(
            sha256=image.sha256,
            description=firmware_pb2.FirmwareDescription(
                version=image.version,
                name=image.name,
                signing_certificate=image.signing_certificate or "",
                signature=image.signature or "",
            ),
            size_bytes=image.size_bytes,
            stored_time=timestamp(image.stored_ms),
            url=self._backend.files.url(image.path),
        )


def _require_campaign_id(campaign_id: str) -> None:
    if not NAME_PATTERN.fullmatch(campaign_id):
        raise invalid("campaign_id", "1 to 63 of letters, digits and ._-")


def _campaign_to_message(view: CampaignView) -> firmware_pb2.Campaign:
    members = sorted(view.members, key=lambda member: member.wave)
    return firmware_pb2.Campaign(
        campaign_id=view.plan.campaign_id,
        version=view.plan.firmware.version,
        stage=_STAGES[view.stage],
        wave=view.wave,
        waves=len(view.plan.waves),
        installed=sum(member.installed for member in members),
        failed=sum(member.ended and not member.installed for member in members),
        failures_max=view.plan.failures_max,
        members=[
            firmware_pb2.CampaignMember(
                charger_id=member.charger_id,
                wave=member.wave,
                status=member.status,
                ended=member.ended,
                installed=member.installed,
                changed_time=timestamp(member.changed_ms or None),
            )
            for member in members
        ],
    )
