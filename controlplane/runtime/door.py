"""The doors through which stations come: listening ports, and the bounds on whoever knocks.

What has not finished its handshake costs memory and time and has proved nothing. So sockets are
accepted at a bounded rate (the rest waits in the kernel), an address holds a bounded number of
them, every handshake has a time-out, and when too many are open at once the one that has said
nothing for longest goes. Invariant: whoever is slow or silent is dropped, and keeps nobody who is
quick from coming in."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.http11 import Request, Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol

from controlplane.config import Settings
from controlplane.runtime.station_socket import StationSocket
from controlplane.runtime.telemetry import log
from controlplane.runtime.tls import Tls

__all__ = ["Door", "Turnstile", "Visit", "address_of"]

_PING_INTERVAL_S: Final = 30.0
_PING_TIMEOUT_S: Final = 30.0
_CLOSE_TIMEOUT_S: Final = 5.0
_FRAMES_BUFFERED: Final = 8
_BACKLOG: Final = 4_096
_SILENT_S: Final = 1.0
"""How long a socket may have said nothing before it can be dropped for another."""
_BUCKET_S: Final = 0.1
_PAUSE_S: Final = 0.05


class Visit:
    """One socket, from when it was accepted until it is gone."""

    __slots__ = ("abort", "address", "since_s")

    def __init__(self, address: str, since_s: float) -> None:
        self.address = address
        self.since_s = since_s
        self.abort: Callable[[], object] = lambda: None


class Turnstile:
    """Counts visits; shared by all doors of a gateway."""

    def __init__(self, settings: Settings) -> None:
        self.accepted = 0
        self.refused = 0
        """Sockets beyond what their address may hold."""
        self.dropped = 0
        """Unfinished handshakes that went for others."""
        self.timed_out = 0
        self.failed = 0
        """What came was no HTTP request for a WebSocket."""
        self.tls_failed = 0
        self._per_address_max = settings.connections_per_address_max
        self._handshakes_max = settings.handshakes_max
        self._per_address: Counter[str] = Counter()
        self._waiting: OrderedDict[Visit, None] = OrderedDict()
        """Those in their handshake, the longest first."""

    @property
    def waiting(self) -> int:
        """Unfinished handshakes."""
        return len(self._waiting)

    def crowded(self, address: str) -> bool:
        """Whether the address has as many sockets as it may; then this one is counted as
        refused."""
        if self._per_address.get(address, 0) < self._per_address_max:
            return False
        self.refused += 1
        return True

    def enter(self, address: str, now_s: float) -> Visit:
        """A socket was accepted."""
        self.accepted += 1
        self._per_address[address] += 1
        visit = Visit(address, now_s)
        self._waiting[visit] = None
        return visit

    def heard(self, visit: Visit) -> None:
        """It has asked something, so the answer is ours to give: it is not dropped any more."""
        self._waiting.pop(visit, None)

    def leave(self, visit: Visit) -> None:
        """The socket is gone; saying so twice does no harm."""
        self._waiting.pop(visit, None)
        if visit.since_s < 0:
            return
        visit.since_s = -1.0
        self._per_address[visit.address] -= 1
        if not self._per_address[visit.address]:
            del self._per_address[visit.address]

    def make_room(self, now_s: float) -> bool:
        """Whether one more may come in; where too many are silent, the longest one goes."""
        if len(self._waiting) < self._handshakes_max:
            return True
        longest = next(iter(self._waiting))
        if now_s - longest.since_s < _SILENT_S:
            return False
        self.dropped += 1
        abort = longest.abort
        self.leave(longest)
        abort()
        return True


class Door:
    """One listening port.

    Args:
        tls: None for a plain one.
        per_s: how many sockets are accepted in a second.
    """

    def __init__(
        self,
        settings: Settings,
        turnstile: Turnstile,
        *,
        tls: Tls | None,
        per_s: float,
        handle: Callable[[ServerConnection], Awaitable[None]],
        process_request: Callable[[ServerConnection, Request], Awaitable[Response | None]],
        select_subprotocol: Callable[[ServerConnection, list[Subprotocol]], Subprotocol | None],
    ) -> None:
        self._settings = settings
        self._turnstile = turnstile
        self._tls = tls
        self._per_s = per_s
        self._handle = handle
        self._process_request = process_request
        self._select_subprotocol = select_subprotocol
        self._loop = asyncio.get_running_loop()
        # Weak: of one whose TLS handshake fails nobody hears again.
        self._visits: WeakKeyDictionary[ServerConnection, Visit] = WeakKeyDictionary()
        self._opening: set[asyncio.Task[None]] = set()
        self._listening = _Listening(self._loop)
        # The library's server: it knows the connections and closes them in the end.
        self._server = Server(self._listen, self._serve)
        self._host = ""
        self._port = 0
        self._budget = 0.0
        self._budget_at_s = self._loop.time()

    async def open(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: the port is taken, or the address is not of this machine.
        """
        self._host, self._port = host, port
        await self._server
        return int(self._listening.sockets[0].getsockname()[1])

    def refuse(self) -> None:
        """Accept no more; the sockets that are open stay."""
        self._listening.close()

    async def close(self) -> None:
        """Close every socket with 1001 and end."""
        if not self._listening.sockets:
            return
        self._server.close()
        for task in self._opening:
            task.cancel()
        await self._server.wait_closed()

    # --- sockets ----------------------------------------------------------------------------------

    async def _listen(self) -> asyncio.Server:
        found = await self._loop.getaddrinfo(
            self._host or None, self._port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        port = self._port
        try:
            for family, *_, address in dict.fromkeys(found):
                listening = socket.create_server(
                    (address[0], port, *address[2:]), family=family, backlog=_BACKLOG
                )
                listening.setblocking(False)
                self._listening.add(listening)
                port = listening.getsockname()[1]
        except OSError:
            self._listening.close()
            raise
        for listening in self._listening.sockets:
            self._listening.accepting.append(
                self._loop.create_task(self._accept_forever(listening))
            )
        return cast(asyncio.Server, self._listening)

    async def _accept_forever(self, listening: socket.socket) -> None:
        while True:
            try:
                accepted, remote = await self._loop.sock_accept(listening)
            except OSError as error:
                # Too many open files, or a peer that is gone already: neither ends the listening.
                log.error("socket_not_accepted", error=str(error))
                await asyncio.sleep(_PAUSE_S)
                continue
            address = address_of(remote[0])
            if self._turnstile.crowded(address):
                accepted.close()
                continue
            try:
                await self._turn()
            except asyncio.CancelledError:
                accepted.close()
                raise
            visit = self._turnstile.enter(address, self._loop.time())
            opening = self._loop.create_task(self._open(accepted, visit))
            self._opening.add(opening)
            opening.add_done_callback(self._opening.discard)

    async def _turn(self) -> None:
        """Wait until one more may come in; the others wait in the kernel meanwhile."""
        room = max(1.0, self._per_s * _BUCKET_S)
        while True:
            now_s = self._loop.time()
            self._budget = min(room, self._budget + (now_s - self._budget_at_s) * self._per_s)
            self._budget_at_s = now_s
            if self._budget >= 1.0 and self._turnstile.make_room(now_s):
                self._budget -= 1.0
                return
            await asyncio.sleep(max(_PAUSE_S / 10, (1.0 - self._budget) / self._per_s))

    async def _open(self, accepted: socket.socket, visit: Visit) -> None:
        """Wait for the TLS handshake, where there is one; the connection serves itself then."""
        task = asyncio.current_task()
        assert task is not None
        visit.abort = task.cancel
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        timeout_s, visit_since_s = self._settings.handshake_timeout_s, visit.since_s
        options: dict[str, Any] = {}
        if self._tls is not None:
            options = {
                "ssl": self._tls.context,
                "ssl_handshake_timeout": timeout_s,
                "ssl_shutdown_timeout": _CLOSE_TIMEOUT_S,
            }
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._connection(visit), accepted, **options
            )
        except asyncio.CancelledError:
            accepted.close()
            self._turnstile.leave(visit)
        except (OSError, ssl.SSLError) as error:
            self._turnstile.leave(visit)
            if self._tls is None:
                return
            if self._loop.time() - visit_since_s >= timeout_s:
                self._turnstile.timed_out += 1
            else:
                self._turnstile.tls_failed += 1
            log.info("tls_handshake_failed", remote=visit.address, error=str(error)[:255])

    def _connection(self, visit: Visit) -> StationSocket:
        def select(_: ServerProtocol, offered: Any) -> Subprotocol | None:
            return self._select_subprotocol(connection, list(offered))

        connection = StationSocket(
            ServerProtocol(select_subprotocol=select, max_size=self._settings.frame_max_bytes),
            self._server,
            ping_interval=_PING_INTERVAL_S,
            ping_timeout=_PING_TIMEOUT_S,
            close_timeout=_CLOSE_TIMEOUT_S,
            max_queue=_FRAMES_BUFFERED,
        )
        self._visits[connection] = visit
        return connection

    # --- connections ------------------------------------------------------------------------------

    async def _serve(self, connection: ServerConnection) -> None:
        """The life of one connection; raises nothing, since nobody waits for it."""
        visit = self._visits[connection]
        visit.abort = connection.transport.abort
        try:
            if not await self._opened(connection, visit):
                connection.transport.abort()
                return
            self._server.all_connections.add(connection)
            connection.start_keepalive()
            async with connection:
                await self._handle(connection)
        except Exception:
            # A fault of ours in one connection must not reach another.
            log.exception("connection_failed", remote=visit.address)
            connection.transport.abort()
        finally:
            self._server.all_connections.discard(connection)
            self._server.handler_tasks.discard(asyncio.current_task())
            del self._visits[connection]
            self._turnstile.leave(visit)

    async def _opened(self, connection: ServerConnection, visit: Visit) -> bool:
        """Whether the opening handshake led to an open WebSocket, in time."""
        try:
            async with asyncio.timeout(self._settings.handshake_timeout_s):
                await connection.handshake(self._asked, None, None)
        except TimeoutError:
            self._turnstile.timed_out += 1
            log.info("handshake_timed_out", remote=visit.address)
        except (InvalidHandshake, ConnectionClosed, OSError, EOFError) as error:
            # What came is no HTTP, or went away before it was answered.
            self._turnstile.failed += 1
            log.info("handshake_failed", remote=visit.address, error=str(error)[:255])
        return connection.protocol.state is OPEN

    async def _asked(self, connection: ServerConnection, request: Request) -> Response | None:
        self._turnstile.heard(self._visits[connection])
        return await self._process_request(connection, request)


class _Listening:
    """What the library's server asks of the event loop's, over sockets that are accepted here."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.sockets: tuple[socket.socket, ...] = ()
        self.accepting: list[asyncio.Task[None]] = []
        self._loop = loop
        self._closed = False

    def add(self, listening: socket.socket) -> None:
        self.sockets += (listening,)

    def is_serving(self) -> bool:
        return not self._closed

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def close(self) -> None:
        self._closed = True
        for task in self.accepting:
            task.cancel()
        for listening in self.sockets:
            listening.close()

    async def wait_closed(self) -> None:
        await asyncio.gather(*self.accepting, return_exceptions=True)


def address_of(remote: str) -> str:
    """What counts as one address: an IPv4 address, or the /64 that one household is given."""
    try:
        address = ipaddress.ip_address(remote.partition("%")[0])
    except ValueError:
        return remote
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.IPv6Network((address, 64), strict=False).network_address)
    return remote
