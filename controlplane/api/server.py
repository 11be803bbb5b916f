"""Listens for gRPC: the services, health, reflection, and the bounds within which all of it
stays."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from controlplane.api.allocation import Allocations
from controlplane.api.backend import MESSAGE_MAX_BYTES, Backend, Files
from controlplane.api.battery_swap import BatterySwap
from controlplane.api.bidirectional import Bidirectional
from controlplane.api.calls import CallInterceptor
from controlplane.api.certificates import Certificates
from controlplane.api.chargers import Chargers
from controlplane.api.charging_profiles import ChargingProfiles
from controlplane.api.cluster import Cluster, NodeControl
from controlplane.api.commands import Commands
from controlplane.api.configuring import Change, apply_network
from controlplane.api.customers import Customers
from controlplane.api.der import Der
from controlplane.api.device_model import DeviceModel
from controlplane.api.display import Display
from controlplane.api.errors import ErrorInterceptor
from controlplane.api.event_streams import EventStreams
from controlplane.api.firmware import FirmwareCalls
from controlplane.api.flexibility import Flexibility
from controlplane.api.grid import Grid
from controlplane.api.journal import Journal
from controlplane.api.logs import Logs
from controlplane.api.network import Network
from controlplane.api.onboarding import Onboarding
from controlplane.api.payments import Payments
from controlplane.api.planning import PlanningCalls
from controlplane.api.quarantine import Quarantine
from controlplane.api.reservations import Reservations
from controlplane.api.security import SecurityOfChargers
from controlplane.api.sessions import Sessions
from controlplane.api.sites import Sites
from controlplane.api.system import System
from controlplane.api.tariffs import Tariffs
from controlplane.api.tokens import Tokens
from controlplane.api.v1 import (
    allocation_pb2,
    allocation_pb2_grpc,
    battery_swap_pb2,
    battery_swap_pb2_grpc,
    bidirectional_pb2,
    bidirectional_pb2_grpc,
    certificates_pb2,
    certificates_pb2_grpc,
    chargers_pb2,
    chargers_pb2_grpc,
    charging_profiles_pb2,
    charging_profiles_pb2_grpc,
    cluster_pb2,
    cluster_pb2_grpc,
    commands_pb2,
    commands_pb2_grpc,
    customers_pb2,
    customers_pb2_grpc,
    der_pb2,
    der_pb2_grpc,
    device_model_pb2,
    device_model_pb2_grpc,
    display_pb2,
    display_pb2_grpc,
    event_streams_pb2,
    event_streams_pb2_grpc,
    firmware_pb2,
    firmware_pb2_grpc,
    flexibility_pb2,
    flexibility_pb2_grpc,
    grid_pb2,
    grid_pb2_grpc,
    journal_pb2,
    journal_pb2_grpc,
    logs_pb2,
    logs_pb2_grpc,
    network_pb2,
    network_pb2_grpc,
    payments_pb2,
    payments_pb2_grpc,
    planning_pb2,
    planning_pb2_grpc,
    quarantine_pb2,
    quarantine_pb2_grpc,
    reservations_pb2,
    reservations_pb2_grpc,
    security_pb2,
    security_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
    sites_pb2,
    sites_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
    tariffs_pb2,
    tariffs_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
    what_if_pb2,
    what_if_pb2_grpc,
)
from controlplane.api.what_if import WhatIf
from controlplane.config import Settings
from controlplane.errors import Precondition
from controlplane.files.server import FileServer
from controlplane.files.store import FileStore
from controlplane.network import NetworkConfig
from controlplane.runtime import catalogue
from controlplane.runtime.client import ActorClient
from controlplane.runtime.clock import Clock, SystemClock
from controlplane.runtime.metrics import Meter
from controlplane.runtime.monitor import SUPERVISOR
from controlplane.runtime.tracing import Tracing
from controlplane.store.reader import StoreReader

__all__ = ["ApiServer", "serve"]

_CALLS_MAX = 4_096
_GRACE_S = 2.0
_OPTIONS = [
    ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES),
    ("grpc.max_send_message_length", MESSAGE_MAX_BYTES),
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.max_concurrent_streams", 1_024),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    # A caller that pings more often than this is told to go away (ENHANCE_YOUR_CALM).
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    # Two servers on one port would each get half of the calls.
    ("grpc.so_reuseport", 0),
]
_log = structlog.get_logger(__name__)


class _Ourselves:
    """A caller within this process, who waits as long as it takes."""

    def time_remaining(self) -> float | None:
        return None


class ApiServer:
    """A listening gRPC server."""

    def __init__(
        self,
        backend: Backend,
        server: grpc.aio.Server,
        health_service: Any,
        port: int,
        *,
        files: FileServer | None,
        calls: CallInterceptor,
    ) -> None:
        self._backend = backend
        self._files = files
        self._calls = calls
        self._server = server
        self._health = health_service
        self._onboarding = Onboarding(backend)
        self._onboarding.start()
        self.port = port
        """Where it listens; never 0."""

    @property
    def meters(self) -> list[Meter]:
        """What is measured of calls and of files."""
        meter = Meter()
        files = self._files
        if files is not None:
            meter.watch(catalogue.FILES, files.counts)
        return [self._calls.meter, meter]

    @property
    def files_url(self) -> str:
        """Where stations fetch and bring files; empty where they do not."""
        return self._backend.files.base_url

    async def apply(self, network: NetworkConfig) -> list[Change]:
        """Bring a description into force, as `NetworkService.ApplyNetwork` does.

        Raises:
            LoadstarError: see `configuring.apply_network`.
        """
        return await apply_network(self._backend, network, _Ourselves(), request_id="")

    async def stop(self) -> None:
        """Say that it is going, let running calls end for a moment, cut off streams."""
        await self._onboarding.stop()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(_GRACE_S)
        if self._files is not None:
            await self._files.stop()
        await asyncio.to_thread(self._calls.close)
        _log.info("api_stopped", port=self.port)


async def serve(
    settings: Settings,
    client: ActorClient,
    reader: StoreReader,
    *,
    clock: Clock | None = None,
    node: NodeControl | None = None,
) -> ApiServer:
    """Listen on `settings.grpc_host` and `settings.grpc_port` (0: a free port), and for HTTP where
    `settings.files_port` says so.

    `clock` is the one that actors are driven by; the machine's where it is not given. `node` is
    where this server runs.

    Raises:
        Precondition: the address is taken or not of this machine.
    """
    calls = CallInterceptor(Tracing(settings, SUPERVISOR))
    server = grpc.aio.server(
        interceptors=[calls, ErrorInterceptor()],
        options=_OPTIONS,
        maximum_concurrent_rpcs=_CALLS_MAX,
    )
    address = f"{settings.grpc_host}:{settings.grpc_port}"
    try:
        port = server.add_insecure_port(address)
    except RuntimeError as error:
        raise Precondition(
            f"cannot listen for gRPC on {address}: {error}", reason="GRPC_ADDRESS_UNUSABLE"
        ) from error
    store = await asyncio.to_thread(
        FileStore, settings.data_dir / "files", max_bytes=settings.file_max_bytes
    )
    files = await _serve_files(settings, store)
    base_url = settings.files_url
    if files is not None and not base_url:
        base_url = f"http://{settings.files_host}:{files.port}"
    backend = Backend(settings, client, reader, clock or SystemClock(), Files(store, base_url))
    health_service: Any = health.aio.HealthServicer()  # type: ignore[attr-defined]
    health_pb2_grpc.add_HealthServicer_to_server(health_service, server)
    names = [health.SERVICE_NAME, *_add_services(backend, server, node), reflection.SERVICE_NAME]
    reflection.enable_server_reflection(names, server)
    await server.start()
    for name in ("", *names):
        await health_service.set(name, health_pb2.HealthCheckResponse.SERVING)
    _log.info("api_listening", host=settings.grpc_host, port=port)
    return ApiServer(backend, server, health_service, port, files=files, calls=calls)


async def _serve_files(settings: Settings, store: FileStore) -> FileServer | None:
    if settings.files_port is None:
        return None
    files = FileServer(store)
    try:
        await files.start(settings.files_host, settings.files_port)
    except OSError as error:
        raise Precondition(
            f"cannot serve files on {settings.files_host}:{settings.files_port}: {error}",
            reason="FILES_ADDRESS_UNUSABLE",
        ) from error
    return files


def _add_services(backend: Backend, server: grpc.aio.Server, node: NodeControl | None) -> list[str]:
    """Add every service of the contract; their full names."""
    allocation_pb2_grpc.add_AllocationServiceServicer_to_server(Allocations(), server)
    certificates_pb2_grpc.add_CertificatesServiceServicer_to_server(Certificates(backend), server)
    cluster_pb2_grpc.add_ClusterServiceServicer_to_server(Cluster(backend, node), server)
    chargers_pb2_grpc.add_ChargersServiceServicer_to_server(Chargers(backend), server)
    device_model_pb2_grpc.add_DeviceModelServiceServicer_to_server(DeviceModel(backend), server)
    charging_profiles_pb2_grpc.add_ChargingProfilesServiceServicer_to_server(
        ChargingProfiles(backend), server
    )
    commands_pb2_grpc.add_CommandsServiceServicer_to_server(Commands(backend), server)
    customers_pb2_grpc.add_CustomersServiceServicer_to_server(Customers(backend), server)
    display_pb2_grpc.add_DisplayServiceServicer_to_server(Display(backend), server)
    firmware_pb2_grpc.add_FirmwareServiceServicer_to_server(FirmwareCalls(backend), server)
    logs_pb2_grpc.add_LogsServiceServicer_to_server(Logs(backend), server)
    grid_pb2_grpc.add_GridServiceServicer_to_server(Grid(backend), server)
    journal_pb2_grpc.add_JournalServiceServicer_to_server(Journal(backend), server)
    network_pb2_grpc.add_NetworkServiceServicer_to_server(Network(backend), server)
    quarantine_pb2_grpc.add_QuarantineServiceServicer_to_server(Quarantine(backend), server)
    reservations_pb2_grpc.add_ReservationsServiceServicer_to_server(Reservations(backend), server)
    security_pb2_grpc.add_SecurityServiceServicer_to_server(SecurityOfChargers(backend), server)
    sessions_pb2_grpc.add_SessionsServiceServicer_to_server(Sessions(backend), server)
    sites_pb2_grpc.add_SitesServiceServicer_to_server(Sites(backend), server)
    system_pb2_grpc.add_SystemServiceServicer_to_server(System(backend), server)
    battery_swap_pb2_grpc.add_BatterySwapServiceServicer_to_server(BatterySwap(backend), server)
    bidirectional_pb2_grpc.add_BidirectionalServiceServicer_to_server(
        Bidirectional(backend), server
    )
    der_pb2_grpc.add_DerServiceServicer_to_server(Der(backend), server)
    event_streams_pb2_grpc.add_EventStreamsServiceServicer_to_server(EventStreams(backend), server)
    payments_pb2_grpc.add_PaymentsServiceServicer_to_server(Payments(backend), server)
    planning_pb2_grpc.add_PlanningServiceServicer_to_server(PlanningCalls(backend), server)
    tariffs_pb2_grpc.add_TariffsServiceServicer_to_server(Tariffs(backend), server)
    flexibility_pb2_grpc.add_FlexibilityServiceServicer_to_server(Flexibility(backend), server)
    tokens_pb2_grpc.add_TokensServiceServicer_to_server(Tokens(backend), server)
    what_if_pb2_grpc.add_WhatIfServiceServicer_to_server(WhatIf(backend), server)
    return [
        service.full_name
        for file in (
            allocation_pb2,
            battery_swap_pb2,
            bidirectional_pb2,
            certificates_pb2,
            chargers_pb2,
            cluster_pb2,
            der_pb2,
            event_streams_pb2,
            device_model_pb2,
            charging_profiles_pb2,
            commands_pb2,
            customers_pb2,
            display_pb2,
            firmware_pb2,
            grid_pb2,
            journal_pb2,
            logs_pb2,
            network_pb2,
            payments_pb2,
            planning_pb2,
            quarantine_pb2,
            reservations_pb2,
            security_pb2,
            sessions_pb2,
            sites_pb2,
            system_pb2,
            flexibility_pb2,
            tariffs_pb2,
            tokens_pb2,
            what_if_pb2,
        )
        for service in file.DESCRIPTOR.services_by_name.values()
    ]
