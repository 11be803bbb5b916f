"""A station of the deterministic world: outlets, profiles and books as in `station.py`, and a line
in virtual time instead of a socket.

Invariants: one CALL outstanding at a time; what belongs to a transaction is kept and repeated with
new message ids until it is answered, across lost connections and restarts; the rest is said once.
An outlet offers what the profiles in the book allow at the instant, whether the line is up or
not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from controlplane.sim.network_faults import NetworkFaults
from controlplane.sim.outlet import Outlet, StationSpec, Transaction
from controlplane.sim.profiles import ProfileBook, Purpose, Situation
from controlplane.sim.vehicle import Vehicle
from controlplane.sim.virtual_dialects import DIALECTS
from controlplane.sim.virtual_host import Scheduler

__all__ = ["ClosedBook", "VirtualStation"]

_ANSWER_TIMEOUT_MS = 30_000
_OUTBOX_MAX = 2_000
_STATE_DWELL_MS = 2_000
_METER_SETTINGS = {"MeterValueSampleInterval", "SampledDataCtrlr.TxUpdatedInterval"}

Frame = list[Any]
"""An OCPP-J frame: [2, id, action, payload], [3, id, payload] or [4, id, code, text, details]."""


@dataclass
class _Outgoing:
    action: str
    payload: dict[str, Any]
    transaction: Transaction | None
    """The transaction it belongs to; such a message is kept until it is answered."""
    offline: bool = False


@dataclass(frozen=True)
class ClosedBook:
    """A transaction that is over by the station's books: what the store must agree with.
    `drawn_wh` is what the vehicle says it took meanwhile."""

    charger_id: str
    transaction: Transaction
    drawn_wh: float


class VirtualStation:
    """One station with one outlet. `send` puts a frame on the line; it is called only while the
    line is up."""

    def __init__(
        self,
        spec: StationSpec,
        *,
        scheduler: Scheduler,
        faults: NetworkFaults,
        send: Callable[[Frame], None],
    ) -> None:
        self.spec = spec
        self.dialect = DIALECTS[spec.version]
        self.outlet = Outlet(spec.outlets[0])
        self.book = ProfileBook()
        self.connection = ""
        """Empty while the line is down; the world sets it."""
        self.running = True
        self.refused: list[str] = []
        """Transaction messages that were answered with an error: chargers repeat them for ever."""
        self.closed: list[ClosedBook] = []
        self._scheduler = scheduler
        self._faults = faults
        self._send = send
        self._outbox: deque[_Outgoing] = deque()
        self._booted = False
        self._outstanding = ""
        self._message_number = 0
        self._meter_interval_ms = 60_000
        self._sample_due_ms = 0
        self._drawn_start_wh = 0.0

    @property
    def backlog(self) -> int:
        """Messages that wait for an answer."""
        return len(self._outbox)

    # --- the vehicle and the meter ----------------------------------------------------------------

    def plug(self, vehicle: Vehicle, id_token: str) -> None:
        """A vehicle arrives; its driver is known to the station."""
        self.outlet.vehicle, self.outlet.id_token = vehicle, id_token
        self._tell_state()
        if self.running:
            self._begin()

    def unplug(self) -> None:
        """The vehicle leaves, and its transaction ends with it."""
        self._end("EVDisconnected")
        self.outlet.vehicle = None
        self.outlet.step(0.0, 0.0)
        self._tell_state()

    def step(self, duration_s: float) -> None:
        """Let the outlet live until now."""
        outlet, now_ms = self.outlet, self._scheduler.now_ms
        transaction = outlet.transaction
        offered_a = 0.0
        if transaction is not None:
            offered_a = self.book.limit_a(self._situation(transaction), now_ms)
        outlet.step(duration_s, offered_a)
        if outlet.state_now() is outlet.state:
            outlet.state_since_ms = now_ms
        elif now_ms - outlet.state_since_ms >= _STATE_DWELL_MS and self.running:
            self._tell_state()
        if transaction is not None and now_ms >= self._sample_due_ms:
            self._sample_due_ms = now_ms + self._meter_interval_ms
            if len(self._outbox) < _OUTBOX_MAX:
                self._post(*self.dialect.sampled(outlet, transaction, now_ms), transaction)

    def _situation(self, transaction: Transaction) -> Situation:
        spec = self.outlet.spec
        return Situation(
            connector_id=spec.connector_id,
            voltage_v=spec.voltage_v,
            phases=len(spec.lines),
            current_max_a=spec.current_max_a,
            transaction_id=transaction.id,
            transaction_start_ms=transaction.started_ms,
        )

    def _begin(self) -> None:
        outlet, now_ms = self.outlet, self._scheduler.now_ms
        assert outlet.vehicle is not None
        transaction = Transaction(
            id_token=outlet.id_token, started_ms=now_ms, register_start_wh=int(outlet.register_wh)
        )
        if self.spec.version == "2.0.1":
            transaction.id = f"{self.spec.id}-{now_ms}"
        outlet.transaction = transaction
        self._drawn_start_wh = outlet.vehicle.drawn_wh
        self._sample_due_ms = now_ms + self._meter_interval_ms
        self._post(*self.dialect.started(outlet, transaction), transaction)

    def _end(self, reason: str) -> None:
        outlet, transaction = self.outlet, self.outlet.transaction
        if transaction is None or outlet.vehicle is None:
            return
        transaction.ended_ms = self._scheduler.now_ms
        transaction.register_stop_wh = int(outlet.register_wh)
        drawn_wh = outlet.vehicle.drawn_wh - self._drawn_start_wh
        self.closed.append(ClosedBook(self.spec.id, transaction, drawn_wh))
        self._post(*self.dialect.ended(outlet, transaction, reason), transaction)
        self.book.end_transaction(transaction.id, outlet.spec.connector_id)
        outlet.transaction = None

    def _tell_state(self) -> None:
        outlet = self.outlet
        outlet.state, outlet.state_since_ms = outlet.state_now(), self._scheduler.now_ms
        for action, payload in self.dialect.state(outlet, self._scheduler.now_ms):
            self._post(action, payload, None)

    # --- power and the line -----------------------------------------------------------------------

    def power_off(self) -> None:
        """Lose power: the transaction ends where it stood; books and default profiles are kept."""
        self._end("PowerLoss")
        self.running = self._booted = False

    def power_on(self) -> None:
        """Start again, with whatever is plugged in."""
        self.running = True
        if self.outlet.vehicle is not None:
            self._begin()

    def opened(self) -> None:
        """The line is up."""
        self._outstanding = ""
        if self._booted:
            self._tell_state()
            self._pump()
        else:
            self._boot()

    def lost(self) -> None:
        """The line is down: what belongs to no transaction is forgotten."""
        self.connection = self._outstanding = ""
        self._outbox = deque(message for message in self._outbox if message.transaction is not None)
        for message in self._outbox:
            message.offline = True

    def _post(self, action: str, payload: dict[str, Any], transaction: Transaction | None) -> None:
        if transaction is None and not (self.connection and self._booted):
            return
        self._outbox.append(_Outgoing(action, payload, transaction, offline=not self.connection))
        self._pump()

    def _boot(self) -> None:
        if self.connection and self.running and not self._booted:
            self._call(*self.dialect.boot(self.spec.id))

    def _pump(self) -> None:
        if not (self.connection and self._booted and self._outbox) or self._outstanding:
            return
        message = self._outbox[0]
        payload = message.payload
        if message.transaction is not None:
            payload = self.dialect.late(payload, message.transaction, offline=message.offline)
        self._call(message.action, payload)

    def _call(self, action: str, payload: dict[str, Any]) -> None:
        self._message_number += 1
        message_id = self._outstanding = f"{self.spec.id}-{self._message_number}"
        self._scheduler.after(_ANSWER_TIMEOUT_MS, lambda: self._unanswered(message_id))
        self._send([2, message_id, action, payload])

    def _unanswered(self, message_id: str) -> None:
        if self._outstanding != message_id:
            return
        self._outstanding = ""
        if not self._booted:
            self._boot()
            return
        if self._outbox and self._outbox[0].transaction is None:
            self._outbox.popleft()
        self._pump()

    # --- what Loadstar says -----------------------------------------------------------------------

    def received(self, frame: Frame) -> None:
        """Take one frame from the line."""
        if frame[0] == 2:
            self._send(self._answer(*frame[1:]))
        elif frame[1] == self._outstanding:
            self._outstanding = ""
            self._answered(frame)
        # An answer to a CALL that has timed out is of no use any more.

    def _answered(self, frame: Frame) -> None:
        if not self._booted:
            self._booted = frame[0] == 3 and frame[2]["status"] == "Accepted"
            if self._booted:
                self._tell_state()
                self._pump()
            else:
                self._scheduler.after(_ANSWER_TIMEOUT_MS, self._boot)
            return
        message = self._outbox.popleft()
        if frame[0] == 4 and message.transaction is not None:
            self.refused.append(f"{self.spec.id}: {message.action}: {frame[2]} {frame[3]}")
        elif frame[0] == 3 and message.transaction is not None:
            starts = (
                message.payload.get("eventType") == "Started" or "meterStart" in message.payload
            )
            if starts and not self.dialect.answered_start(message.transaction, frame[2]):
                self.refused.append(f"{self.spec.id}: {message.action}: not authorised")
        self._pump()

    def _answer(self, message_id: str, action: str, payload: dict[str, Any]) -> Frame:
        match action:
            case "SetChargingProfile":
                return [3, message_id, {"status": self._take_profile(payload)}]
            case "ClearChargingProfile":
                cleared = self.book.clear(**self.dialect.cleared(payload))
                return [3, message_id, {"status": "Accepted" if cleared else "Unknown"}]
            case "ChangeConfiguration" | "SetVariables":
                settings, answer = self.dialect.settings(payload)
                for name in _METER_SETTINGS & settings.keys():
                    self._meter_interval_ms = max(1, int(settings[name])) * 1_000
                return [3, message_id, answer]
            case _:
                return [4, message_id, "NotImplemented", f"{action} is not simulated", {}]

    def _take_profile(self, payload: dict[str, Any]) -> str:
        profile, transaction = self.dialect.profile(payload), self.outlet.transaction
        if self._faults.happens("reject") or profile.unit != self.spec.unit:
            return "Rejected"
        if profile.purpose is Purpose.TRANSACTION and (
            transaction is None or profile.transaction_id not in (None, transaction.id)
        ):
            return "Rejected"
        self.book.install(profile)
        return "Accepted"
