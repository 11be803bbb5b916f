"""Signs what stations ask for, hands it over, renews it before its end, and answers for it.

An actor writes a station's wish down and says so in the journal; this service, which follows the
journal, signs it with the local authority (or lays it out for another signer), has the actor write
down the certificate and only then send it. Everything it needs is in the store: after a crash it
goes on from there, and a wish that was signed twice is delivered once, since an actor takes the
answer to its newest wish only. Invariant: no certificate reaches a station that the store does not
hold, and so none that could not be revoked."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import msgspec

from controlplane.charger.messages import (
    AnswerCertificateStatus,
    ChargerView,
    Execute,
    GetCharger,
    Recorded,
    RecordSigning,
    RevokeCertificate,
)
from controlplane.config import Settings
from controlplane.errors import InvalidInput, LoadstarError, NotFound, Precondition
from controlplane.ids import ActorKind, ActorRef, ChargerId
from controlplane.ocpp.certificates import CertificateHash
from controlplane.ocpp.commands import (
    CertificateSigned,
    CommandResult,
    CommandState,
    Trigger,
)
from controlplane.registry.messages import REGISTRY
from controlplane.runtime.authority import Authority, read_certificate, read_wish
from controlplane.runtime.client import ActorClient, JournalEvent
from controlplane.runtime.clock import SystemClock
from controlplane.runtime.telemetry import log
from controlplane.store.reader import StoreReader
from controlplane.store.records import CertificateRecord, HandOver, SigningRecord, SigningState

__all__ = ["CertificateService", "renewal", "revoke"]

_PASS_INTERVAL_S: Final = 5.0
_EXTERNAL_INTERVAL_S: Final = 2.0
_RENEWALS_INTERVAL_S: Final = 3_600.0
_EVENTS_AT_ONCE: Final = 1_000
_PAUSE_MAX_S: Final = 3_600.0
_TASKS_MAX: Final = 64
_RETRY_S: Final = 2.0
_ASK_TIMEOUT_S: Final = 40.0
_STATION_PURPOSE: Final = "ChargingStationCertificate"
_DAY_MS: Final = 86_400_000
_NOT_THERE: Final = (HandOver.REFUSED, HandOver.NOT_SENT)
_FILE_NAME: Final = re.compile(r"[^A-Za-z0-9._-]")


class _Pause(msgspec.Struct, frozen=True):
    """`until_s` is of the event loop's clock."""

    length_s: float
    until_s: float


class CertificateService:
    """One node's. Runs from `start` to `stop`."""

    def __init__(self, settings: Settings, client: ActorClient, reader: StoreReader) -> None:
        self._settings = settings
        self._client = client
        self._reader = reader
        self._clock = SystemClock()
        self._silent: dict[str, _Pause] = {}
        """Deliveries that the station left unanswered, by request."""
        self._busy: set[str] = set()
        """The wishes and questions that are being worked on."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._runners: list[asyncio.Task[None]] = []
        self._cursor: int | None = None
        """Up to where the journal was heard: a question that is missed is a station that waits."""

    def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._runners = [
            loop.create_task(self._forever("journal", self._follow)),
            loop.create_task(self._forever("wishes", self._look_for_wishes)),
            loop.create_task(self._forever("renewals", self._look_for_renewals)),
        ]

    async def stop(self) -> None:
        for task in (*self._runners, *self._tasks):
            task.cancel()
        await asyncio.gather(*self._runners, *self._tasks, return_exceptions=True)

    # --- what there is to do ----------------------------------------------------------------------

    async def _forever(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        """Go on with `work` whatever happens to one turn of it."""
        while True:
            try:
                await work()
                continue
            except LoadstarError as error:
                log.warning("certificates_wait", work=name, error=error.message)
            except Exception:
                # A fault in one turn must not end the signing of all.
                log.exception("certificates_failed", work=name)
            await asyncio.sleep(_RETRY_S)

    async def _follow(self) -> None:
        if self._cursor is None:
            self._cursor = await self._client.last_cursor()
        while True:
            events = await self._client.events(self._cursor, limit=_EVENTS_AT_ONCE)
            for event in events:
                self._heard(event)
            if events:
                self._cursor = events[-1].cursor

    def _heard(self, event: JournalEvent) -> None:
        if event.kind == "certificate.requested":
            request_id = str(event.data["request_id"])
            self._begin(request_id, self._take_up(request_id))
        elif event.kind == "certificate.status_asked":
            question_id = str(event.data["question_id"])
            self._begin(question_id, self._answer(event))
        elif event.kind == "charger.settled":
            charger_id = ChargerId(event.actor.id)
            self._begin(f"settled {charger_id}", self._deliver_to(charger_id))

    async def _look_for_wishes(self) -> None:
        """Those of which nobody told, and those that came to nothing: a host was replaced, the
        service was too busy."""
        open_states = (SigningState.PENDING, SigningState.SIGNED)
        wishes = await self._reader.signings(states=open_states)
        still_open = {wish.request_id for wish in wishes}
        self._silent = {name: self._silent[name] for name in still_open & self._silent.keys()}
        for wish in wishes:
            if wish.state is SigningState.PENDING:
                self._begin(wish.request_id, self._take_up(wish.request_id))
            elif self._may_deliver(wish.request_id):
                self._begin(wish.request_id, self._deliver(wish))
        external = self._settings.ca_external_dir is not None
        await asyncio.sleep(_EXTERNAL_INTERVAL_S if external else _PASS_INTERVAL_S)

    async def _look_for_renewals(self) -> None:
        """A02: stations whose certificate ends soon are told to ask for the next one."""
        until_ms = self._clock.now_ms() + self._settings.ca_renew_days * _DAY_MS
        after = ""
        while page := await self._reader.certificates(ends_before_ms=until_ms, after_serial=after):
            for ending in page:
                if not await self._is_latest(ending):
                    continue
                if ending.handed_over is HandOver.NONE:
                    await self._renew(ending)
                else:
                    # Whoever handed it over has it signed again.
                    log.warning(
                        "handed_over_certificate_ends",
                        charger=ending.charger_id,
                        serial=ending.serial,
                    )
            after = page[-1].serial
        await asyncio.sleep(_RENEWALS_INTERVAL_S)

    async def _is_latest(self, certificate: CertificateRecord) -> bool:
        """Whether the charger has no newer one of this purpose, and this one still counts."""
        if certificate.revoked_ms is not None or certificate.handed_over in _NOT_THERE:
            return False
        others = await self._reader.certificates(charger_id=certificate.charger_id, limit=1_000)
        return certificate.not_after_ms > self._clock.now_ms() and not any(
            other.purpose == certificate.purpose
            and other.not_after_ms > certificate.not_after_ms
            and other.revoked_ms is None
            and other.handed_over in (HandOver.NONE, HandOver.ACCEPTED)
            for other in others
        )

    async def _renew(self, certificate: CertificateRecord) -> None:
        try:
            command = renewal(certificate.purpose)
            result = await self._ask(certificate.charger_id, Execute(command), CommandResult)
        except LoadstarError as error:
            log.info("renewal_waits", charger=certificate.charger_id, error=error.message)
        else:
            log.info("renewal_asked", charger=certificate.charger_id, state=result.state.value)

    def _begin(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Do it beside the rest, once at a time and on one node; what finds no place is found again
        later."""
        elsewhere = not self._client.near(REGISTRY)
        if elsewhere or name in self._busy or len(self._tasks) >= _TASKS_MAX:
            work.close()
            return
        self._busy.add(name)
        task = asyncio.get_running_loop().create_task(self._attempt(name, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _attempt(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except LoadstarError as error:
            log.info("certificate_waits", about=name, error=error.message)
        except Exception:
            # A fault in one wish must not keep the others from being served.
            log.exception("certificate_failed", about=name)
        finally:
            self._busy.discard(name)

    # --- a wish -----------------------------------------------------------------------------------

    async def _take_up(self, request_id: str) -> None:
        """Sign a wish that nobody has signed, and hand the certificate over."""
        wish = await self._reader.signing(request_id)
        if wish is None or wish.state is not SigningState.PENDING:
            return
        signed = await self._sign(wish)
        if signed is None:
            return
        if isinstance(signed, str):
            await self._record(wish, SigningState.REFUSED, detail=signed)
            return
        await self._record(wish, SigningState.SIGNED, certificate=signed)
        await self._deliver(
            msgspec.structs.replace(wish, state=SigningState.SIGNED, serial=signed.serial)
        )

    async def _sign(self, wish: SigningRecord) -> CertificateRecord | str | None:
        """The certificate, why there will be none, or None while another signer has it."""
        settings = self._settings
        view = await self._ask(wish.charger_id, GetCharger(), ChargerView)
        names = [str(wish.charger_id)]
        # What a station calls its serial number must not make it another charger.
        if view.serial_number and not await self._reader.admission(ChargerId(view.serial_number)):
            names.append(view.serial_number)
        read = await asyncio.to_thread(read_wish, wish.csr, names, settings.tls_client_organisation)
        if isinstance(read, str) and wish.purpose == _STATION_PURPOSE:
            return read
        if settings.ca_external_dir is not None:
            return await asyncio.to_thread(_external, settings.ca_external_dir, wish)
        if isinstance(read, str):
            return read
        if wish.purpose != _STATION_PURPOSE:
            return f"{wish.purpose} is for a V2G PKI, and no other signer is configured"
        try:
            authority = await asyncio.to_thread(Authority.open, settings.ca)
        except NotFound:
            return "no authority is configured"
        return await asyncio.to_thread(
            authority.sign,
            read,
            charger_id=wish.charger_id,
            purpose=wish.purpose,
            days=settings.ca_days,
        )

    async def _deliver_to(self, charger_id: ChargerId) -> None:
        """Hand over what waits for a charger that has come back."""
        for wish in await self._reader.signings(
            charger_id=charger_id, states=(SigningState.SIGNED,)
        ):
            self._begin(wish.request_id, self._deliver(wish))

    async def _deliver(self, wish: SigningRecord) -> None:
        certificate = await self._reader.certificate(wish.serial)
        if certificate is None or certificate.revoked_ms is not None:
            return
        command = CertificateSigned(certificate.pem, wish.purpose, wish.station_request_id)
        try:
            result = await self._ask(wish.charger_id, Execute(command), CommandResult)
        except InvalidInput as error:
            # The charger's version cannot be told: too long a chain, for one.
            await self._record(
                wish, SigningState.REFUSED, serial=wish.serial, detail=error.message[:255]
            )
            return
        if result.state in (CommandState.TIMED_OUT, CommandState.OFFLINE):
            self._unanswered(wish.request_id)
            return
        self._silent.pop(wish.request_id, None)
        if result.state is CommandState.ACCEPTED:
            await self._record(wish, SigningState.DELIVERED, serial=wish.serial)
        else:
            detail = f"by the charger: {result.status or result.error_code}"
            await self._record(
                wish,
                SigningState.REFUSED,
                certificate=_revoked(certificate, self._clock.now_ms(), detail),
                detail=detail,
            )

    def _may_deliver(self, request_id: str) -> bool:
        pause = self._silent.get(request_id)
        return pause is None or asyncio.get_running_loop().time() >= pause.until_s

    def _unanswered(self, request_id: str) -> None:
        """Try again later, and ever more seldom: a station that leaves this unanswered is not worn
        out. One that comes back is told at once."""
        pause = self._silent.get(request_id)
        length_s = _PASS_INTERVAL_S if pause is None else min(2 * pause.length_s, _PAUSE_MAX_S)
        until_s = asyncio.get_running_loop().time() + length_s
        self._silent[request_id] = _Pause(length_s, until_s)

    async def _record(
        self,
        wish: SigningRecord,
        state: SigningState,
        *,
        certificate: CertificateRecord | None = None,
        serial: str = "",
        detail: str = "",
    ) -> None:
        record = msgspec.structs.replace(
            wish,
            state=state,
            serial=certificate.serial if certificate is not None else serial,
            detail=detail,
        )
        await self._ask(wish.charger_id, RecordSigning(record, certificate), Recorded)

    # --- what operators and stations ask ----------------------------------------------------------

    async def _answer(self, event: JournalEvent) -> None:
        """M06, M07: a station asks about certificates; what is not of the local authority nobody
        here can vouch for."""
        data = event.data
        answer = AnswerCertificateStatus(str(data["question_id"]), reason="UnknownIssuer")
        try:
            asked = msgspec.convert(data["certificates"], list[CertificateHash])
            authority = await asyncio.to_thread(Authority.open, self._settings.ca)
            if data["chain"]:
                statuses = [await self._status(authority, hashed) for hashed in asked]
                answer = msgspec.structs.replace(answer, statuses=tuple(statuses))
            elif authority.issued(asked[0]):
                record = await self._reader.certificate(_plain(asked[0].serial_number))
                response = await asyncio.to_thread(authority.ocsp, asked[0], record)
                answer = msgspec.structs.replace(answer, ocsp=response, reason="")
        except (LoadstarError, ValueError) as error:
            log.info("certificate_status_unknown", charger=event.actor.id, error=str(error))
        await self._ask(ChargerId(event.actor.id), answer, Recorded)

    async def _status(self, authority: Authority, hashed: CertificateHash) -> tuple[str, int]:
        now_ms = self._clock.now_ms()
        if not authority.issued(hashed):
            return "Failed", now_ms
        record = await self._reader.certificate(_plain(hashed.serial_number))
        if record is None:
            return "Unknown", now_ms + _DAY_MS
        return "Good" if record.revoked_ms is None else "Revoked", now_ms + _DAY_MS

    async def _ask(
        self, charger_id: ChargerId, request: msgspec.Struct, response: type[Any]
    ) -> Any:
        return await self._client.ask(
            ActorRef(ActorKind.CHARGER, charger_id), request, response, timeout_s=_ASK_TIMEOUT_S
        )


def renewal(purpose: str) -> Trigger:
    """What has a station ask for a new certificate (A02): `SignV2GCertificate` for a
    `V2GCertificate`, and so on."""
    return Trigger(f"Sign{purpose}")


async def revoke(
    client: ActorClient, reader: StoreReader, serial: str, reason: str
) -> CertificateRecord:
    """Revoke a certificate of the local authority, for good.

    Raises:
        NotFound: there is none of this serial number.
        Precondition: it was revoked before.
        Unavailable, TimedOut: nobody could write it down.
    """
    certificate = await reader.certificate(_plain(serial))
    if certificate is None:
        raise NotFound(f"no certificate {serial}", reason="CERTIFICATE_UNKNOWN")
    if certificate.revoked_ms is not None:
        raise Precondition(f"certificate {serial} is revoked already", reason="CERTIFICATE_REVOKED")
    revoked = _revoked(certificate, SystemClock().now_ms(), reason)
    await client.ask(
        ActorRef(ActorKind.CHARGER, certificate.charger_id), RevokeCertificate(revoked), Recorded
    )
    return revoked


def _revoked(certificate: CertificateRecord, now_ms: int, reason: str) -> CertificateRecord:
    return msgspec.structs.replace(certificate, revoked_ms=now_ms, revocation_reason=reason)


def _plain(serial: str) -> str:
    """A serial number as it is stored."""
    return serial.lower().replace(":", "").lstrip("0")


def _external(folder: Path, wish: SigningRecord) -> CertificateRecord | str | None:
    """Lay a wish out for another signer, and take in what it answered: beside
    `<name>.csr` it writes `<name>.pem`, or `<name>.refused` with the reason."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{_FILE_NAME.sub('_', wish.request_id)}-{wish.asked_ms}"
    refused, signed = folder / f"{name}.refused", folder / f"{name}.pem"
    if refused.exists():
        return refused.read_text(encoding="utf-8", errors="replace").strip()[:255] or "refused"
    if not signed.exists():
        waiting = folder / f"{name}.csr"
        if not waiting.exists():
            partial = folder / f".{name}"
            partial.write_text(wish.csr, encoding="utf-8")
            partial.replace(waiting)
        return None
    try:
        return read_certificate(signed.read_bytes(), wish.charger_id, wish.purpose)
    except InvalidInput as error:
        # Perhaps half of it has been written; the signer is not told twice.
        log.warning("external_certificate_refused", file=signed.name, error=error.message)
        return None
