"""The gateway: OCPP-J sockets, and nothing else that matters.

It frames and checks what stations send and passes it to the host that owns the charger's shard; the
host's frames go out as they come. Invariants: one socket per charger, the newest authenticated one;
a malformed frame is answered here, at once, and disturbs nobody; a station's CALL is kept until it
is answered, and delivered again when its host was replaced, so a host that dies costs no socket and
no message; a host's word under a lower epoch than was seen is refused."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
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
from controlplane.ids import SHARDS, ActorKind, ChargerId, shard_of
from controlplane.ocpp import framing, mending, schemas, typed
from controlplane.runtime.admission import (
    WITHOUT_HEADER,
    Admission,
    charger_id_of,
    remote_of,
    select_subprotocol,
)
from controlplane.runtime.directory import Directory
from controlplane.runtime.door import Door, Turnstile
from controlplane.runtime.notices import Notices
from controlplane.runtime.station import Station
from controlplane.runtime.station_socket import StationSocket
from controlplane.runtime.telemetry import Telemetry, log
from controlplane.runtime.tls import Tls
from controlplane.runtime.transport import Link
from controlplane.runtime.wire import (
    Announcement,
    CallOfStation,
    CloseStation,
    DirectoryChanged,
    FrameKind,
    FromStation,
    Parcel,
    Ports,
    Reintroduce,
    StationNews,
    ToStation,
)
from controlplane.store.reader import StoreReader

__all__ = ["Gateway"]

_SWEEP_INTERVAL_S = 5.0
_FULL_PAUSE_S = 0.05
_GARBLED_MAX = 4_000
_FORGOTTEN = Request("", Headers())
"""In the place of the handshake's headers, a tenth of what a connection weighs. The library wants
to see that there was a request."""


class Gateway:
    """The WebSockets of one process, over a plain port, a TLS port or both.

    Args:
        name: unique for all time; every connection's name begins with it.
    """

    def __init__(self, settings: Settings, name: str = "") -> None:
        self.name = name or f"g{uuid.uuid4().hex[:12]}"
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
        self._host_of: list[str] = [""] * SHARDS
        self._epochs: list[int] = [0] * SHARDS
        self._serial = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._chores: list[asyncio.Task[None]] = []
        self._frames_in = 0
        self._frames_out = 0
        self._faults = 0
        self._floods = 0
        self._stale = 0

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
        self._admission.close()
        self._reader.close()

    # --- hosts ------------------------------------------------------------------------------------

    def host_started(self, announcement: Announcement, link: Link) -> None:
        """A host owns these shards from now on. Lower epochs are refused at once; its chargers are
        introduced to it, and what they have unanswered is delivered."""
        host = announcement.host
        earlier = self._links.pop(host, None)
        if earlier is not None:
            earlier.close()
        self._links[host] = link
        for shard, epoch in announcement.epochs.items():
            if epoch >= self._epochs[shard]:
                self._epochs[shard] = epoch
                self._host_of[shard] = host
        for station in self._of_charger.values():
            if station.shard in announcement.epochs:
                station.forget_commands()
                self._introduce(station, resumed=True)
        log.info("host_introduced", host=host, incarnation=announcement.incarnation)

    def host_lost(self, host: str, link: Link | None = None) -> None:
        """The host, or the link to it, is gone; what stations send waits for the next one. Late
        news of a link that was replaced changes nothing."""
        current = self._links.get(host)
        if current is not None and (link is None or link is current):
            del self._links[host]
            current.close()

    def receive(self, parcels: list[Parcel]) -> None:
        """What came from hosts, in order."""
        for parcel in parcels:
            if type(parcel) is ToStation:
                self._to_station(parcel)
            elif type(parcel) is CloseStation:
                station = self._stations.get(parcel.connection)
                if station is not None and self._current(parcel.shard, parcel.epoch, station):
                    self._close(parcel.connection, parcel.code, parcel.reason)
            elif type(parcel) is DirectoryChanged:
                for charger_id in parcel.charger_ids:
                    self._directory.forget(charger_id)
                    station = self._of_charger.get(charger_id)
                    if station is not None:
                        self._background(self._look_up_again(station))
            elif type(parcel) is Reintroduce:
                for charger_id in parcel.charger_ids:
                    station = self._of_charger.get(charger_id)
                    if station is not None:
                        self._introduce(station, resumed=True)

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
        """Without a host the call waits for the next one, which is told of it."""
        link = self._links.get(self._host_of[station.shard])
        if link is not None:
            if call.site_id != station.site_id:
                call = msgspec.structs.replace(call, site_id=station.site_id)
            link.send(call)

    def _to_host(self, station: Station, message: StationNews) -> None:
        """Without a host the message is not needed: the next one is told everything."""
        link = self._links.get(self._host_of[station.shard])
        if link is not None:
            link.send(
                FromStation(station.charger_id, station.site_id, message),
                urgent=type(message) is StationReplied,
            )

    def _noticed(self, charger_id: ChargerId, notice: SecurityNoticed) -> None:
        self._background(self._send_notice(charger_id, notice))

    async def _send_notice(self, charger_id: ChargerId, notice: SecurityNoticed) -> None:
        try:
            entry = await self._directory.find(charger_id)
        except Unavailable:
            # The log has the refusal itself.
            return
        site_id = entry.site_id if entry is not None else None
        link = self._links.get(
            self._host_of[shard_of(ActorKind.CHARGER, charger_id, site_id=site_id)]
        )
        if entry is not None and link is not None:
            link.send(FromStation(charger_id, site_id, notice), urgent=False)

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
            before = self._host_of[station.shard]
            station.belongs_to(site_id)
            if self._host_of[station.shard] != before:
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
        self._frames_in += 1
        self._take(station, text, now_s)
        wait_s = station.overdrawn_s(now_s)
        if wait_s > 0:
            self._floods += 1
            self._notices.note(
                station.charger_id,
                SecurityNoticed("MessageFlood", "read more slowly", station.remote),
            )
        if wait_s > 0 or station.crowded or self._behind(station):
            self._hold(station, socket, max(wait_s, _FULL_PAUSE_S))

    def _hold(self, station: Station, socket: StationSocket, wait_s: float) -> None:
        """Leave the socket unread for a while: the station's TCP window fills, nothing is lost."""
        if not socket.held and not socket.transport.is_closing():
            socket.held = True
            socket.transport.pause_reading()
            self._loop.call_later(wait_s, self._unhold, station, socket)

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
        link = self._links.get(self._host_of[station.shard])
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
        if station.called(call, now_s):
            self._call_host(station, call)

    def _take_sent(self, station: Station, frame: framing.Send) -> None:
        """What wants no answer: gone with the host that was told, like everything that the station
        does not keep either."""
        fault = schemas.check_send(station.version, frame.action, frame.payload)
        if fault is not None:
            self._fault(station, fault.description, code=fault.code, action=frame.action)
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
        if command is not None and command.message_id == frame.message_id:
            fault = schemas.check_result(station.version, command.action, frame.payload)
            if fault is not None:
                self._fault(station, fault.description, code=fault.code, action=command.action)
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
        self._replied(station, answer, now_s)

    def _replied(
        self, station: Station, answer: StationReplied | StationFailed, now_s: float
    ) -> None:
        """The station's answer to our CALL; any other answer is late or made up."""
        if station.command is None or station.command.message_id != answer.message_id:
            log.info(
                "answer_to_nothing", charger=station.charger_id, message_id=answer.message_id[:64]
            )
            return
        self._to_host(station, answer)
        following = station.replied(now_s)
        if following is not None:
            self._write(station.connection, following.frame)

    # --- towards the station ----------------------------------------------------------------------

    def _to_station(self, parcel: ToStation) -> None:
        station = self._stations.get(parcel.connection)
        if station is None or not self._current(parcel.shard, parcel.epoch, station):
            return
        now_s = self._loop.time()
        if parcel.kind == FrameKind.CALL:
            sent = station.commanded(parcel, now_s)
            if sent is None:
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
                self._write(parcel.connection, parcel.frame)
        elif station.pending is not None and station.pending.message_id == parcel.message_id:
            self._write(parcel.connection, parcel.frame)
            following = station.answered(now_s)
            if following is not None:
                self._call_host(station, following)

    def _current(self, shard: int, epoch: int, station: Station) -> bool:
        """Whether the sender owns the shard, as far as this gateway has heard."""
        if epoch >= self._epochs[shard]:
            return True
        self._stale += 1
        log.warning("stale_epoch_refused", charger=station.charger_id, shard=shard, epoch=epoch)
        return False

    def _write(self, connection: str, text: str) -> None:
        """Without waiting: what a station has unanswered bounds what can pile up here."""
        socket = self._sockets.get(connection)
        if socket is not None:
            self._frames_out += 1
            socket.write_text(text)

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
        self._faults += 1
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
                    following = station.answered(now_s)
                    if following is not None:
                        self._call_host(station, following)
                command = station.command
                if command is not None and now_s - station.commanded_at_s > limit_s:
                    next_command = station.replied(now_s)
                    if next_command is not None:
                        self._write(station.connection, next_command.frame)

    def instrument(self, telemetry: Telemetry) -> None:
        """Export what this gateway counts."""
        telemetry.counters(
            "gateway",
            lambda: {
                "frames_in": self._frames_in,
                "frames_out": self._frames_out,
                "faults": self._faults,
                "floods_held": self._floods,
                "handshakes_failed": self._turnstile.failed,
                "handshakes_refused": self._admission.refused,
                "handshakes_timed_out": self._turnstile.timed_out,
                "handshakes_dropped": self._turnstile.dropped,
                "sockets_accepted": self._turnstile.accepted,
                "sockets_refused": self._turnstile.refused,
                "tls_handshakes_failed": self._turnstile.tls_failed,
                "passwords_computed": self._admission.passwords.checks,
                "security_notices_left_out": self._notices.left_out,
                "stale_commands": self._stale,
            },
        )
        telemetry.gauges(
            "gateway",
            lambda: {
                "connected_chargers": len(self._of_charger),
                "handshakes_open": self._turnstile.waiting,
            },
        )


def _closing_words(closed: ConnectionClosed) -> str:
    frame = closed.rcvd or closed.sent
    return f"{frame.code} {frame.reason}".strip() if frame is not None else "connection lost"
