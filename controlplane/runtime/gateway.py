"""The gateway: OCPP-J sockets, and nothing else that matters. Its parts, put together:

    Admission, Doors   who may open a socket, and where (`admission.py`, `door.py`)
    Connections        the stations that are connected (`connections.py`)
    StationFrames      what a station's frames are, and where each goes (`station_frames.py`)
    StationCalls       what stations ask, until a host has answered (`station_calls.py`)
    StationCommands    what hosts want of stations, until answered (`station_commands.py`)
    Routes             who owns which shard, and the link to there (`routes.py`)
    GatewayMember      whether hosts may be trusted at all (`gateway_member.py`)

It frames and checks what stations send and passes it to the host that owns the charger's shard; the
host's frames go out as they come. Invariants: a host's word under a lower epoch than was seen is
refused, and every host's while this gateway is no member, because it may have missed who owns what;
a host that dies costs no socket, a gateway that dies no state."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Collection, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.typing import Subprotocol

from controlplane.charger.messages import SecurityNoticed, StationConnected, StationDisconnected
from controlplane.config import Onboarding, Settings
from controlplane.errors import LoadstarError, Unavailable
from controlplane.ids import ActorKind, ChargerId, shard_of
from controlplane.runtime import catalogue
from controlplane.runtime.admission import (
    WITHOUT_HEADER,
    Admission,
    charger_id_of,
    remote_of,
    select_subprotocol,
)
from controlplane.runtime.connections import Connections
from controlplane.runtime.directory import Directory
from controlplane.runtime.door import Door, Turnstile
from controlplane.runtime.gateway_member import GatewayMember
from controlplane.runtime.gateway_meter import GatewayMeter
from controlplane.runtime.gateway_traces import GatewayTraces
from controlplane.runtime.links import Reach
from controlplane.runtime.metrics import Reading
from controlplane.runtime.notices import Notices
from controlplane.runtime.routes import Routes
from controlplane.runtime.station import Station
from controlplane.runtime.station_calls import StationCalls
from controlplane.runtime.station_commands import StationCommands
from controlplane.runtime.station_frames import FULL_PAUSE_S, StationFrames
from controlplane.runtime.station_socket import StationSocket
from controlplane.runtime.telemetry import log
from controlplane.runtime.tls import Tls, client_certificate
from controlplane.runtime.tracing import Tracing
from controlplane.runtime.wire import (
    Announcement,
    CloseStation,
    DirectoryChanged,
    FrameKind,
    FromStation,
    Parcel,
    Ports,
    Reintroduce,
    ToStation,
    Traced,
    Withdrawal,
)
from controlplane.store.reader import StoreReader

__all__ = ["Gateway"]

_SWEEP_INTERVAL_S = 5.0
_PORTION = 50
"""Certificates that are judged before others have their turn."""
_SHED_INTERVAL_S = 1.0
_FORGOTTEN = Request("", Headers())
"""In the place of the handshake's headers, a tenth of what a connection weighs. The library wants
to see that there was a request."""


class Gateway:
    """The WebSockets of one process, over a plain port, a TLS port or both.

    Args:
        reach: from where and how it links to hosts.
        name: unique for all time; every connection's name begins with it.
    """

    def __init__(self, settings: Settings, reach: Reach, name: str = "") -> None:
        self.name = name or f"g{uuid.uuid4().hex[:12]}"
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._reader = StoreReader(settings.database)
        self._directory = Directory(self._reader)
        self._notices = Notices(self._noticed)
        self._meter = meter = GatewayMeter()
        self._traces = traces = GatewayTraces(Tracing(settings, self.name))
        self.connections = connections = Connections(meter, self._background)
        self.routes = routes = Routes(
            self.name,
            reach,
            traces,
            running=lambda: self.member.running,
            served=self._served,
            background=self._background,
        )
        self.calls = StationCalls(settings, connections, routes, meter, traces)
        self._commands = StationCommands(settings, connections, routes, meter, traces)
        self._frames = StationFrames(
            connections, routes, self.calls, self._commands, meter=meter, notices=self._notices
        )
        self.member = GatewayMember(
            settings,
            self.name,
            reach.node,
            entered=self._entered,
            in_force=routes.owners.in_force,
        )
        self.admission = Admission(
            settings, self._directory, self._reader, lambda: len(connections), self._notices
        )
        self._turnstile = Turnstile(settings)
        self.doors: list[Door] = []
        self._serial = 0
        self._waited_for: set[asyncio.Task[None]] = set()
        self._chores: list[asyncio.Task[None]] = []
        meter.watch(
            stations=connections.of_charger,
            links=routes.links,
            turnstile=self._turnstile,
            admission=self.admission,
            notices=self._notices,
            credits=self.calls.credits,
            now_s=self._loop.time,
        )
        meter.meter.watch(catalogue.NEWS_HELD, lambda: routes.held)
        meter.meter.watch(catalogue.NEWS_DROPPED, lambda: routes.news_dropped)

    # --- life -------------------------------------------------------------------------------------

    async def start(self, ports: Ports | None = None) -> Ports:
        """Listen where the settings say, or where an earlier gateway did; returns the ports.

        Raises:
            InvalidInput: the TLS files cannot be used.
            OSError: a port is taken.
        """
        settings = self._settings
        wanted = ports or Ports(settings.ocpp_port, settings.ocpp_tls_port)
        plain, over_tls = 0, None
        if wanted.tls is not None:
            tls = self.admission.tls = Tls(settings, self._close_revoked)
            self._chores.append(self._loop.create_task(tls.watch_forever()))
            door = self._door(tls, settings.tls_handshakes_per_s)
            over_tls = await door.open(settings.ocpp_host, wanted.tls)
        if settings.ocpp_plain:
            door = self._door(None, settings.handshakes_per_s)
            plain = await door.open(settings.ocpp_host, wanted.plain)
        self._chores.append(self._loop.create_task(self._sweep_forever()))
        self._chores.append(self._loop.create_task(self._shed_forever()))
        log.info("gateway_listening", host=settings.ocpp_host, port=plain, tls_port=over_tls)
        return Ports(plain, over_tls)

    def _door(self, tls: Tls | None, per_s: float) -> Door:
        door = Door(
            self._settings,
            self._turnstile,
            tls=tls,
            per_s=per_s,
            handle=self._handle,
            process_request=self.admission.process_request,
            select_subprotocol=select_subprotocol,
        )
        self.doors.append(door)
        return door

    async def enter(self, address: str) -> None:
        """Become a member, to which hosts link at `address`."""
        await self.member.enter(address)

    def _entered(self, epochs: Mapping[int, int]) -> None:
        """This gateway is a member, perhaps again: until now it may have missed announcements."""
        self.routes.owners.in_force(epochs)
        for station in self.connections.of_charger.values():
            self._introduce(station, resumed=True)

    async def drain(self) -> None:
        """Take no more sockets, and let go of those that there are one by one, so that their
        stations do not all dial another gateway at the same moment."""
        for door in self.doors:
            door.refuse()
        left = list(self.connections)
        for station in left:
            self.connections.abort(station)
            await asyncio.sleep(self._settings.drain_s / len(left))

    async def stop(self) -> None:
        """Let go of every socket and end."""
        for chore in self._chores:
            chore.cancel()
        for station in self.connections:
            self.connections.abort(station)
        await asyncio.gather(*(door.close() for door in self.doors))
        self.routes.close()
        await self.member.leave()
        self.admission.close()
        self._reader.close()
        await asyncio.to_thread(self._traces.tracing.close)

    def readings(self) -> list[Reading]:
        """What this gateway measures."""
        return self._meter.meter.read()

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._waited_for.add(task)
        task.add_done_callback(self._waited_for.discard)

    async def _sweep_forever(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL_S)
            now_s = self._loop.time()
            for station in self.connections:
                self.calls.sweep(station, now_s)
                self._commands.sweep(station, now_s)
            self._traces.expire(now_s - self._settings.call_timeout_s * 2)

    async def _shed_forever(self) -> None:
        while True:
            await asyncio.sleep(_SHED_INTERVAL_S)
            now_s = self._loop.time()
            for station in self.connections:
                self.calls.shed(station, now_s)

    # --- what hosts send --------------------------------------------------------------------------

    def receive(self, parcels: Iterable[Parcel]) -> None:
        """What came from hosts, in order."""
        valid = self.member.valid
        for parcel in parcels:
            if type(parcel) is ToStation:
                if valid:
                    self._to_station(parcel)
                else:
                    self._meter.stale += 1
            elif isinstance(parcel, CloseStation | Traced) and not valid:
                self._meter.stale += 1
            else:
                self._hear(parcel)

    def _hear(self, parcel: Parcel) -> None:
        match parcel:
            case CloseStation():
                station = self.connections.get(parcel.connection)
                if station is not None and self._current(parcel, station):
                    self.connections.close(station, parcel.code, parcel.reason)
            case DirectoryChanged():
                self._directory_changed(parcel.charger_ids)
            case Announcement():
                self._background(self.routes.announced(parcel))
            case Withdrawal():
                self.routes.withdrawn(parcel)
            case Reintroduce():
                for station in self.connections.named(parcel.charger_ids):
                    self._introduce(station, resumed=True)
            case Traced():
                self._traces.arrived(parcel, self._loop.time())
                self.receive([parcel.parcel])
            case _:
                # Nothing else is for a gateway.
                pass

    def _to_station(self, parcel: ToStation) -> None:
        station = self.connections.get(parcel.connection)
        if station is None or not self._current(parcel, station):
            return
        if parcel.kind == FrameKind.CALL:
            self._commands.send(station, parcel, self._loop.time())
        else:
            self.calls.answer(station, parcel, self._loop.time())

    def _current(self, parcel: ToStation | CloseStation, station: Station) -> bool:
        """Whether the sender owns the shard, as far as this gateway has heard."""
        if self.routes.owners.accepts(parcel.shard, parcel.epoch):
            return True
        self._meter.stale += 1
        log.warning(
            "stale_epoch_refused",
            charger=station.charger_id,
            shard=parcel.shard,
            epoch=parcel.epoch,
        )
        return False

    def _served(self, shards: set[int]) -> None:
        """A host serves these from now on."""
        for station in self.connections.of_charger.values():
            if station.shard in shards:
                station.forget_commands()
                self._introduce(station, resumed=True)

    def _introduce(self, station: Station, *, resumed: bool) -> None:
        """Tell the charger's host who is connected and what it has unanswered."""
        profile, pending_hash, certificate_serial = station.admitted
        self.routes.tell(
            station,
            StationConnected(
                station.connection,
                station.version,
                station.remote,
                resumed,
                profile,
                pending_hash,
                certificate_serial,
            ),
        )
        self.calls.deliver(station)

    # --- the directory ----------------------------------------------------------------------------

    def _directory_changed(self, charger_ids: Collection[ChargerId]) -> None:
        for charger_id in charger_ids:
            self._directory.forget(charger_id)
        for station in self.connections.named(charger_ids):
            self._background(self._look_up_again(station))

    async def _look_up_again(self, station: Station) -> None:
        """The directory's entry of a connected charger changed."""
        serial = station.admitted.certificate_serial
        try:
            entry = await self._directory.find(station.charger_id)
            revoked = bool(serial) and await self._directory.revoked(serial)
        except Unavailable as error:
            log.warning("directory_unavailable", charger=station.charger_id, error=str(error))
            return
        if station not in self.connections:
            return
        if revoked:
            self.connections.close(station, 1008, "certificate revoked")
            return
        if entry is None and self._settings.onboarding is Onboarding.REFUSE:
            self.connections.close(station, 1008, "charger removed")
            return
        site_id = entry.site_id if entry is not None else None
        if site_id != station.site_id:
            before = self.routes.host(station.shard)
            station.belongs_to(site_id)
            if self.routes.host(station.shard) != before:
                self._introduce(station, resumed=True)

    async def _close_revoked(self) -> None:
        """Files of TLS have changed: whoever stands on a certificate that a list revokes by now is
        cut off, in small portions, since others wait meanwhile."""
        for number, station in enumerate(self.connections, start=1):
            self._close_if_revoked(station)
            if number % _PORTION == 0:
                await asyncio.sleep(0)

    def _close_if_revoked(self, station: Station) -> None:
        tls, socket = self.admission.tls, station.socket
        serial = station.admitted.certificate_serial
        if not serial or tls is None or socket is None:
            return
        certificate = client_certificate(socket.transport.get_extra_info("ssl_object"))
        if certificate is None or not tls.revoked(certificate):
            return
        words = "the client certificate has been revoked"
        log.warning(
            "revoked_station_closed",
            charger=station.charger_id,
            remote=station.remote,
            serial=serial,
        )
        # Told of each: an operator's list decides how many there are, and each comes up once.
        notice = SecurityNoticed("InvalidClientCertificate", f"{words}: {serial}", station.remote)
        self._noticed(station.charger_id, notice)
        self.connections.close(station, 1008, "certificate revoked")

    def _noticed(self, charger_id: ChargerId, notice: SecurityNoticed) -> None:
        self._background(self._send_notice(charger_id, notice))

    async def _send_notice(self, charger_id: ChargerId, notice: SecurityNoticed) -> None:
        try:
            entry = await self._directory.find(charger_id)
        except Unavailable:
            # The log has the refusal itself.
            return
        if entry is not None:
            shard = shard_of(ActorKind.CHARGER, charger_id, site_id=entry.site_id)
            self.routes.send(shard, FromStation(charger_id, entry.site_id, notice))

    # --- one socket -------------------------------------------------------------------------------

    async def _handle(self, socket: ServerConnection) -> None:
        assert socket.request is not None
        charger_id = charger_id_of(socket.request.path)
        version = socket.subprotocol
        if version is None:
            if socket.request.headers.get_all("Sec-WebSocket-Protocol"):
                # OCPP-J 1.6 section 3.1.2, 2.x part 4 section 3.2: agree to none, then close.
                log.warning("subprotocol_refused", charger=charger_id, remote=remote_of(socket))
                await socket.close(1002, "no subprotocol in common")
                return
            log.warning("subprotocol_missing", charger=charger_id, remote=remote_of(socket))
            version = Subprotocol(WITHOUT_HEADER)
        socket.request, socket.response = _FORGOTTEN, None
        try:
            entry = await self._directory.find(charger_id)
        except LoadstarError:
            await socket.close(1013, "try again later")
            return
        assert isinstance(socket, StationSocket)
        self._serial += 1
        station = Station(
            charger_id=charger_id,
            site_id=entry.site_id if entry is not None else None,
            connection=f"{self.name}:{self._serial}",
            version=version,
            remote=remote_of(socket),
            socket=socket,
            admitted=socket.admitted,
            calls_counted=self._meter.calls_of(version),
            traced=self._traces.tracing.named(charger_id),
        )
        socket.on_text = partial(self._frames.take, station, socket)
        self.connections.adopt(station)
        self._introduce(station, resumed=False)
        # A list may have changed since the handshake was judged.
        self._close_if_revoked(station)
        reason = "closed"
        try:
            await self._read(station, socket)
        except ConnectionClosed as closed:
            reason = _closing_words(closed)
            if closed.sent is not None and closed.sent.code in (1007, 1009):
                self._frames.fault(station, reason)
        finally:
            if self.connections.release(station):
                self.routes.tell(station, StationDisconnected(station.connection, reason))
            self.calls.give_back(station)

    async def _read(self, station: Station, socket: StationSocket) -> None:
        """Until the socket closes. What comes here is what `on_text` does not take: messages in
        fragments and binary ones."""
        while True:
            text = await socket.recv(decode=None)
            if isinstance(text, bytes):
                self._frames.fault(station, "binary frame")
                await socket.close(1003, "OCPP-J is text")
                return
            self._frames.take(station, socket, text)
            while socket.held:  # noqa: ASYNC110 - the library reads on while messages are taken
                await asyncio.sleep(FULL_PAUSE_S)


def _closing_words(closed: ConnectionClosed) -> str:
    frame = closed.rcvd or closed.sent
    return f"{frame.code} {frame.reason}".strip() if frame is not None else "connection lost"
