"""What the demonstration says to Loadstar over gRPC, as the building's meter and the drivers' app
would, and what it asks at the end.

Loadstar may be gone for seconds (its host is killed on purpose): every call has a time-out, and
what did not get through is said again a second later."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from controlplane.api.v1 import electrical_pb2, sessions_pb2, sessions_pb2_grpc
from controlplane.api.v1 import sites_pb2 as sites_pb
from controlplane.api.v1 import sites_pb2_grpc as sites_grpc
from controlplane.demo.audit import StoredSession
from controlplane.demo.reports import SessionReport
from controlplane.demo.scenario import Scenario
from controlplane.runtime.clock import Clock

__all__ = ["Link"]

logger = logging.getLogger(__name__)

CALL_TIMEOUT_S = 5.0
INTERVAL_S = 1.0


class Link:
    """A channel to Loadstar's gRPC server; use as an async context manager."""

    def __init__(self, address: str, scenario: Scenario, clock: Clock) -> None:
        self._scenario = scenario
        self._clock = clock
        self._channel = grpc.aio.insecure_channel(address)
        self._sites = sites_grpc.SitesServiceStub(self._channel)
        self._sessions = sessions_pb2_grpc.SessionsServiceStub(self._channel)
        self._told: set[tuple[str, str]] = set()
        self.last_failure = ""
        """Why the newest call that did not get through failed."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._channel.close(grace=None)

    async def report_buildings(self) -> None:
        """Report each site's building load every second, until cancelled."""
        while True:
            await asyncio.gather(*(self._report(site) for site in self._scenario.buildings))
            await asyncio.sleep(INTERVAL_S)

    async def _report(self, site_id: str) -> None:
        now_ms = self._clock.now_ms()
        l1_ma, l2_ma, l3_ma = (
            # Upwards: what the building draws is never told too low.
            int(current_a * 1_000) + 1
            for current_a in self._scenario.buildings[site_id].current_a(now_ms)
        )
        request = sites_pb.ReportBuildingLoadRequest(
            site_id=site_id,
            current=electrical_pb2.PhaseCurrents(l1_ma=l1_ma, l2_ma=l2_ma, l3_ma=l3_ma),
            measure_time=_timestamp(now_ms),
        )
        await self._attempt(self._sites.ReportBuildingLoad, request)

    async def tell_needs(self, sessions: Callable[[], Iterable[SessionReport]]) -> None:
        """Tell departure and need of each new session, once, until cancelled."""
        visits = {visit.id_token: visit for visit in self._scenario.visits}
        while True:
            for session in sessions():
                key = session.charger_id, session.transaction_id or ""
                if session.ended_ms is not None or not key[1] or key in self._told:
                    continue
                session_id = await self._session_id(*key)
                if session_id is None:
                    continue
                visit = visits[session.id_token]
                request = sessions_pb2.SetSessionNeedRequest(
                    session_id=session_id,
                    need_wh=visit.requested_wh,
                    departure_time=_timestamp(visit.departure_ms),
                    request_id=f"need-{session.charger_id}-{session.transaction_id}"[:128],
                )
                if await self._attempt(self._sessions.SetSessionNeed, request) is not None:
                    self._told.add(key)
            await asyncio.sleep(INTERVAL_S / 2)

    async def _session_id(self, charger_id: str, transaction_id: str) -> str | None:
        request = sessions_pb2.ListSessionsRequest(
            charger_id=charger_id, state=sessions_pb2.SESSION_STATE_ACTIVE
        )
        answer = await self._attempt(self._sessions.ListSessions, request)
        for session in () if answer is None else answer.sessions:
            if session.transaction_id == transaction_id:
                return str(session.session_id)
        return None

    async def stored_sessions(self) -> list[StoredSession] | None:
        """Every session in Loadstar's books, or None while it does not answer."""
        stored: list[StoredSession] = []
        page_token = ""
        while True:
            request = sessions_pb2.ListSessionsRequest(page_size=1_000, page_token=page_token)
            answer = await self._attempt(self._sessions.ListSessions, request)
            if answer is None:
                return None
            stored.extend(
                StoredSession(
                    charger_id=session.charger_id,
                    transaction_id=session.transaction_id,
                    ended=session.state == sessions_pb2.SESSION_STATE_ENDED,
                    energy_wh=session.energy_wh,
                )
                for session in answer.sessions
            )
            page_token = answer.next_page_token
            if not page_token:
                return stored

    async def _attempt(self, call: Any, request: Any) -> Any | None:
        try:
            return await call(request, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            self.last_failure = f"{type(request).__name__}: {error.code().name} {error.details()}"
            logger.info(self.last_failure)
            return None


def _timestamp(instant_ms: int) -> Timestamp:
    return Timestamp(seconds=instant_ms // 1_000, nanos=instant_ms % 1_000 * 1_000_000)
