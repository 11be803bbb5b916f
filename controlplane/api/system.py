"""`SystemService`: Loadstar itself."""

from __future__ import annotations

from typing import Any

import controlplane
from controlplane.api.backend import Backend, timestamp
from controlplane.api.v1 import system_pb2, system_pb2_grpc

__all__ = ["System"]


class System(system_pb2_grpc.SystemServiceServicer):
    """Answers `controlplane.api.v1.SystemService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._started_ms = backend.clock.now_ms()

    async def GetStatus(
        self, request: system_pb2.GetStatusRequest, context: Any
    ) -> system_pb2.GetStatusResponse:
        counts = await self._backend.reader.counts()
        return system_pb2.GetStatusResponse(
            version=controlplane.__version__,
            time=timestamp(self._backend.clock.now_ms()),
            clock_speed=self._backend.clock.speed,
            start_time=timestamp(self._started_ms),
            journal_cursor=await self._backend.reader.last_cursor(),
            feeder_count=counts.feeders,
            site_count=counts.sites,
            charger_count=counts.chargers,
            active_session_count=counts.active_sessions,
        )
