"""The API server itself: health, reflection, ports, what it counts."""

from __future__ import annotations

from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_node import Loadstar
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from controlplane.api.server import serve
from controlplane.api.v1 import (
    system_pb2,
    system_pb2_grpc,
)
from controlplane.config import Settings
from controlplane.errors import Precondition


async def test_health_and_reflection(loadstar: Loadstar) -> None:
    health = health_pb2_grpc.HealthStub(loadstar.channel)
    for service in ("", "controlplane.api.v1.ChargersService"):
        told = await health.Check(health_pb2.HealthCheckRequest(service=service))
        assert told.status == health_pb2.HealthCheckResponse.SERVING
    stub = reflection_pb2_grpc.ServerReflectionStub(loadstar.channel)
    request = reflection_pb2.ServerReflectionRequest(list_services="")
    call = stub.ServerReflectionInfo(iter([request]))
    names = {service.name async for r in call for service in r.list_services_response.service}
    assert {
        f"controlplane.api.v1.{name}Service"
        for name in (
            *("Allocation", "Chargers", "Grid", "Journal"),
            *("Network", "Sessions", "Sites", "System"),
        )
    } <= names


async def test_a_taken_port_is_refused(loadstar: Loadstar, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, grpc_port=loadstar.api.port)
    with pytest.raises(Precondition, match="cannot listen for gRPC"):
        await serve(settings, loadstar.node.client, loadstar.node.reader)


async def test_status_counts(example: Loadstar) -> None:
    found = await system_pb2_grpc.SystemServiceStub(example.channel).GetStatus(
        system_pb2.GetStatusRequest()
    )
    assert (found.feeder_count, found.site_count, found.charger_count) == (1, 2, 6)
    assert found.active_session_count == 0
    assert found.journal_cursor > 0
    assert found.clock_speed == 1
