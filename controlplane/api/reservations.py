"""`ReservationsService`: connectors that chargers keep for drivers."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import (
    Backend,
    instant_ms,
    invalid,
    page_size,
    required,
    timestamp,
)
from controlplane.api.executing import (
    Replay,
    carry_out,
    command_timeout_s,
    connector_number,
    outcome_of,
    require_charger,
)
from controlplane.api.tokens import token_type
from controlplane.api.v1 import reservations_pb2, reservations_pb2_grpc
from controlplane.charger.messages import CancelReserved, ReservationAnswer, ReserveConnector
from controlplane.errors import NotFound
from controlplane.ids import ChargerId, SiteId
from controlplane.store.records import ReservationRecord, ReservationState
from controlplane.tokens import ID_TOKEN_MAX, TokenType

__all__ = ["Reservations"]

_CONNECTOR_TYPE_MAX = 20

_STATES = {
    state: reservations_pb2.ReservationState.Value(f"RESERVATION_STATE_{state.name}")
    for state in ReservationState
}


class Reservations(reservations_pb2_grpc.ReservationsServiceServicer):
    """Answers `controlplane.api.v1.ReservationsService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def Reserve(
        self, request: reservations_pb2.ReserveRequest, context: Any
    ) -> reservations_pb2.ReserveResponse:
        required(request, "id_token", "expiry_time")
        for field in ("id_token", "group_id"):
            if len(getattr(request, field)) > ID_TOKEN_MAX:
                raise invalid(field, f"at most {ID_TOKEN_MAX} characters")
        if len(request.connector_type) > _CONNECTOR_TYPE_MAX:
            raise invalid("connector_type", f"at most {_CONNECTOR_TYPE_MAX} characters")
        until_ms = instant_ms(request, "expiry_time")
        assert until_ms is not None
        timeout_s = command_timeout_s(self._backend, request)
        wish = ReserveConnector(
            connector_id=connector_number(request.connector_id, least=0),
            id_token=request.id_token,
            until_ms=until_ms,
            id_token_type=token_type(request.type, TokenType.CENTRAL),
            group_id=request.group_id or None,
            connector_type=request.connector_type,
            timeout_ms=round(timeout_s * 1_000 * self._backend.clock.speed),
        )
        if not isinstance(context, Replay):
            await require_charger(self._backend, request.charger_id)
        answer = await carry_out(
            self._backend, request.charger_id, wish, request, context, answer=ReservationAnswer
        )
        return reservations_pb2.ReserveResponse(
            outcome=outcome_of(answer.result), reservation=_known(answer.reservation)
        )

    async def Cancel(
        self, request: reservations_pb2.CancelRequest, context: Any
    ) -> reservations_pb2.CancelResponse:
        record = await self._require(request.reservation_id)
        timeout_s = command_timeout_s(self._backend, request)
        wish = CancelReserved(
            record.number, timeout_ms=round(timeout_s * 1_000 * self._backend.clock.speed)
        )
        answer = await carry_out(
            self._backend, record.charger_id, wish, request, context, answer=ReservationAnswer
        )
        return reservations_pb2.CancelResponse(
            outcome=outcome_of(answer.result), reservation=_known(answer.reservation)
        )

    async def ListReservations(
        self, request: reservations_pb2.ListReservationsRequest, context: Any
    ) -> reservations_pb2.ListReservationsResponse:
        records, token = await self._backend.reader.reservations(
            charger_id=ChargerId(request.charger_id) if request.charger_id else None,
            site_id=SiteId(request.site_id) if request.site_id else None,
            open_only=request.open_only,
            page_size=page_size(request.page_size),
            page_token=request.page_token,
        )
        return reservations_pb2.ListReservationsResponse(
            reservations=[_to_message(record) for record in records], next_page_token=token
        )

    async def GetReservation(
        self, request: reservations_pb2.GetReservationRequest, context: Any
    ) -> reservations_pb2.GetReservationResponse:
        record = await self._require(request.reservation_id)
        return reservations_pb2.GetReservationResponse(reservation=_to_message(record))

    async def _require(self, reservation_id: str) -> ReservationRecord:
        record = await self._backend.reader.reservation(reservation_id)
        if record is None:
            raise NotFound(
                f"there is no reservation {reservation_id!r}",
                reason="RESERVATION_UNKNOWN",
                metadata={"reservation_id": reservation_id[:64]},
            )
        return record


def _known(record: ReservationRecord | None) -> reservations_pb2.Reservation | None:
    return None if record is None else _to_message(record)


def _to_message(record: ReservationRecord) -> reservations_pb2.Reservation:
    return reservations_pb2.Reservation(
        reservation_id=record.reservation_id,
        charger_id=record.charger_id,
        site_id=record.site_id or "",
        connector_id=record.connector_id,
        connector_type=record.connector_type,
        id_token=record.id_token,
        group_id=record.group_id or "",
        state=_STATES[record.state],
        create_time=timestamp(record.created_ms),
        expiry_time=timestamp(record.until_ms),
        end_time=timestamp(record.ended_ms),
        end_reason=record.end_reason,
        session_id=record.session_id or "",
    )
