"""Who may open a socket: the answers to a handshake (OCPP-J 1.6 section 3, 2.x part 4 section 3).

An unknown charger is refused with 404 (or let in where onboarding says so), a wrong password with
401, a wrong certificate or too low a security profile with 403, what cannot be decided now with
503. Invariants: a charger proves itself as its description wants, and never at a lower profile than
it has shown before (OCPP 2.0.1 part 2, A00 and A05); every refusal is counted, leaves a line in the
log and, bounded in rate, a security event; none touches a charger that is connected."""

from __future__ import annotations

import asyncio
import fnmatch
import http
from collections.abc import Callable
from typing import Final, NamedTuple
from urllib.parse import unquote

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from controlplane.charger.messages import SecurityNoticed
from controlplane.config import Onboarding, Settings
from controlplane.errors import Exhausted, Unavailable
from controlplane.ids import CHARGER_ID_PATTERN, ChargerId
from controlplane.ocpp.versions import SUBPROTOCOLS
from controlplane.runtime.descriptors import SPARE_DESCRIPTORS, raise_descriptors
from controlplane.runtime.directory import Directory, Entry
from controlplane.runtime.notices import Notices
from controlplane.runtime.passwords import Passwords, basic_passwords
from controlplane.runtime.station_socket import StationSocket
from controlplane.runtime.telemetry import log
from controlplane.runtime.tls import ClientCertificate, Tls, client_certificate
from controlplane.runtime.wire import Admitted
from controlplane.store.reader import StoreReader

__all__ = [
    "WITHOUT_HEADER",
    "Admission",
    "charger_id_of",
    "remote_of",
    "select_subprotocol",
]

WITHOUT_HEADER: Final = "ocpp1.6"
"""Old stations name no subprotocol; all of them speak 1.6."""

_MINUTE_S: Final = 60.0
_COUNTED_S: Final = 2.0


class _Refused(NamedTuple):
    status: http.HTTPStatus
    reason: str
    event: str = ""
    """The security event that this is."""


class Admission:
    """Judges handshakes.

    Args:
        connected: how many sockets are open.
        notices: where security events of described chargers go.
    """

    def __init__(
        self,
        settings: Settings,
        directory: Directory,
        reader: StoreReader,
        connected: Callable[[], int],
        notices: Notices,
    ) -> None:
        self.refused = 0
        self.passwords = Passwords()
        self.tls: Tls | None = None
        self._settings = settings
        self._connections_max = _allowed(settings.connections_max)
        self._directory = directory
        self._connected = connected
        self._notices = notices
        self._candidates = _Candidates(settings, reader)

    def close(self) -> None:
        """Check no more passwords."""
        self.passwords.close()

    async def process_request(
        self, connection: ServerConnection, request: Request
    ) -> Response | None:
        """HTTP answer that refuses the handshake, or None to go on (OCPP-J 1.6 section 3, 2.x part
        4 section 3)."""
        assert isinstance(connection, StationSocket)
        charger_id = charger_id_of(request.path)
        judged = await self._judge(charger_id, connection, request.headers)
        if isinstance(judged, Admitted):
            connection.admitted = judged
            return None
        self.refused += 1
        remote = remote_of(connection)
        log.warning(
            "handshake_refused",
            charger=charger_id[:64],
            remote=remote,
            status=judged.status.value,
            reason=judged.reason,
        )
        if judged.event:
            self._notices.note(charger_id, SecurityNoticed(judged.event, judged.reason, remote))
        response = connection.respond(judged.status, f"{judged.reason}\n")
        if judged.status is http.HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Basic realm="ocpp", charset="UTF-8"'
        if judged.status in _LATER:
            response.headers["Retry-After"] = "10"
        return response

    async def _judge(
        self, charger_id: ChargerId, connection: StationSocket, headers: Headers
    ) -> Admitted | _Refused:
        if not CHARGER_ID_PATTERN.fullmatch(charger_id):
            return _Refused(http.HTTPStatus.NOT_FOUND, "no charger id in the path")
        if self._connected() >= self._connections_max:
            return _Refused(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
        encrypted = connection.transport.get_extra_info("ssl_object")
        certificate = client_certificate(encrypted)
        try:
            entry = await self._directory.find(charger_id)
            required = self._required(entry)
            reachable = 1 if encrypted is None else 2 if certificate is None else 3
            if reachable < required:
                return _Refused(
                    http.HTTPStatus.FORBIDDEN,
                    f"security profile {required} or higher is required",
                    "SecurityProfileTooLow" if entry else "",
                )
            if certificate is not None:
                fault = await self._certificate_fault(charger_id, certificate)
                if fault:
                    event = "InvalidClientCertificate" if entry else ""
                    return _Refused(http.HTTPStatus.FORBIDDEN, fault, event)
            if entry is None:
                return await self._stranger(charger_id, certificate)
            if certificate is not None:
                return Admitted(3, certificate_serial=certificate.serial)
            return await self._by_password(charger_id, entry, required, connection, headers)
        except Exhausted as error:
            if error.reason == "PASSWORDS_WRONG":
                return _Refused(
                    http.HTTPStatus.TOO_MANY_REQUESTS, error.message, "AuthenticationFailed"
                )
            return _Refused(http.HTTPStatus.SERVICE_UNAVAILABLE, error.message)
        except Unavailable as error:
            return _Refused(http.HTTPStatus.SERVICE_UNAVAILABLE, error.message)

    def _required(self, entry: Entry | None) -> int:
        """The lowest profile that will do; a charger's own word goes before the node's."""
        wanted = self._settings.security_profile_min
        if entry is None:
            return wanted
        own = entry.record.security_profile_min
        return max(wanted if own is None else own, entry.profile_reached)

    async def _certificate_fault(
        self, charger_id: ChargerId, certificate: ClientCertificate
    ) -> str | None:
        """Its chain has been verified in the TLS handshake; here whose it is, and whether it still
        counts (A00.FR.405 to 412)."""
        if charger_id not in certificate.names:
            return "the client certificate is not this charger's"
        organisation = self._settings.tls_client_organisation
        if organisation and organisation not in certificate.organisations:
            return "the client certificate is not of this organisation"
        listed = self.tls is not None and self.tls.revoked(certificate)
        if listed or await self._directory.revoked(certificate.serial):
            return "the client certificate has been revoked"
        return None

    async def _stranger(
        self, charger_id: ChargerId, certificate: ClientCertificate | None
    ) -> Admitted | _Refused:
        """A charger that nobody described: nothing is known by which it could prove itself, but
        for a certificate."""
        refusal = await self._candidates.refusal(charger_id)
        if refusal is not None:
            return refusal
        if certificate is not None:
            return Admitted(3, certificate_serial=certificate.serial)
        return Admitted()

    async def _by_password(
        self,
        charger_id: ChargerId,
        entry: Entry,
        required: int,
        connection: StationSocket,
        headers: Headers,
    ) -> Admitted | _Refused:
        """HTTP Basic with the charger's id as user name (OCPP 1.6 security whitepaper, A00.FR.204
        of OCPP 2.0.1 part 2)."""
        encrypted = connection.transport.get_extra_info("ssl_object") is not None
        hashes = entry.password_hashes
        given = headers.get_all("Authorization")
        passwords = basic_passwords(given[0], charger_id) if len(given) == 1 else ()
        address = remote_of(connection).rpartition(":")[0]
        for password in passwords:
            # Those that were sent first: they cost nothing, and are no guesses at the old one.
            for password_hash, pending in reversed(hashes):
                if await self.passwords.right(
                    password_hash, password, charger=charger_id, address=address
                ):
                    return Admitted(2 if encrypted else 1, password_hash if pending else "")
        # Until a first password has been used, none is needed.
        if all(pending for _, pending in hashes):
            if required == 0:
                return Admitted()
            return _Refused(
                http.HTTPStatus.FORBIDDEN,
                f"security profile {required} is required, and no password is known",
                "SecurityProfileTooLow",
            )
        return _Refused(
            http.HTTPStatus.UNAUTHORIZED, "wrong or missing password", "AuthenticationFailed"
        )


class _Candidates:
    """Which chargers that nobody described may come: how many, how many new ones a minute, and of
    which names."""

    def __init__(self, settings: Settings, reader: StoreReader) -> None:
        self._settings = settings
        self._reader = reader
        self._patterns = [entry.partition("=")[0] for entry in settings.onboarding_allow]
        self._new: dict[str, float] = {}
        """Those let in of late, with when: the store does not hold them all yet."""
        self._count = 0
        self._counted_s = float("-inf")

    async def refusal(self, charger_id: ChargerId) -> _Refused | None:
        """Why this one may not.

        Raises:
            Unavailable: the store is away.
        """
        settings = self._settings
        named = any(fnmatch.fnmatchcase(charger_id, pattern) for pattern in self._patterns)
        if settings.onboarding is Onboarding.REFUSE or (
            settings.onboarding is Onboarding.ALLOW and not named
        ):
            return _Refused(http.HTTPStatus.NOT_FOUND, "unknown charger")
        now_s = asyncio.get_running_loop().time()
        self._new = {each: at_s for each, at_s in self._new.items() if now_s - at_s < _MINUTE_S}
        if charger_id in self._new or await self._reader.candidate(charger_id) is not None:
            return None
        if len(self._new) >= settings.candidates_per_minute:
            return _Refused(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many unknown chargers")
        if now_s - self._counted_s > _COUNTED_S:
            self._count, self._counted_s = await self._reader.candidates_count(), now_s
        since_counted = sum(at_s >= self._counted_s for at_s in self._new.values())
        if self._count + since_counted >= settings.candidates_max:
            return _Refused(http.HTTPStatus.SERVICE_UNAVAILABLE, "too many unknown chargers")
        self._new[charger_id] = now_s
        return None


_LATER: Final = frozenset({http.HTTPStatus.SERVICE_UNAVAILABLE, http.HTTPStatus.TOO_MANY_REQUESTS})


def _allowed(wanted: int) -> int:
    """As many of `wanted` connections as this process may have open."""
    allowed = raise_descriptors(wanted + SPARE_DESCRIPTORS) - SPARE_DESCRIPTORS
    if allowed >= wanted:
        return wanted
    log.warning("too_few_descriptors", connections_max=allowed, wanted=wanted)
    return max(1, allowed)


def charger_id_of(path: str) -> ChargerId:
    """The last segment of the request's path, URL-decoded; whatever stands before it is the
    owner's choice."""
    return ChargerId(unquote(path.partition("?")[0].rpartition("/")[2]))


def select_subprotocol(
    _connection: ServerConnection, offered: list[Subprotocol]
) -> Subprotocol | None:
    """The newest version that both speak, in whatever order the station lists its own."""
    return next((Subprotocol(ours) for ours in SUBPROTOCOLS if ours in offered), None)


def remote_of(socket: ServerConnection) -> str:
    """The peer's address, for logs."""
    address = socket.remote_address
    return f"{address[0]}:{address[1]}" if address else ""
