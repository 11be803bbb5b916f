"""Who may open a socket: the answers to a handshake (OCPP-J 1.6 section 3, 2.x part 4 section 3).

An unknown charger is refused with 404 (or let in where onboarding is on), a wrong password with
401, what cannot be decided now with 503. Every refusal leaves a line in the log; none touches a
charger that is connected."""

from __future__ import annotations

import http
from collections.abc import Callable
from urllib.parse import unquote

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeader
from websockets.headers import parse_authorization_basic
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from controlplane.config import Onboarding, Settings
from controlplane.errors import Exhausted, Unavailable
from controlplane.ids import CHARGER_ID_PATTERN, ChargerId
from controlplane.ocpp.versions import SUBPROTOCOLS
from controlplane.runtime.descriptors import SPARE_DESCRIPTORS, raise_descriptors
from controlplane.runtime.directory import Directory, Passwords
from controlplane.runtime.telemetry import log

__all__ = [
    "WITHOUT_HEADER",
    "Admission",
    "charger_id_of",
    "remote_of",
    "select_subprotocol",
]

WITHOUT_HEADER = "ocpp1.6"
"""Old stations name no subprotocol; all of them speak 1.6."""


class Admission:
    """Judges handshakes.

    Args:
        connected: how many sockets are open.
    """

    def __init__(
        self, settings: Settings, directory: Directory, connected: Callable[[], int]
    ) -> None:
        self.refused = 0
        self._settings = settings
        self._connections_max = _allowed(settings.connections_max)
        self._directory = directory
        self._connected = connected
        self._passwords = Passwords()

    def close(self) -> None:
        """Check no more passwords."""
        self._passwords.close()

    async def process_request(
        self, connection: ServerConnection, request: Request
    ) -> Response | None:
        """HTTP answer that refuses the handshake, or None to go on (OCPP-J 1.6 section 3, 2.x part
        4 section 3)."""
        charger_id = charger_id_of(request.path)
        status, reason = await self._judge(charger_id, request.headers)
        if status is None:
            return None
        self.refused += 1
        log.warning(
            "handshake_refused",
            charger=charger_id[:64],
            remote=remote_of(connection),
            status=status.value,
            reason=reason,
        )
        response = connection.respond(status, f"{reason}\n")
        if status is http.HTTPStatus.UNAUTHORIZED:
            response.headers["WWW-Authenticate"] = 'Basic realm="ocpp", charset="UTF-8"'
        if status is http.HTTPStatus.SERVICE_UNAVAILABLE:
            response.headers["Retry-After"] = "10"
        return response

    async def _judge(
        self, charger_id: ChargerId, headers: Headers
    ) -> tuple[http.HTTPStatus | None, str]:
        if not CHARGER_ID_PATTERN.fullmatch(charger_id):
            return http.HTTPStatus.NOT_FOUND, "no charger id in the path"
        if self._connected() >= self._connections_max:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, "too many connections"
        try:
            record = await self._directory.find(charger_id)
            if record is None:
                if self._settings.onboarding is Onboarding.PENDING:
                    return None, ""
                return http.HTTPStatus.NOT_FOUND, "unknown charger"
            if record.password_hash is None:
                return None, ""
            if await self._authenticated(charger_id, record.password_hash, headers):
                return None, ""
        except (Unavailable, Exhausted) as error:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, error.message
        return http.HTTPStatus.UNAUTHORIZED, "wrong or missing password"

    async def _authenticated(self, charger_id: str, password_hash: str, headers: Headers) -> bool:
        """HTTP Basic with the charger's id as user name (OCPP 1.6 security whitepaper, A00.FR.205
        of OCPP 2.0.1 part 2)."""
        given = headers.get_all("Authorization")
        if len(given) != 1 or not given[0].lower().startswith("basic "):
            return False
        try:
            user, password = parse_authorization_basic(given[0])
        except (InvalidHeader, UnicodeDecodeError):
            return False
        # An id may hold colons, at the first of which the header was parted.
        name, given_password = f"{charger_id}:", f"{user}:{password}"
        if not given_password.startswith(name):
            return False
        return await self._passwords.right(password_hash, given_password.removeprefix(name))


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
