"""`SessionsService`: what was delivered to whom, and what is still wanted by when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from controlplane.api.backend import Backend, instant_ms, invalid, page_size, timestamp
from controlplane.api.v1 import electrical_pb2, sessions_pb2, sessions_pb2_grpc
from controlplane.charger.messages import SetSessionNeed
from controlplane.errors import NotFound
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId, SiteId
from controlplane.store.records import MeterSample, SessionRecord, SessionState

__all__ = ["Sessions", "require_session"]

_STATES = {
    sessions_pb2.SESSION_STATE_UNSPECIFIED: None,
    sessions_pb2.SESSION_STATE_ACTIVE: SessionState.ACTIVE,
    sessions_pb2.SESSION_STATE_ENDED: SessionState.ENDED,
}
_STATE_NUMBERS = {state: number for number, state in _STATES.items()}
_SAMPLES_DEFAULT = 1_000
_SAMPLES_MAX = 10_000
_NEED_MAX_WH = 10_000_000


class Sessions(sessions_pb2_grpc.SessionsServiceServicer):
    """Answers `controlplane.api.v1.SessionsService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ListSessions(
        self, request: sessions_pb2.ListSessionsRequest, context: Any
    ) -> sessions_pb2.ListSessionsResponse:
        if request.state not in _STATES:
            raise invalid("state", "not a state of a session")
        sessions, token = await self._backend.reader.sessions(
            site_id=SiteId(request.site_id) if request.site_id else None,
            charger_id=ChargerId(request.charger_id) if request.charger_id else None,
            state=_STATES[request.state],
            page_size=page_size(request.page_size),
            page_token=request.page_token,
        )
        return sessions_pb2.ListSessionsResponse(
            sessions=[session_to_message(session) for session in sessions], next_page_token=token
        )

    async def GetSession(
        self, request: sessions_pb2.GetSessionRequest, context: Any
    ) -> sessions_pb2.GetSessionResponse:
        session = await require_session(self._backend, request.session_id)
        return sessions_pb2.GetSessionResponse(session=session_to_message(session))

    async def ListMeterSamples(
        self, request: sessions_pb2.ListMeterSamplesRequest, context: Any
    ) -> sessions_pb2.ListMeterSamplesResponse:
        if not 0 <= request.limit <= _SAMPLES_MAX:
            raise invalid("limit", f"1 to {_SAMPLES_MAX}, or 0 for {_SAMPLES_DEFAULT}")
        session = await require_session(self._backend, request.session_id)
        samples = await self._backend.reader.meter_samples(
            session.session_id, request.limit or _SAMPLES_DEFAULT
        )
        return sessions_pb2.ListMeterSamplesResponse(
            samples=[_sample_to_message(sample) for sample in samples]
        )

    async def WatchSessions(
        self, request: sessions_pb2.WatchSessionsRequest, context: Any
    ) -> AsyncIterator[sessions_pb2.WatchSessionsResponse]:
        # The cursor is taken first: what happens while the sessions are read is told twice rather
        # than not at all.
        cursor = await self._backend.client.last_cursor()
        if request.session_id:
            session = await require_session(self._backend, request.session_id)
            yield sessions_pb2.WatchSessionsResponse(session=session_to_message(session))
        else:
            async for session in self._active(request):
                yield sessions_pb2.WatchSessionsResponse(session=session_to_message(session))
        async for batch in self._backend.follow(cursor):
            happened = {
                str(event.data["session_id"]): event.kind
                for event in batch
                if event.data.get("session_id")
                and request.session_id in {"", event.data["session_id"]}
            }
            for session_id, kind in happened.items():
                changed = await self._backend.reader.session(SessionId(session_id))
                if changed is not None and _matches(request, changed):
                    yield sessions_pb2.WatchSessionsResponse(
                        session=session_to_message(changed), event_kind=kind
                    )

    async def SetSessionNeed(
        self, request: sessions_pb2.SetSessionNeedRequest, context: Any
    ) -> sessions_pb2.SetSessionNeedResponse:
        need_wh = request.need_wh if request.HasField("need_wh") else None
        departure_ms = instant_ms(request, "departure_time")
        if need_wh is None and departure_ms is None:
            raise invalid("need_wh", "need_wh or departure_time must be given")
        if need_wh is not None and not 0 <= need_wh <= _NEED_MAX_WH:
            raise invalid("need_wh", f"0 to {_NEED_MAX_WH} Wh")
        session = await require_session(self._backend, request.session_id)
        changed = await self._backend.ask(
            ActorRef(ActorKind.CHARGER, session.charger_id),
            SetSessionNeed(
                session_id=session.session_id, need_wh=need_wh, departure_ms=departure_ms
            ),
            SessionRecord,
            context,
            request_id=request.request_id,
        )
        return sessions_pb2.SetSessionNeedResponse(session=session_to_message(changed))

    async def _active(
        self, request: sessions_pb2.WatchSessionsRequest
    ) -> AsyncIterator[SessionRecord]:
        token = ""
        while True:
            sessions, token = await self._backend.reader.sessions(
                site_id=SiteId(request.site_id) if request.site_id else None,
                charger_id=ChargerId(request.charger_id) if request.charger_id else None,
                state=SessionState.ACTIVE,
                page_size=page_size(0),
                page_token=token,
            )
            for session in sessions:
                yield session
            if not token:
                return


async def require_session(backend: Backend, session_id: str) -> SessionRecord:
    """The session.

    Raises:
        NotFound: there is none.
    """
    session = await backend.reader.session(SessionId(session_id)) if session_id else None
    if session is None:
        raise NotFound(
            f"there is no session {session_id!r}",
            reason="SESSION_UNKNOWN",
            metadata={"session_id": session_id},
        )
    return session


def session_to_message(session: SessionRecord) -> sessions_pb2.Session:
    """A session as a message."""
    return sessions_pb2.Session(
        session_id=session.session_id,
        charger_id=session.charger_id,
        site_id=session.site_id or "",
        connector_id=session.connector_id,
        transaction_id=session.transaction_id,
        id_token=session.id_token or "",
        state=_STATE_NUMBERS[session.state],
        start_time=timestamp(session.started_ms),
        end_time=timestamp(session.ended_ms),
        meter_start_wh=session.meter_start_wh,
        meter_stop_wh=session.meter_stop_wh,
        energy_wh=session.energy_wh,
        need_wh=session.need_wh,
        departure_time=timestamp(session.departure_ms),
        stop_reason=session.stop_reason or "",
    )


def _matches(request: sessions_pb2.WatchSessionsRequest, session: SessionRecord) -> bool:
    return request.site_id in {"", session.site_id} and request.charger_id in {
        "",
        session.charger_id,
    }


def _sample_to_message(sample: MeterSample) -> sessions_pb2.MeterSample:
    return sessions_pb2.MeterSample(
        measure_time=timestamp(sample.at_ms),
        receive_time=timestamp(sample.received_ms),
        energy_wh=sample.energy_wh,
        power_w=sample.power_w,
        current=electrical_pb2.ConductorCurrents(
            l1_ma=sample.current_l1_ma, l2_ma=sample.current_l2_ma, l3_ma=sample.current_l3_ma
        ),
        soc_percent=sample.soc_percent,
    )
