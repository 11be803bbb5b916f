"""The line between stations and host, and the gateway at its end, in virtual time.

Invariants: frames of one direction of a connection keep their order, as TCP does; nothing arrives
on a connection that is gone; while no host serves, what stations say is held, and what was never
answered is asked again of the next host. Every frame is checked against the schemas of its version,
in both directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import count

from controlplane.actor import Call, CloseSocket, Effect, Reply, ReplyError
from controlplane.charger.messages import (
    StationCalled,
    StationConnected,
    StationDisconnected,
    StationFailed,
    StationReplied,
)
from controlplane.ids import ActorKind, ActorRef
from controlplane.ocpp.schemas import check_call, check_command, check_result
from controlplane.runtime.wire import StationMessage
from controlplane.sim.checkers import AnswerChecker
from controlplane.sim.network_faults import NetworkFaults
from controlplane.sim.violations import Violations
from controlplane.sim.virtual_host import Scheduler, VirtualHost
from controlplane.sim.virtual_station import Frame, VirtualStation

__all__ = ["VirtualLine"]

_REDIAL_MS = 5_000


class VirtualLine:
    """Every connection of a world. `host` and `stations` are set before the first frame."""

    def __init__(self, scheduler: Scheduler, faults: NetworkFaults, violations: Violations) -> None:
        self.host: VirtualHost
        self.stations: Mapping[str, VirtualStation] = {}
        self.messages = 0
        """Frames that arrived."""
        self.answers = AnswerChecker(violations)
        self._scheduler = scheduler
        self._faults = faults
        self._violations = violations
        self._connections: dict[str, VirtualStation] = {}
        self._refs: dict[str, ActorRef] = {}
        self._numbers = count(1)
        self._arrivals_ms: dict[tuple[str, str], int] = {}
        self._held: list[tuple[VirtualStation, StationMessage]] = []
        self._unanswered: dict[str, list[StationCalled]] = {}
        """By connection, the oldest first: what a gateway hands to the next host when one dies. A
        CALL that arrived twice is in it twice, for each is answered."""

    # --- connections ------------------------------------------------------------------------------

    def open(self, station: VirtualStation) -> None:
        """A station has power and a line again."""
        if not station.running:
            station.power_on()
        if station.connection:
            return
        station.connection = f"{station.spec.id}#{next(self._numbers)}"
        self._connections[station.connection] = station
        self._tell(station, self._connected(station, resumed=False))
        station.opened()

    def break_off(self, station: VirtualStation, *, redial_ms: int) -> None:
        """A station loses its line; the gateway may notice late."""
        connection = station.connection
        if not connection:
            return
        station.lost()
        self.answers.closed(connection)
        self._unanswered.pop(connection, None)
        gone = StationDisconnected(connection=connection, reason="lost")
        self._scheduler.after(
            self._faults.notice_ms() if self._faults.on else 0,
            lambda: self._tell(station, gone),
        )
        self._scheduler.after(redial_ms, partial(self.open, station))

    def host_returned(self) -> None:
        """As a gateway does for a new host: who is connected, then what was never answered, then
        what came meanwhile."""
        for station in self.stations.values():
            if station.connection:
                self._tell(station, self._connected(station, resumed=True))
        for connection, calls in list(self._unanswered.items()):
            for call in tuple(calls):
                self.host.from_station(self._ref(self._connections[connection]), call)
        held, self._held = self._held, []
        for station, message in held:
            self._tell(station, message)

    def _connected(self, station: VirtualStation, *, resumed: bool) -> StationConnected:
        return StationConnected(
            connection=station.connection,
            ocpp_version=station.dialect.version,
            remote="127.0.0.1",
            resumed=resumed,
        )

    def _ref(self, station: VirtualStation) -> ActorRef:
        ref = self._refs.get(station.spec.id)
        if ref is None:
            ref = self._refs[station.spec.id] = ActorRef(ActorKind.CHARGER, station.spec.id)
        return ref

    # --- from stations ----------------------------------------------------------------------------

    def up(self, charger_id: str, frame: Frame) -> None:
        """A frame leaves a station."""
        station = self.stations[charger_id]
        arrive = partial(self._arrived_up, station, station.connection, frame)
        self._travel("up", station.connection, arrive)
        if frame[0] == 2 and self._faults.happens("duplicate"):
            self._travel("up", station.connection, arrive)

    def _travel(self, direction: str, connection: str, arrive: Callable[[], None]) -> None:
        """Frames of one direction keep their order; some never arrive."""
        if self._faults.happens("lost"):
            return
        now_ms = self._scheduler.now_ms
        at_ms = now_ms + self._faults.delay_ms()
        if self._faults.on:
            at_ms = max(at_ms, self._arrivals_ms.get((direction, connection), 0))
            self._arrivals_ms[direction, connection] = at_ms
        self._scheduler.after(at_ms - now_ms, arrive)

    def _arrived_up(self, station: VirtualStation, connection: str, frame: Frame) -> None:
        if station.connection != connection:
            return
        self.messages += 1
        if frame[0] == 3:
            self._tell(station, StationReplied(connection, *frame[1:]))
            return
        if frame[0] == 4:
            self._tell(station, StationFailed(connection, *frame[1:4]))
            return
        fault = check_call(station.dialect.version, frame[2], frame[3])
        if fault is not None:
            raise RuntimeError(f"a simulated station broke the schema: {frame}: {fault}")
        self._tell(station, StationCalled(connection, *frame[1:]))

    def _tell(self, station: VirtualStation, message: StationMessage) -> None:
        """News for a charger; a gateway holds them while no host serves it."""
        if not self.host.up:
            self._held.append((station, message))
            return
        if type(message) is StationCalled and message.connection == station.connection:
            self.answers.called(message.connection, message.message_id, self._scheduler.now_ms)
            self._unanswered.setdefault(message.connection, []).append(message)
        self.host.from_station(self._ref(station), message)

    # --- to stations ------------------------------------------------------------------------------

    def released(self, effect: Effect) -> None:
        """What leaves the host."""
        match effect:
            case Reply(connection, message_id, payload):
                self._answer(connection, message_id, [3, message_id, payload])
            case ReplyError(connection, message_id, code, description):
                self._answer(connection, message_id, [4, message_id, code, description, {}])
            case Call(connection, message_id, action, payload):
                version = self._connections[connection].dialect.version
                fault = check_command(version, action, payload)
                if fault is not None:
                    self._violations.record(
                        self._scheduler.now_ms, "command against its schema", f"{action}: {fault}"
                    )
                self._down(connection, [2, message_id, action, payload])
            case CloseSocket(connection):
                station = self._connections[connection]
                if station.connection == connection:
                    self.break_off(station, redial_ms=_REDIAL_MS)
            case _:
                raise RuntimeError(f"an effect that the world does not know: {effect}")

    def _answer(self, connection: str, message_id: str, frame: Frame) -> None:
        station = self._connections[connection]
        if station.connection != connection:
            return
        self.answers.answered(connection, message_id, self._scheduler.now_ms)
        calls = self._unanswered.get(connection, [])
        call = next((each for each in calls if each.message_id == message_id), None)
        if call is not None:
            calls.remove(call)
        if call is not None and frame[0] == 3:
            fault = check_result(station.dialect.version, call.action, frame[2])
            if fault is not None:
                self._violations.record(
                    self._scheduler.now_ms, "answer against its schema", f"{call.action}: {fault}"
                )
        self._down(connection, frame)

    def _down(self, connection: str, frame: Frame) -> None:
        self._travel("down", connection, partial(self._arrived_down, connection, frame))

    def _arrived_down(self, connection: str, frame: Frame) -> None:
        station = self._connections[connection]
        if station.connection == connection:
            self.messages += 1
            station.received(frame)
