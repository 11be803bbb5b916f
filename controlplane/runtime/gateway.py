"""The gateway: OCPP-J sockets, and nothing else that matters.

It frames and checks what stations send and passes it to the host that owns the charger's shard; the
host's frames go out as they come. Invariants: one socket per charger, the newest authenticated one;
a malformed frame is answered here, at once, and disturbs nobody; a station's CALL is kept until it
is answered, and delivered again when its host was replaced, so a host that dies costs no socket and
no message; a host's word under a lower epoch than was seen is refused, and every host's while this
gateway is no member, because it may have missed who owns what (`gateway_member.py`)."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Collection, Coroutine, Mapping
from functools import partial
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request
from websockets.typing import Subprotocol

from controlplane.charger.messages import (
    SecurityNoticed,
    StationConnected,
    StationDisconnected,
    StationFailed,
    StationGarbled,
    StationRefused,
    StationReplied,
    StationSent,
)
from controlplane.config import Onboarding, Settings
from controlplane.errors import LoadstarError, Unavailable
from controlplane.ids import ActorKind, ChargerId, shard_of
from controlplane.ocpp import framing, mending, schemas, typed
from controlplane.runtime import catalogue
from controlplane.runtime.admission import (
    WITHOUT_HEADER,
    Admission,
    charger_id_of,
    remote_of,
    select_subprotocol,
)
from controlplane.runtime.credits import Credits, Weight, weight_of
from controlplane.runtime.directory import Directory
from controlplane.runtime.door import Door, Turnstile
from controlplane.runtime.gateway_member import GatewayMember
from controlplane.runtime.gateway_meter import GatewayMeter
from controlplane.runtime.gateway_traces import GatewayTraces
from controlplane.runtime.links import Reach
from controlplane.runtime.metrics import Reading
from controlplane.runtime.notices import Notices
from controlplane.runtime.owners import Owners
from controlplane.runtime.station import Station
from controlplane.runtime.station_socket import StationSocket
from controlplane.runtime.telemetry import log
from controlplane.runtime.tls import Tls
from controlplane.runtime.tracing import Tracing
from controlplane.runtime.transport import Link, connect
from controlplane.runtime.wire import (
    Announcement,
    CallOfStation,
    CloseStation,
    DirectoryChanged,
    FrameKind,
    FromStation,
    Heard,
    Parcel,
    Ports,
    Reintroduce,
    StationNews,
    ToStation,
    Traced,
    Withdrawal,
)
from controlplane.store.reader import StoreReader
from controlplane.units import iso_from_ms

__all__ = ["Gateway"]

_SWEEP_INTERVAL_S = 5.0
_FULL_PAUSE_S = 0.05
_SHED_INTERVAL_S = 1.0
_UNREAD_MAX_BYTES = 1_048_576
"""What a station may leave unread of what it is told before its socket is closed."""
_GARBLED_MAX = 4_000
_FORGOTTEN = Request("", Headers())
"""In the place of the handshake's headers, a tenth of what a connection weighs. The library wants
to see that there was a request."""
_HELD_MAX = 20_000
_RELINK_S = 0.5


class Gateway:
    """The WebSockets of one process, over a plain port, a TLS port or both.

    Args:
        reach: from where and how it links to hosts.
        name: unique for all time; every connection's name begins with it.
    """

    def __init__(self, settings: Settings, reach: Reach, name: str = "") -> None:
        self.name = name or f"g{uuid.uuid4().hex[:12]}"
        self._reach = reach
        self._owners = Owners()
        self._member = GatewayMember(
            settings,
            self.name,
            reach.node,
            entered=self._entered,
            in_force=self._owners.in_force,
        )
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._reader = StoreReader(settings.database)
        self._directory = Directory(self._reader)
        self._notices = Notices(self._noticed)
        self._admission = Admission(
            settings, self._directory, self._reader, lambda: len(self._stations), self._notices
        )
        self._turnstile = Turnstile(settings)
        self._doors: list[Door] = []
        self._stations: dict[str, Station] = {}
        self._sockets: dict[str, StationSocket] = {}
        self._of_charger: dict[str, Station] = {}
        self._links: dict[str, Link] = {}
        self._addresses: dict[str, str] = {}
        self._announcing: dict[str, asyncio.Lock] = {}
        self._held: deque[tuple[int, FromStation]] = deque(maxlen=_HELD_MAX)
        """What stations said, besides CALLs, of shards that nobody served; each with its shard."""
        self._credits = Credits(settings.host_credits)
        # Nobody but hosts can tell the time of an accelerated clock.
        self._real_time = settings.clock_speed == 1.0 and not settings.clock_start
        self._serial = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._chores: list[asyncio.Task[None]] = []
        self._meter = GatewayMeter()
        self._meter.watch(
            stations=self._of_charger,
            links=self._links,
            turnstile=self._turnstile,
            admission=self._admission,
            notices=self._notices,
            credits=self._credits,
            now_s=self._loop.time,
        )
        self._meter.meter.watch(catalogue.NEWS_HELD, lambda: len(self._held))
        self._traces = GatewayTraces(Tracing(settings, self.name))
        self._tracing = self._traces.tracing.on

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
            tls = self._admission.tls = Tls(settings)
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
            process_request=self._admission.process_request,
            select_subprotocol=select_subprotocol,
        )
        self._doors.append(door)
        return door

    async def enter(self, address: str) -> None:
        """Become a member, to which hosts link at `address`."""
        await self._member.enter(address)

    def _entered(self, epochs: Mapping[int, int]) -> None:
        """This gateway is a member, perhaps again: until now it may have missed announcements."""
        self._owners.in_force(epochs)
        for station in self._of_charger.values():
            self._introduce(station, resumed=True)

    async def drain(self) -> None:
        """Take no more sockets, and let go of those that there are one by one, so that their
        stations do not all dial another gateway at the same moment."""
        for door in self._doors:
            door.refuse()
        left = list(self._sockets.values())
        for socket in left:
            socket.transport.abort()
            await asyncio.sleep(self._settings.drain_s / len(left))

    async def stop(self) -> None:
        """Let go of every socket and end. There is no closing handshake: some stations take one for
        good and never dial again, while all of them do after a connection that was lost."""
        for chore in self._chores:
            chore.cancel()
        for socket in self._sockets.values():
            socket.transport.abort()
        await asyncio.gather(*(door.close() for door in self._doors))
        for link in self._links.values():
            link.close()
        await self._member.leave()
        self._admission.close()
        self._reader.close()
        await asyncio.to_thread(self._traces.tracing.close)

    # --- hosts ------------------------------------------------------------------------------------

    async def _announced(self, announcement: Announcement) -> None:
        """A host owns these shards from now on: it is linked to, and told that it was heard."""
        host, address = announcement.host, announcement.address
        self._fence(announcement)
        async with self._announcing.setdefault(host, asyncio.Lock()):
            link = self._links.get(host)
            if link is None or self._addresses.get(host) != address:
                try:
                    link = await self._connect(host, address)
                except ConnectionError as error:
                    # It will ask again.
                    log.warning("host_not_reached", host=host, error=str(error))
                    return
            self.host_started(announcement, link)
        link.send(Heard(self.name, announcement.serial), urgent=True)

    def host_started(self, announcement: Announcement, link: Link) -> None:
        """The host owns these shards from now on: its chargers are introduced to it, and what they
        have unanswered is delivered."""
        self._fence(announcement)
        self._links[announcement.host] = link
        self._serve_shards(announcement.epochs, announcement.host)
        log.info(
            "host_introduced",
            host=announcement.host,
            incarnation=announcement.incarnation,
            shards=len(announcement.epochs),
        )

    def _fence(self, announcement: Announcement) -> None:
        """Lower epochs are refused at once."""
        self._owners.announced(announcement.host, announcement.epochs)

    async def _connect(self, host: str, address: str) -> Link:
        link: Link
        link = await connect(
            address,
            lambda: self._link_lost(host, link),
            node=self._reach.node,
            tls=self._reach.tls,
        )
        earlier = self._links.pop(host, None)
        if earlier is not None:
            earlier.close()
        self._links[host] = link
        self._addresses[host] = address
        return link

    def _serve_shards(self, epochs: Mapping[int, int], host: str) -> None:
        """Introduce the chargers of these shards to their host, and deliver what waits."""
        mine = {s for s, epoch in epochs.items() if self._owners.epoch_of(s) == epoch}
        for station in self._of_charger.values():
            if station.shard in mine:
                station.forget_commands()
                self._introduce(station, resumed=True)
        held, self._held = self._held, deque(maxlen=_HELD_MAX)
        for shard, parcel in held:
            self._send(shard, parcel)

    def _link_lost(self, host: str, link: Link) -> None:
        """What stations say waits until the link is there again or another host is announced."""
        if self._links.get(host) is link:
            del self._links[host]
            self._background(self._relink(host, self._addresses[host]))

    async def _relink(self, host: str, address: str) -> None:
        """A host that died does not listen; one that lives is told everything anew."""
        while self._member.running and self._addresses.get(host) == address:
            await asyncio.sleep(_RELINK_S)
            epochs = self._owners.epochs_of(host)
            if host in self._links or not epochs:
                return
            try:
                await self._connect(host, address)
            except ConnectionError:
                continue
            self._serve_shards(epochs, host)

    def _withdrawn(self, withdrawal: Withdrawal) -> None:
        """Nobody serves these shards until the next announcement."""
        self._owners.withdrawn(withdrawal.host, withdrawal.shards)
        link = self._links.get(withdrawal.host)
        if link is not None:
            link.send(Heard(self.name, withdrawal.serial), urgent=True)

    def receive(self, parcels: list[Parcel]) -> None:
        """What came from hosts, in order."""
        member = self._member.valid
        for parcel in parcels:
            if isinstance(parcel, ToStation | CloseStation | Traced) and not member:
                self._meter.stale += 1
            elif type(parcel) is ToStation:
                self._to_station(parcel)
            elif type(parcel) is CloseStation:
                self._close_station(parcel)
            elif type(parcel) is DirectoryChanged:
                self._directory_changed(parcel.charger_ids)
            elif type(parcel) is Announcement:
                self._background(self._announced(parcel))
            elif type(parcel) is Withdrawal:
                self._withdrawn(parcel)
            elif type(parcel) is Reintroduce:
                for charger_id in parcel.charger_ids:
                    station = self._of_charger.get(charger_id)
                    if station is not None:
                        self._introduce(station, resumed=True)
            elif type(parcel) is Traced:
                self._traces.arrived(parcel, self._loop.time())
                self.receive([parcel.parcel])

    def _close_station(self, parcel: CloseStation) -> None:
        station = self._stations.get(parcel.connection)
        if station is not None and self._current(parcel.shard, parcel.epoch, station):
            self._close(parcel.connection, parcel.code, parcel.reason)

    def _directory_changed(self, charger_ids: Collection[ChargerId]) -> None:
        for charger_id in charger_ids:
            self._directory.forget(charger_id)
            station = self._of_charger.get(charger_id)
            if station is not None:
                self._background(self._look_up_again(station))

    def _introduce(self, station: Station, *, resumed: bool) -> None:
        admitted = station.admitted
        self._to_host(
            station,
            StationConnected(
                station.connection,
                station.version,
                station.remote,
                resumed,
                admitted.profile,
                admitted.pending_hash,
                admitted.certificate_serial,
            ),
        )
        if station.pending is not None:
            self._call_host(station, station.pending)

    def _call_host(self, station: Station, call: CallOfStation) -> None:
        """Without a host the call waits for the next one, which is told of it; without a credit it
        waits for one."""
        host = self._owners.host_of(station.shard)
        link = self._links.get(host)
        weight = weight_of(call.action)
        behind = link is None or self._credits.exhausted(host)
        if behind and weight is Weight.HEARTBEAT and self._real_time:
            self._answer_heartbeat(station, call)
        elif link is not None and self._credits.take(station.connection, host, weight):
            if call.site_id != station.site_id:
                call = msgspec.structs.replace(call, site_id=station.site_id)
            link.send(self._traces.around(call) if self._traces.calls else call)

    def _call_over(self, station: Station, now_s: float) -> None:
        """The station's CALL was answered, or is given up; what it sent next has its turn, and so
        has whoever waited for the credit."""
        self._give_back(station)
        following = station.answered(now_s)
        if following is not None:
            self._call_host(station, following)

    def _give_back(self, station: Station) -> None:
        host = self._credits.forget(station.connection)
        while (turn := self._credits.next(host)) is not None:
            waited = self._stations[turn]
            assert waited.pending is not None
            self._call_host(waited, waited.pending)

    def _answer_heartbeat(self, station: Station, call: CallOfStation) -> None:
        """In the place of a host that is behind."""
        self._meter.shed("heartbeat")
        answer = {"currentTime": iso_from_ms(time.time_ns() // 1_000_000)}
        self._write(station.connection, framing.encode_result(call.message_id, answer))
        # On the next turn: a station that sent many ahead is not answered in one go.
        self._loop.call_soon(self._heartbeat_over, station, call)

    def _heartbeat_over(self, station: Station, call: CallOfStation) -> None:
        if station.pending is call and station.connection in self._stations:
            self._call_over(station, self._loop.time())

    def _to_host(self, station: Station, message: StationNews) -> None:
        """Who is connected is told to the next host anew; the rest waits for it."""
        parcel = FromStation(station.charger_id, station.site_id, message)
        if isinstance(message, StationConnected | StationDisconnected):
            link = self._links.get(self._owners.host_of(station.shard))
            if link is not None:
                link.send(parcel)
        else:
            self._send(station.shard, parcel)

    def _send(self, shard: int, parcel: FromStation) -> None:
        link = self._links.get(self._owners.host_of(shard))
        if link is not None:
            message = parcel.message
            sent: FromStation | Traced = parcel
            if self._traces.commands and isinstance(message, (StationReplied, StationFailed)):
                sent = self._traces.answered(parcel, message)
            link.send(sent, urgent=type(message) is StationReplied)
            return
        if len(self._held) == _HELD_MAX:
            self._meter.news_dropped += 1
        self._held.append((shard, parcel))

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
            self._send(shard, FromStation(charger_id, entry.site_id, notice))

    async def _look_up_again(self, station: Station) -> None:
        """The directory's entry of a connected charger changed."""
        serial = station.admitted.certificate_serial
        try:
            entry = await self._directory.find(station.charger_id)
            revoked = bool(serial) and await self._directory.revoked(serial)
        except Unavailable as error:
            log.warning("directory_unavailable", charger=station.charger_id, error=str(error))
            return
        if station.connection not in self._stations:
            return
        if revoked:
            self._close(station.connection, 1008, "certificate revoked")
            return
        if entry is None and self._settings.onboarding is Onboarding.REFUSE:
            self._close(station.connection, 1008, "charger removed")
            return
        site_id = entry.site_id if entry is not None else None
        if site_id != station.site_id:
            before = self._owners.host_of(station.shard)
            station.belongs_to(site_id)
            if self._owners.host_of(station.shard) != before:
                self._introduce(station, resumed=True)

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
            admitted=socket.admitted,
            calls_counted=self._meter.calls_of(version),
            traced=self._traces.tracing.named(charger_id),
        )
        socket.on_text = partial(self._text, station, socket)
        self._adopt(station, socket)
        reason = "closed"
        try:
            await self._read(station, socket)
        except ConnectionClosed as closed:
            reason = _closing_words(closed)
            if closed.sent is not None and closed.sent.code in (1007, 1009):
                self._fault(station, reason)
        finally:
            self._release(station, reason)

    def _adopt(self, station: Station, socket: StationSocket) -> None:
        """The newest socket wins, at once."""
        older = self._of_charger.get(station.charger_id)
        self._stations[station.connection] = station
        self._sockets[station.connection] = socket
        self._of_charger[station.charger_id] = station
        if older is not None:
            log.warning(
                "connection_replaced",
                charger=station.charger_id,
                remote=station.remote,
                older=older.remote,
            )
            self._close(older.connection, 1008, "replaced by a newer connection")
        self._introduce(station, resumed=False)

    def _release(self, station: Station, reason: str) -> None:
        self._stations.pop(station.connection, None)
        self._sockets.pop(station.connection, None)
        if self._of_charger.get(station.charger_id) is station:
            del self._of_charger[station.charger_id]
            self._to_host(station, StationDisconnected(station.connection, reason))
        self._give_back(station)

    async def _read(self, station: Station, socket: StationSocket) -> None:
        """Until the socket closes. What comes here is what `on_text` does not take: messages in
        fragments and binary ones."""
        while True:
            text = await socket.recv(decode=None)
            if isinstance(text, bytes):
                self._fault(station, "binary frame")
                await socket.close(1003, "OCPP-J is text")
                return
            self._text(station, socket, text)
            while socket.held:  # noqa: ASYNC110 - the library reads on while messages are taken
                await asyncio.sleep(_FULL_PAUSE_S)

    def _text(self, station: Station, socket: StationSocket, text: str | bytes) -> None:
        """One message, on the turn of the loop in which it came in."""
        if self._of_charger.get(station.charger_id) is not station:
            return
        now_s = self._loop.time()
        self._meter.frames_in += 1
        self._take(station, text, now_s)
        wait_s = station.overdrawn_s(now_s)
        if wait_s > 0:
            self._notices.note(
                station.charger_id,
                SecurityNoticed("MessageFlood", "read more slowly", station.remote),
            )
        if wait_s > 0 or station.crowded or self._behind(station):
            self._hold(station, socket, wait_s)

    def _hold(self, station: Station, socket: StationSocket, wait_s: float) -> None:
        """Leave the socket unread for a while: the station's TCP window fills, nothing is lost."""
        if not socket.held and not socket.transport.is_closing():
            socket.held = True
            self._meter.held(flood=wait_s > 0, crowded=station.crowded)
            socket.transport.pause_reading()
            self._loop.call_later(max(wait_s, _FULL_PAUSE_S), self._unhold, station, socket)

    def _unhold(self, station: Station, socket: StationSocket) -> None:
        if socket.transport.is_closing():
            socket.held = False
            return
        if station.crowded or self._behind(station):
            self._loop.call_later(_FULL_PAUSE_S, self._unhold, station, socket)
            return
        socket.held = False
        socket.transport.resume_reading()

    def _behind(self, station: Station) -> bool:
        link = self._links.get(self._owners.host_of(station.shard))
        return link is not None and link.full

    def _take(self, station: Station, text: str | bytes, now_s: float) -> None:
        if isinstance(text, bytes) and (metered := typed.read(station.version, text)) is not None:
            self._called(
                station,
                CallOfStation(
                    station.charger_id,
                    station.site_id,
                    station.connection,
                    metered.message_id,
                    metered.action,
                    text,
                    typed=True,
                ),
                now_s,
            )
            return
        frame = mending.read(station.version, text)
        if type(frame) is framing.Call:
            call = CallOfStation(
                station.charger_id,
                station.site_id,
                station.connection,
                frame.message_id,
                frame.action,
                framing.call_text(frame, text),
                frame.mended,
            )
            if frame.mended:
                log.info("frame_mended", charger=station.charger_id, mended=frame.mended)
            self._called(station, call, now_s)
        elif type(frame) is framing.FrameFault:
            self._fault(station, frame.description, code=frame.code, action=frame.action)
            self._keep_garbled(station, text, frame)
            if frame.answerable:
                self._write(
                    station.connection,
                    framing.encode_error(frame.message_id, frame.code, frame.description),
                )
            else:
                self._replied(
                    station,
                    StationFailed(
                        station.connection, frame.message_id, frame.code, frame.description
                    ),
                    now_s,
                )
        elif type(frame) is framing.CallResult:
            self._take_result(station, frame, now_s)
        elif type(frame) is framing.CallError:
            self._replied(
                station,
                StationFailed(station.connection, frame.message_id, frame.code, frame.description),
                now_s,
            )
        elif type(frame) is framing.Send:
            self._take_sent(station, frame)
        elif type(frame) is framing.CallResultError:
            self._fault(station, frame.description, code=frame.code)
            self._to_host(
                station,
                StationRefused(station.connection, frame.message_id, frame.code, frame.description),
            )

    def _called(self, station: Station, call: CallOfStation, now_s: float) -> None:
        station.calls_counted[call.action] += 1
        if self._tracing and (station.traced or self._traces.tracing.chosen()):
            self._traces.received(station, call, now_s)
        if station.called(call, now_s):
            self._call_host(station, call)

    def _take_sent(self, station: Station, frame: framing.Send) -> None:
        """What wants no answer: gone with the host that was told, like everything that the station
        does not keep either."""
        fault = schemas.check_send(station.version, frame.action, frame.payload)
        if fault is not None:
            self._fault(station, fault.description, code=fault.code, action=frame.action)
            return
        host = self._owners.host_of(station.shard)
        if weight_of(frame.action) and (self._credits.exhausted(host) or self._behind(station)):
            self._meter.shed("sample")
            return
        self._to_host(station, StationSent(station.connection, frame.action, frame.payload))

    def _keep_garbled(self, station: Station, text: str | bytes, fault: framing.FrameFault) -> None:
        """What carries a transaction is kept for an operator even where nobody can read it."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        action = mending.transaction_action(text)
        if action and fault.answerable:
            garbled = StationGarbled(
                station.connection, action, text[:_GARBLED_MAX], fault.description
            )
            self._to_host(station, garbled)

    def _take_result(self, station: Station, frame: framing.CallResult, now_s: float) -> None:
        command = station.command
        answer: StationReplied | StationFailed
        answer = StationReplied(station.connection, frame.message_id, frame.payload)
        result = "answered"
        if command is not None and command.message_id == frame.message_id:
            fault = schemas.check_result(station.version, command.action, frame.payload)
            if fault is not None:
                self._fault(station, fault.description, code=fault.code, action=command.action)
                result = "malformed"
                answer = StationFailed(
                    station.connection, frame.message_id, fault.code, fault.description
                )
                if framing.has_result_errors(station.version):
                    self._write(
                        station.connection,
                        framing.encode_result_error(
                            frame.message_id, fault.code, fault.description
                        ),
                    )
        self._replied(station, answer, now_s, result)

    def _replied(
        self,
        station: Station,
        answer: StationReplied | StationFailed,
        now_s: float,
        result: str = "error",
    ) -> None:
        """The station's answer to our CALL; any other answer is late or made up."""
        command = station.command
        if command is None or command.message_id != answer.message_id:
            log.info(
                "answer_to_nothing", charger=station.charger_id, message_id=answer.message_id[:64]
            )
            return
        self._meter.commanded(command, result, now_s - station.commanded_at_s)
        self._to_host(station, answer)
        following = station.replied(now_s)
        if following is not None:
            self._write_command(following)

    # --- towards the station ----------------------------------------------------------------------

    def _to_station(self, parcel: ToStation) -> None:
        station = self._stations.get(parcel.connection)
        if station is None or not self._current(parcel.shard, parcel.epoch, station):
            return
        now_s = self._loop.time()
        if parcel.kind == FrameKind.CALL:
            sent = station.commanded(parcel, now_s)
            if sent is None:
                self._meter.commanded(parcel, "overflow")
                log.error("commands_overflow", charger=station.charger_id, action=parcel.action)
                self._to_host(
                    station,
                    StationFailed(
                        station.connection,
                        parcel.message_id,
                        "InternalError",
                        "too many commands wait for this station",
                    ),
                )
            elif sent:
                self._write_command(parcel)
        elif station.pending is not None and station.pending.message_id == parcel.message_id:
            self._write(parcel.connection, parcel.frame)
            self._meter.call_s.record(now_s - station.called_at_s)
            if self._traces.calls:
                self._traces.replied(parcel)
            self._call_over(station, now_s)

    def _current(self, shard: int, epoch: int, station: Station) -> bool:
        """Whether the sender owns the shard, as far as this gateway has heard."""
        if self._owners.accepts(shard, epoch):
            return True
        self._meter.stale += 1
        log.warning("stale_epoch_refused", charger=station.charger_id, shard=shard, epoch=epoch)
        return False

    def _write(self, connection: str, text: str) -> None:
        """Without waiting: what a station has unanswered bounds what can pile up here."""
        socket = self._sockets.get(connection)
        if socket is None:
            return
        if socket.transport.get_write_buffer_size() > _UNREAD_MAX_BYTES:
            # It asks and does not read the answers; it may dial again.
            self._meter.unread += 1
            log.warning("answers_not_read", connection=connection)
            socket.transport.abort()
            return
        self._meter.frames_out += 1
        socket.write_text(text)

    def _write_command(self, command: ToStation) -> None:
        self._write(command.connection, command.frame)
        if self._traces.commands:
            self._traces.written(command)

    def _close(self, connection: str, code: int, reason: str) -> None:
        socket = self._sockets.get(connection)
        if socket is not None:
            self._background(socket.close(code, reason))

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    # --- chores -----------------------------------------------------------------------------------

    def _fault(
        self, station: Station, description: str, *, code: str = "", action: str = ""
    ) -> None:
        self._meter.refused(station.version, code)
        if not station.may_be_logged(self._loop.time()):
            return
        log.warning(
            "frame_refused",
            charger=station.charger_id,
            remote=station.remote,
            code=code,
            action=action[:64],
            description=description,
        )

    async def _sweep_forever(self) -> None:
        """What nobody answered in time stops blocking what waits behind it. A station repeats an
        unanswered CALL by itself; the actor has its own, shorter wait for a command."""
        limit_s = self._settings.call_timeout_s * 2
        while True:
            await asyncio.sleep(_SWEEP_INTERVAL_S)
            now_s = self._loop.time()
            for station in list(self._stations.values()):
                if station.pending is not None and now_s - station.called_at_s > limit_s:
                    log.error(
                        "call_unanswered",
                        charger=station.charger_id,
                        action=station.pending.action,
                    )
                    self._call_over(station, now_s)
                command = station.command
                if command is not None and now_s - station.commanded_at_s > limit_s:
                    self._meter.commanded(command, "unanswered")
                    next_command = station.replied(now_s)
                    if next_command is not None:
                        self._write_command(next_command)
            self._traces.expire(now_s - limit_s)

    async def _shed_forever(self) -> None:
        """What weighs little gives way where its host left it waiting."""
        while True:
            await asyncio.sleep(_SHED_INTERVAL_S)
            now_s = self._loop.time()
            for station in list(self._stations.values()):
                call = station.pending
                waited_s = now_s - station.called_at_s
                if call is None or waited_s <= self._settings.shed_after_s:
                    continue
                weight = weight_of(call.action)
                if weight is Weight.HEARTBEAT and self._real_time:
                    self._answer_heartbeat(station, call)
                elif weight is Weight.SAMPLE:
                    self._meter.shed("sample")
                    self._write(
                        station.connection,
                        framing.encode_error(
                            call.message_id,
                            framing.ErrorCode.INTERNAL_ERROR,
                            "too busy to store this; send it again later",
                        ),
                    )
                    self._call_over(station, now_s)

    def readings(self) -> list[Reading]:
        """What this gateway measures."""
        return self._meter.meter.read()


def _closing_words(closed: ConnectionClosed) -> str:
    frame = closed.rcvd or closed.sent
    return f"{frame.code} {frame.reason}".strip() if frame is not None else "connection lost"
