"""`SecurityService`: how chargers prove themselves, what happened that concerns it, and who wants
to come in.

Invariant: a password is made here and goes to the charger and nowhere else; what is kept of it is a
hash."""

from __future__ import annotations

from typing import Any

from controlplane.api.backend import Backend, invalid, page_size, required, seconds, timestamp
from controlplane.api.configuring import add_charger
from controlplane.api.descriptions import charger_from_message, site_to_message
from controlplane.api.executing import charger_ref, outcome_of, require_charger
from controlplane.api.v1 import security_pb2, security_pb2_grpc
from controlplane.charger.messages import (
    DismissCandidate,
    LowerProfile,
    Recorded,
    RotatePassword,
)
from controlplane.errors import NotFound
from controlplane.ids import ChargerId, SiteId
from controlplane.ocpp.commands import CommandResult
from controlplane.runtime.passwords import fast_hash, new_password
from controlplane.store.records import CandidateRecord, SecurityEventRecord

__all__ = ["SecurityOfChargers"]

_ANSWER_MARGIN_S = 2.0
_TIMEOUT_MAX_S = 300.0


class SecurityOfChargers(security_pb2_grpc.SecurityServiceServicer):
    """Answers `controlplane.api.v1.SecurityService`."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def ListSecurityEvents(
        self, request: security_pb2.ListSecurityEventsRequest, context: Any
    ) -> security_pb2.ListSecurityEventsResponse:
        size = page_size(request.page_size)
        # The token is the number of the last one.
        if request.page_token and not request.page_token.isdecimal():
            raise invalid("page_token", "was not given out by this method")
        found = await self._backend.reader.security_events(
            charger_id=ChargerId(request.charger_id) if request.charger_id else None,
            critical_only=request.critical_only,
            before=int(request.page_token[:18]) if request.page_token else None,
            limit=size + 1,
        )
        return security_pb2.ListSecurityEventsResponse(
            events=(_event_to_message(event) for _, event in found[:size]),
            next_page_token=str(found[size - 1][0]) if len(found) > size else "",
        )

    async def GetChargerSecurity(
        self, request: security_pb2.GetChargerSecurityRequest, context: Any
    ) -> security_pb2.GetChargerSecurityResponse:
        record = await require_charger(self._backend, request.charger_id)
        shown = await self._backend.reader.credential(ChargerId(request.charger_id))
        described = None if record is None else record.password_hash
        own_min = None if record is None else record.security_profile_min
        if own_min is None:
            own_min = self._backend.settings.security_profile_min
        if shown is None or shown.described_hash != described:
            return security_pb2.GetChargerSecurityResponse(
                security_profile_reached=0 if shown is None else shown.security_profile,
                security_profile_min=own_min,
                has_password=described is not None,
            )
        return security_pb2.GetChargerSecurityResponse(
            security_profile_reached=shown.security_profile,
            security_profile_min=own_min,
            has_password=(shown.password_hash or described) is not None,
            pending_passwords=len((shown.pending_hash or "").split()),
        )

    async def RotatePassword(
        self, request: security_pb2.RotatePasswordRequest, context: Any
    ) -> security_pb2.RotatePasswordResponse:
        timeout_s = seconds(
            "timeout_s",
            request.timeout_s,
            default_s=self._backend.settings.call_timeout_s,
            least_s=1.0,
            most_s=_TIMEOUT_MAX_S,
        )
        record = await require_charger(self._backend, request.charger_id)
        if record is None:
            raise NotFound(
                f"charger {request.charger_id} belongs to no site",
                reason="CHARGER_UNKNOWN",
                metadata={"charger_id": request.charger_id},
            )
        password = new_password()
        result = await self._backend.ask(
            charger_ref(request.charger_id),
            RotatePassword(
                password,
                fast_hash(password),
                record.password_hash,
                round(timeout_s * 1_000 * self._backend.clock.speed),
            ),
            CommandResult,
            context,
            timeout_s=timeout_s + _ANSWER_MARGIN_S,
        )
        return security_pb2.RotatePasswordResponse(outcome=outcome_of(result))

    async def LowerSecurityProfile(
        self, request: security_pb2.LowerSecurityProfileRequest, context: Any
    ) -> security_pb2.LowerSecurityProfileResponse:
        if not 0 <= request.security_profile <= 3:
            raise invalid("security_profile", "0 to 3")
        await require_charger(self._backend, request.charger_id)
        await self._backend.ask(
            charger_ref(request.charger_id),
            LowerProfile(request.security_profile),
            Recorded,
            context,
        )
        return security_pb2.LowerSecurityProfileResponse()

    async def ListCandidates(
        self, request: security_pb2.ListCandidatesRequest, context: Any
    ) -> security_pb2.ListCandidatesResponse:
        found = await self._backend.reader.candidates()
        return security_pb2.ListCandidatesResponse(candidates=map(_candidate_to_message, found))

    async def AcceptCandidate(
        self, request: security_pb2.AcceptCandidateRequest, context: Any
    ) -> security_pb2.AcceptCandidateResponse:
        required(request, "site_id", "charger")
        charger = charger_from_message(request.charger)
        await self._require_candidate(charger.id)
        site = await add_charger(self._backend, SiteId(request.site_id), charger, context)
        return security_pb2.AcceptCandidateResponse(site=site_to_message(site))

    async def DismissCandidate(
        self, request: security_pb2.DismissCandidateRequest, context: Any
    ) -> security_pb2.DismissCandidateResponse:
        await self._require_candidate(request.charger_id)
        await self._backend.ask(
            charger_ref(request.charger_id), DismissCandidate(), Recorded, context
        )
        return security_pb2.DismissCandidateResponse()

    async def _require_candidate(self, charger_id: str) -> None:
        if await self._backend.reader.candidate(ChargerId(charger_id)) is None:
            raise NotFound(
                f"no charger {charger_id} waits for an owner",
                reason="CANDIDATE_UNKNOWN",
                metadata={"charger_id": charger_id},
            )


def _event_to_message(event: SecurityEventRecord) -> security_pb2.SecurityEvent:
    return security_pb2.SecurityEvent(
        charger_id=event.charger_id,
        time=timestamp(event.at_ms),
        receive_time=timestamp(event.received_ms),
        type=event.kind,
        detail=event.detail,
        critical=event.critical,
        source=event.source,
        count=event.count,
    )


def _candidate_to_message(candidate: CandidateRecord) -> security_pb2.Candidate:
    return security_pb2.Candidate(
        charger_id=candidate.charger_id,
        vendor=candidate.vendor,
        model=candidate.model,
        serial_number=candidate.serial_number,
        firmware=candidate.firmware,
        ocpp_version=candidate.ocpp_version,
        remote=candidate.remote,
        first_seen_time=timestamp(candidate.first_seen_ms),
        last_seen_time=timestamp(candidate.last_seen_ms),
    )
