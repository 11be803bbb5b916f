"""Firmware and logs over the public API: a real node, a real file server, stations that fetch and
bring real files."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import asyncio
import base64
import datetime
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from grpc_node import serving
from grpc_stations import Station16, Station201
from grpc_stations import connected as station_connected
from ocpp.routing import after, on
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from ocpp.v201 import call as call201
from ocpp.v201 import call_result as result201

from controlplane.api.server import ApiServer
from controlplane.api.v1 import (
    chargers_pb2,
    firmware_pb2,
    firmware_pb2_grpc,
    logs_pb2,
    logs_pb2_grpc,
    network_pb2,
    sites_pb2,
    sites_pb2_grpc,
)
from controlplane.config import Settings
from controlplane.files.server import FileServer
from controlplane.files.signing import Grant
from controlplane.files.store import FileStore

IMAGE = bytes(range(256)) * 5_000


class Sixteen(Station16):
    """Fetches what it is told to and becomes that version at its next boot; brings its log by a
    form, as many do."""

    fetched = b""
    broken = False

    @on("UpdateFirmware")
    def on_update(self, location: str, **_: Any) -> Any:
        return result16.UpdateFirmware()

    @after("UpdateFirmware")
    def after_update(self, location: str, **_: Any) -> None:
        self._later(self.update(location))

    async def update(self, location: str) -> None:
        await self.call(call16.FirmwareStatusNotification(status="Downloading"))
        if self.broken:
            await self.call(call16.FirmwareStatusNotification(status="DownloadFailed"))
            return
        async with httpx.AsyncClient() as http:
            self.fetched = (await http.get(location)).content
        await self.call(call16.FirmwareStatusNotification(status="Installing"))
        # It never says Installed: it restarts.
        await self.call(
            call16.BootNotification(
                charge_point_model="Sixteen", charge_point_vendor="Maker", firmware_version="2.0"
            )
        )

    @on("GetDiagnostics")
    def on_diagnostics(self, location: str, **_: Any) -> Any:
        return result16.GetDiagnostics(file_name="diag.zip")

    @after("GetDiagnostics")
    def after_diagnostics(self, location: str, **_: Any) -> None:
        self._later(self.bring(location))

    async def bring(self, location: str) -> None:
        await self.call(call16.DiagnosticsStatusNotification(status="Uploading"))
        async with httpx.AsyncClient() as http:
            form = {"file": ("diag.zip", b"what happened")}
            status = (await http.post(location, files=form)).status_code
        ended = "Uploaded" if status == 201 else "UploadFailed"
        await self.call(call16.DiagnosticsStatusNotification(status=ended))


class TwoOhOne(Station201):
    """Checks what it fetched against the signature; brings its log by PUT with a name."""

    fetched = b""

    def __init__(self, id: str, connection: Any) -> None:
        super().__init__(id, connection)
        self.work: set[asyncio.Task[None]] = set()

    def _later(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self.work.add(task)
        task.add_done_callback(self.work.discard)

    @on("UpdateFirmware")
    def on_update(self, request_id: int, firmware: dict[str, Any], **_: Any) -> Any:
        return result201.UpdateFirmware(status="Accepted")

    @after("UpdateFirmware")
    def after_update(self, request_id: int, firmware: dict[str, Any], **_: Any) -> None:
        self._later(self.update(request_id, firmware))

    async def update(self, request_id: int, firmware: dict[str, Any]) -> None:
        async with httpx.AsyncClient() as http:
            self.fetched = (await http.get(firmware["location"])).content
        certificate = x509.load_pem_x509_certificate(firmware["signing_certificate"].encode())
        key = certificate.public_key()
        assert isinstance(key, ec.EllipticCurvePublicKey)
        key.verify(base64.b64decode(firmware["signature"]), self.fetched, ec.ECDSA(hashes.SHA256()))
        for status in ("Downloaded", "SignatureVerified", "Installing", "Installed"):
            await self.call(
                call201.FirmwareStatusNotification(status=status, request_id=request_id)
            )

    @on("GetLog")
    def on_log(self, request_id: int, log: dict[str, Any], **_: Any) -> Any:
        return result201.GetLog(status="Accepted", filename="security.log")

    @after("GetLog")
    def after_log(self, request_id: int, log: dict[str, Any], **_: Any) -> None:
        self._later(self.bring(request_id, log["remote_location"]))

    async def bring(self, request_id: int, location: str) -> None:
        async with httpx.AsyncClient() as http:
            status = (await http.put(f"{location}/security.log", content=b"events")).status_code
        ended = "Uploaded" if status == 201 else "UploadFailure"
        await self.call(call201.LogStatusNotification(status=ended, request_id=request_id))


class Loadstar:
    def __init__(self, api: ApiServer, channel: grpc.aio.Channel, store: Path, port: int) -> None:
        self.firmware = firmware_pb2_grpc.FirmwareServiceStub(channel)
        self.logs = logs_pb2_grpc.LogsServiceStub(channel)
        self.files_url = api.files_url
        self.store = FileStore(store, max_bytes=2**30)
        self.ocpp_port = port

    async def upload(self, version: str, **description: str) -> firmware_pb2.FirmwareImage:
        def parts() -> Iterator[firmware_pb2.UploadFirmwareRequest]:
            yield firmware_pb2.UploadFirmwareRequest(
                description=firmware_pb2.FirmwareDescription(
                    version=version, name="../../evil name.bin", **description
                )
            )
            for start in range(0, len(IMAGE), 500_000):
                yield firmware_pb2.UploadFirmwareRequest(content=IMAGE[start : start + 500_000])

        return (await self.firmware.UploadFirmware(parts())).image

    async def campaign(self) -> firmware_pb2.Campaign:
        request = firmware_pb2.GetCampaignRequest(campaign_id="spring")
        return (await self.firmware.GetCampaign(request)).campaign

    @asynccontextmanager
    async def station(self, kind: type[Any], id: str) -> AsyncIterator[Any]:
        async with station_connected(kind, id, self.ocpp_port) as station:
            yield station


@pytest.fixture
async def loadstar(tmp_path: Path) -> AsyncIterator[Loadstar]:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0, files_port=0)
    async with serving(settings) as (node, api, channel):
        chargers = [
            network_pb2.ChargerDescription(id=name, circuit="supply")
            for name in ("CP1", "CP2", "CP3")
        ]
        site = network_pb2.SiteDescription(
            id="S1",
            circuits=[network_pb2.CircuitDescription(id="supply", rating_a=100)],
            chargers=chargers,
        )
        await sites_pb2_grpc.SitesServiceStub(channel).CreateSite(
            sites_pb2.CreateSiteRequest(site=site)
        )
        yield Loadstar(api, channel, tmp_path / "files", node.ocpp_port)


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not await condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)


def signed(image: bytes) -> dict[str, str]:
    """A maker's certificate and signature."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Maker")])
    instant = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(instant)
        .not_valid_after(instant + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return {
        "signing_certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
        "signature": base64.b64encode(key.sign(image, ec.ECDSA(hashes.SHA256()))).decode(),
    }


async def test_a_charger_fetches_firmware_and_is_known_by_its_next_boot(loadstar: Loadstar) -> None:
    image = await loadstar.upload("2.0")
    assert image.sha256 == hashlib.sha256(IMAGE).hexdigest()
    async with loadstar.station(Sixteen, "CP1") as station:
        request = firmware_pb2.UpdateFirmwareRequest(charger_id="CP1", sha256=image.sha256)
        outcome = (await loadstar.firmware.UpdateFirmware(request)).outcome
        assert outcome.state == chargers_pb2.COMMAND_STATE_ACCEPTED

        async def ended() -> bool:
            asked = firmware_pb2.GetUpdateRequest(charger_id="CP1")
            update = await loadstar.firmware.GetUpdate(asked)
            return bool(update.ended and update.status == "Installed")

        await until(ended)
        assert station.fetched == IMAGE


async def test_signed_firmware_reaches_the_station_with_its_signature(loadstar: Loadstar) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await loadstar.upload("2.0", **signed(b"another file"))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    image = await loadstar.upload("2.0", **signed(IMAGE))
    async with loadstar.station(TwoOhOne, "CP2") as station:
        request = firmware_pb2.UpdateFirmwareRequest(charger_id="CP2", sha256=image.sha256)
        await loadstar.firmware.UpdateFirmware(request)

        async def ended() -> bool:
            asked = firmware_pb2.GetUpdateRequest(charger_id="CP2")
            return bool((await loadstar.firmware.GetUpdate(asked)).status == "Installed")

        await until(ended)
        assert station.fetched == IMAGE


async def test_a_campaign_stops_after_the_wave_that_failed_and_goes_on_when_resumed(
    loadstar: Loadstar,
) -> None:
    image = await loadstar.upload("2.0")
    async with (
        loadstar.station(Sixteen, "CP1") as first,
        loadstar.station(Sixteen, "CP3") as second,
    ):
        first.broken = True
        await loadstar.firmware.CreateCampaign(
            firmware_pb2.CreateCampaignRequest(
                campaign_id="spring",
                sha256=image.sha256,
                waves=[
                    firmware_pb2.CampaignWave(charger_ids=["CP1"]),
                    firmware_pb2.CampaignWave(charger_ids=["CP3"]),
                ],
                pause_s=0,
            )
        )

        async def in_stage(stage: Any) -> bool:
            return bool((await loadstar.campaign()).stage == stage)

        await until(lambda: in_stage(firmware_pb2.CAMPAIGN_STAGE_STOPPED))
        assert second.fetched == b""
        first.broken = False
        await loadstar.firmware.ChangeCampaign(
            firmware_pb2.ChangeCampaignRequest(
                campaign_id="spring", change=firmware_pb2.CAMPAIGN_CHANGE_RESUME
            )
        )
        await until(lambda: in_stage(firmware_pb2.CAMPAIGN_STAGE_DONE))
        campaign = await loadstar.campaign()
        assert (campaign.installed, campaign.failed) == (2, 0)
        assert first.fetched == second.fetched == IMAGE


async def test_logs_come_in_by_form_and_by_name_and_keep_their_signed_facts(
    loadstar: Loadstar,
) -> None:
    async with (
        loadstar.station(Sixteen, "CP1"),
        loadstar.station(TwoOhOne, "CP2"),
    ):
        await loadstar.logs.RequestLog(logs_pb2.RequestLogRequest(charger_id="CP1"))
        asked = logs_pb2.RequestLogRequest(charger_id="CP2", kind=logs_pb2.LOG_KIND_SECURITY)
        assert (await loadstar.logs.RequestLog(asked)).name == "security.log"
        for charger_id, content in (("CP1", b"what happened"), ("CP2", b"events")):

            async def uploaded(charger_id: str = charger_id) -> bool:
                request = logs_pb2.GetUploadRequest(charger_id=charger_id)
                return bool((await loadstar.logs.GetUpload(request)).status == "Uploaded")

            await until(uploaded)
            listed = await loadstar.logs.ListLogs(logs_pb2.ListLogsRequest(charger_id=charger_id))
            (log,) = listed.logs
            request = logs_pb2.ReadLogRequest(charger_id=charger_id, log_id=log.log_id)
            parts = [part async for part in loadstar.logs.ReadLog(request)]
            assert parts[0].authentic
            assert b"".join(part.content for part in parts) == content
    _, path = loadstar.store.log("CP2", log.log_id)
    path.write_bytes(b"nothing")
    parts = [part async for part in loadstar.logs.ReadLog(request)]
    assert not parts[0].authentic


async def test_an_address_that_was_made_up_or_ran_out_brings_nothing(loadstar: Loadstar) -> None:
    old = loadstar.store.signer.token(Grant("CP1", 1, "diagnostics", 1))
    good = loadstar.store.signer.token(Grant("CP1", 1, "diagnostics", 2**40))
    async with httpx.AsyncClient(base_url=loadstar.files_url) as http:
        for token in (old, good[:-3] + "abc", "x"):
            assert (await http.put(f"/logs/{token}", content=b"x")).status_code == 403
        assert (await http.put(f"/logs/{good}", content=b"")).status_code == 400
        assert (await http.get("/firmware/../../loadstar.db/x")).status_code == 404
        assert (await http.get(f"/firmware/{'0' * 64}/x")).status_code == 404
    assert loadstar.store.logs("CP1") == []
    assert list((loadstar.store._directory / "incoming").iterdir()) == []


async def test_a_file_that_is_too_long_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    store = FileStore(tmp_path, max_bytes=1_000)
    server = FileServer(store)
    await server.start("127.0.0.1", 0)
    token = store.signer.token(Grant("CP1", 1, "diagnostics", 2**40))
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http:
        assert (await http.put(f"/logs/{token}", content=b"x" * 1_001)).status_code == 413
        assert (await http.put(f"/logs/{token}", content=b"x" * 1_000)).status_code == 201
    await server.stop()
    assert [log.size_bytes for log in store.logs("CP1")] == [1_000]
    assert list((tmp_path / "incoming").iterdir()) == []
