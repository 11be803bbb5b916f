"""`SessionsService`: what was delivered to whom, and what is still wanted by when."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from controlplane.api.backend import (
    Backend,
    Caller,
    ask_chargers,
    instant_ms,
    invalid,
    page_size,
    timestamp,
)
from controlplane.api.pace import Pace
from controlplane.api.v1 import electrical_pb2, sessions_pb2, sessions_pb2_grpc
from controlplane.charger.messages import AbandonSession, DischargeConsent, SetSessionNeed
from controlplane.errors import NotFound
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId, SiteId
from controlplane.store.records import MeterSample, SessionRecord, SessionState

__all__ = ["Sessions", "require_session", "session_to_message"]

_STATES = {
    sessions_pb2.SESSION_STATE_UNSPECIFIED: None,
    sessions_pb2.SESSION_STATE_ACTIVE: SessionState.ACTIVE,
    sessions_pb2.SESSION_STATE_ENDED: SessionState.ENDED,
}
_STATE_NUMBERS = {state: number for number, state in _STATES.items()}
_SAMPLES_DEFAULT = 1_000
_SAMPLES_MAX = 10_000
_NEED_MAX_WH = 10_000_000
_RESERVE = 50
"""Per cent, where the driver does not say."""


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
        sessions = await self._as_measured(sessions, context)
        return sessions_pb2.ListSessionsResponse(
            sessions=[session_to_message(session) for session in sessions], next_page_token=token
        )

    async def GetSession(
        self, request: sessions_pb2.GetSessionRequest, context: Any
    ) -> sessions_pb2.GetSessionResponse:
        stored = await require_session(self._backend, request.session_id)
        (session,) = await self._as_measured([stored], context)
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
        pace = Pace(
            request.interval_s,
            narrowed=bool(request.session_id or request.charger_id or request.site_id),
        )
        # The cursor is taken first: what happens while the sessions are read is told twice rather
        # than not at all.
        cursor = await self._backend.client.last_cursor()
        told: dict[str, SessionRecord] = {}
        async for response in self._unlike_told(request, told, context):
            yield response
        async for batch in self._backend.follow(cursor, interval_s=pace.wait_s):
            happened = {
                str(event.data["session_id"]): event.kind
                for event in batch
                if event.data.get("session_id")
                and request.session_id in {"", event.data["session_id"]}
            }
            for session_id, kind in happened.items():
                changed = await self._backend.reader.session(SessionId(session_id))
                if changed is not None and _matches(request, changed):
                    (session,) = await self._as_measured([changed], context)
                    if session.state is SessionState.ACTIVE or request.session_id:
                        told[session_id] = session
                    else:
                        told.pop(session_id, None)
                    yield sessions_pb2.WatchSessionsResponse(
                        session=session_to_message(session), event_kind=kind
                    )
            if pace.due():
                async for response in self._unlike_told(request, told, context):
                    yield response

    async def SetSessionNeed(
        self, request: sessions_pb2.SetSessionNeedRequest, context: Any
    ) -> sessions_pb2.SetSessionNeedResponse:
        need_wh = request.need_wh if request.HasField("need_wh") else None
        departure_ms = instant_ms(request, "departure_time")
        boost_until_ms = instant_ms(request, "boost_until_time")
        discharge = _consent(request)
        given = (need_wh, departure_ms, boost_until_ms, discharge)
        forgets = request.forget_need or request.forget_departure
        if not forgets and all(each is None for each in given):
            raise invalid(
                "need_wh",
                "a need, departure, boost, discharge or what to forget must be given",
            )
        if request.forget_need and need_wh is not None:
            raise invalid("forget_need", "not beside need_wh")
        if request.forget_departure and departure_ms is not None:
            raise invalid("forget_departure", "not beside departure_time")
        if need_wh is not None and not 0 <= need_wh <= _NEED_MAX_WH:
            raise invalid("need_wh", f"0 to {_NEED_MAX_WH} Wh")
        session = await require_session(self._backend, request.session_id)
        changed = await self._backend.ask(
            ActorRef(ActorKind.CHARGER, session.charger_id),
            SetSessionNeed(
                session_id=session.session_id,
                need_wh=need_wh,
                departure_ms=departure_ms,
                boost_until_ms=boost_until_ms,
                discharge=discharge,
                forget_need=request.forget_need,
                forget_departure=request.forget_departure,
            ),
            SessionRecord,
            context,
            request_id=request.request_id,
        )
        return sessions_pb2.SetSessionNeedResponse(session=session_to_message(changed))

    async def AbandonSession(
        self, request: sessions_pb2.AbandonSessionRequest, context: Any
    ) -> sessions_pb2.AbandonSessionResponse:
        session = await require_session(self._backend, request.session_id)
        closed = await self._backend.ask(
            ActorRef(ActorKind.CHARGER, session.charger_id),
            AbandonSession(session_id=session.session_id),
            SessionRecord,
            context,
            request_id=request.request_id,
        )
        return sessions_pb2.AbandonSessionResponse(session=session_to_message(closed))

    async def _as_measured(
        self, sessions: list[SessionRecord], caller: Caller
    ) -> list[SessionRecord]:
        """The sessions with the energy that their chargers know. The store is told of a session
        when it changes, not at every measurement."""
        charger_ids = {s.charger_id for s in sessions if s.state is SessionState.ACTIVE}
        views = await ask_chargers(self._backend, charger_ids, caller)
        energies_wh = {
            connector.session_id: connector.energy_wh
            for view in views.values()
            if view is not None
            for connector in view.connectors
        }
        return [
            msgspec.structs.replace(session, energy_wh=energies_wh[session.session_id])
            if session.state is SessionState.ACTIVE and session.session_id in energies_wh
            else session
            for session in sessions
        ]

    async def _unlike_told(
        self,
        request: sessions_pb2.WatchSessionsRequest,
        told: dict[str, SessionRecord],
        caller: Caller,
    ) -> AsyncIterator[sessions_pb2.WatchSessionsResponse]:
        """The active sessions that match and are not as they were `told`; one that is asked for by
        its id also when it has ended."""
        async for page in self._matching(request):
            for session in await self._as_measured(page, caller):
                if told.get(session.session_id) != session:
                    told[session.session_id] = session
                    yield sessions_pb2.WatchSessionsResponse(session=session_to_message(session))

    async def _matching(
        self, request: sessions_pb2.WatchSessionsRequest
    ) -> AsyncIterator[list[SessionRecord]]:
        if request.session_id:
            yield [await require_session(self._backend, request.session_id)]
            return
        token = ""
        while True:
            sessions, token = await self._backend.reader.sessions(
                site_id=SiteId(request.site_id) if request.site_id else None,
                charger_id=ChargerId(request.charger_id) if request.charger_id else None,
                state=SessionState.ACTIVE,
                page_size=page_size(0),
                page_token=token,
            )
            yield sessions
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
        boost_until_time=timestamp(session.boost_until_ms),
        start_station_time=timestamp(session.started_station_ms),
        start_receive_time=timestamp(session.started_received_ms),
        end_station_time=timestamp(session.ended_station_ms),
        end_receive_time=timestamp(session.ended_received_ms),
        missing_event_count=session.events_missing,
        token_status=session.token_status or "",
        exported_wh=session.exported_wh,
        discharge_reserve_percent=session.discharge_reserve_percent,
        credit=_credit(session),
    )


def _credit(session: SessionRecord) -> sessions_pb2.Credit | None:
    if not session.credit_currency:
        return None
    return sessions_pb2.Credit(
        energy_wh=session.credited_wh,
        amount=session.credit_amount,
        currency=session.credit_currency,
        price_per_kwh=session.credit_price_per_kwh,
    )


def _consent(request: sessions_pb2.SetSessionNeedRequest) -> DischargeConsent | None:
    if not request.HasField("discharge"):
        return None
    discharge = request.discharge
    if not discharge.allowed:
        return DischargeConsent(None)
    percent = discharge.reserve_percent if discharge.HasField("reserve_percent") else _RESERVE
    if not 0 <= percent <= 100:
        raise invalid("discharge.reserve_percent", "0 to 100")
    return DischargeConsent(percent)


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
