"""What a station's frames are, and where each goes.

Invariants: every message is looked at on the turn of the loop in which it came in, in order; a
malformed one is answered at once, and disturbs nobody; a station that sends more than it may, or
than its host can take, is left unread, so that nothing of what it says is lost."""

from __future__ import annotations

import asyncio
from typing import Final

from controlplane.charger.messages import (
    SecurityNoticed,
    StationFailed,
    StationGarbled,
    StationRefused,
    StationReplied,
    StationSent,
)
from controlplane.ocpp import framing, mending, schemas, typed
from controlplane.runtime.connections import Connections
from controlplane.runtime.credits import weight_of
from controlplane.runtime.gateway_meter import GatewayMeter
from controlplane.runtime.notices import Notices
from controlplane.runtime.routes import Routes
from controlplane.runtime.station import Station
from controlplane.runtime.station_calls import StationCalls
from controlplane.runtime.station_commands import StationCommands
from controlplane.runtime.station_socket import StationSocket
from controlplane.runtime.telemetry import log
from controlplane.runtime.wire import CallOfStation

__all__ = ["FULL_PAUSE_S", "StationFrames"]

FULL_PAUSE_S: Final = 0.05
"""How long a station is left unread before it is looked at again."""
_GARBLED_MAX: Final = 4_000


class StationFrames:
    """Takes the text messages of the stations of one gateway."""

    def __init__(
        self,
        connections: Connections,
        routes: Routes,
        calls: StationCalls,
        commands: StationCommands,
        *,
        meter: GatewayMeter,
        notices: Notices,
    ) -> None:
        self._connections = connections
        self._routes = routes
        self._calls = calls
        self._commands = commands
        self._meter = meter
        self._notices = notices
        self._loop = asyncio.get_running_loop()

    def take(self, station: Station, socket: StationSocket, text: str | bytes) -> None:
        """One message, on the turn of the loop in which it came in."""
        if not self._connections.newest(station):
            return
        now_s = self._loop.time()
        self._meter.frames_in += 1
        self._read(station, text, now_s)
        wait_s = station.overdrawn_s(now_s)
        if wait_s > 0:
            self._notices.note(
                station.charger_id,
                SecurityNoticed("MessageFlood", "read more slowly", station.remote),
            )
        if wait_s > 0 or station.crowded or self._calls.behind(station):
            self._hold(station, socket, wait_s)

    def fault(
        self, station: Station, description: str, *, code: str = "", action: str = ""
    ) -> None:
        """The station broke a rule."""
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

    # --- how fast ---------------------------------------------------------------------------------

    def _hold(self, station: Station, socket: StationSocket, wait_s: float) -> None:
        """Leave the socket unread for a while: the station's TCP window fills, nothing is lost."""
        if not socket.held and not socket.transport.is_closing():
            socket.held = True
            self._meter.held(flood=wait_s > 0, crowded=station.crowded)
            socket.transport.pause_reading()
            self._loop.call_later(max(wait_s, FULL_PAUSE_S), self._unhold, station, socket)

    def _unhold(self, station: Station, socket: StationSocket) -> None:
        if socket.transport.is_closing():
            socket.held = False
            return
        if station.crowded or self._calls.behind(station):
            self._loop.call_later(FULL_PAUSE_S, self._unhold, station, socket)
            return
        socket.held = False
        socket.transport.resume_reading()

    # --- what it is -------------------------------------------------------------------------------

    def _read(self, station: Station, text: str | bytes, now_s: float) -> None:
        if isinstance(text, bytes) and (metered := typed.read(station.version, text)) is not None:
            call = CallOfStation(
                station.charger_id,
                station.site_id,
                station.connection,
                metered.message_id,
                metered.action,
                text,
                typed=True,
            )
            self._calls.take(station, call, now_s)
            return
        frame = mending.read(station.version, text)
        if type(frame) is framing.Call:
            self._called(station, frame, text, now_s)
        elif type(frame) is framing.FrameFault:
            self._faulty(station, frame, text, now_s)
        elif type(frame) is framing.CallResult:
            self._result(station, frame, now_s)
        elif type(frame) is framing.CallError:
            self._failed(station, frame, now_s)
        elif type(frame) is framing.Send:
            self._sent(station, frame)
        elif type(frame) is framing.CallResultError:
            self.fault(station, frame.description, code=frame.code)
            self._routes.tell(
                station,
                StationRefused(station.connection, frame.message_id, frame.code, frame.description),
            )

    def _called(
        self, station: Station, frame: framing.Call, text: str | bytes, now_s: float
    ) -> None:
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
        self._calls.take(station, call, now_s)

    def _sent(self, station: Station, frame: framing.Send) -> None:
        """What wants no answer: gone with the host that was told, like everything that the station
        does not keep either."""
        fault = schemas.check_send(station.version, frame.action, frame.payload)
        if fault is not None:
            self.fault(station, fault.description, code=fault.code, action=frame.action)
            return
        if weight_of(frame.action) and self._calls.crowded(station):
            self._meter.shed("sample")
            return
        self._routes.tell(station, StationSent(station.connection, frame.action, frame.payload))

    def _result(self, station: Station, frame: framing.CallResult, now_s: float) -> None:
        """An answer to our CALL is held against the schema of what it answers."""
        command = station.command
        fault = None
        if command is not None and command.message_id == frame.message_id:
            fault = schemas.check_result(station.version, command.action, frame.payload)
        if command is None or fault is None:
            replied = StationReplied(station.connection, frame.message_id, frame.payload)
            self._commands.replied(station, replied, now_s, "answered")
            return
        self.fault(station, fault.description, code=fault.code, action=command.action)
        if framing.has_result_errors(station.version):
            refusal = framing.encode_result_error(frame.message_id, fault.code, fault.description)
            self._connections.write(station, refusal)
        failed = StationFailed(station.connection, frame.message_id, fault.code, fault.description)
        self._commands.replied(station, failed, now_s, "malformed")

    def _failed(
        self, station: Station, frame: framing.CallError | framing.FrameFault, now_s: float
    ) -> None:
        answer = StationFailed(station.connection, frame.message_id, frame.code, frame.description)
        self._commands.replied(station, answer, now_s, "error")

    def _faulty(
        self, station: Station, fault: framing.FrameFault, text: str | bytes, now_s: float
    ) -> None:
        """What is no frame, or no message of its version."""
        self.fault(station, fault.description, code=fault.code, action=fault.action)
        if not fault.answerable:
            self._failed(station, fault, now_s)
            return
        self._keep_garbled(station, text, fault)
        self._connections.write(
            station, framing.encode_error(fault.message_id, fault.code, fault.description)
        )

    def _keep_garbled(self, station: Station, text: str | bytes, fault: framing.FrameFault) -> None:
        """What carries a transaction is kept for an operator even where nobody can read it."""
        if isinstance(text, bytes):
            text = text.decode("utf-8", "replace")
        action = mending.transaction_action(text)
        if action:
            garbled = StationGarbled(
                station.connection, action, text[:_GARBLED_MAX], fault.description
            )
            self._routes.tell(station, garbled)
