"""A station of the deterministic world: outlets, profiles and books as in `station.py`, and a line
in virtual time instead of a socket.

Invariants: one CALL outstanding at a time; what belongs to a transaction is kept and repeated with
new message ids until it is answered, across lost connections and restarts; the rest is said once.
An outlet offers what the profiles that are in force allow at the instant, whether the line is up or
not. A station without quirks has in force what it accepted; nothing of it costs anything while
nothing about it changes."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from controlplane.sim.network_faults import NetworkFaults
from controlplane.sim.outlet import StationSpec, Transaction
from controlplane.sim.profiles import Profile, ProfileBook, Purpose, Situation
from controlplane.sim.vehicle import Vehicle
from controlplane.sim.virtual_dialects import DIALECTS
from controlplane.sim.virtual_host import Scheduler
from controlplane.sim.virtual_outlet import VirtualOutlet
from controlplane.sim.virtual_quirks import HONEST, Quirks

__all__ = ["LIE_LASTS_MS", "ClosedBook", "Frame", "VirtualStation"]

_ANSWER_TIMEOUT_MS = 30_000
_OUTBOX_MAX = 2_000
_STATE_DWELL_MS = 2_000
LIE_LASTS_MS = 45_000
"""How long a vehicle may go on drawing what a station offered against its word: the slowest ramp
takes half a minute."""
_EXCESS_A = 0.5
"""Less above a limit is no more than a meter's class explains."""
_CLOCK_JUMP_MS = 600_000
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
    fed_wh: float = 0.0


def _nobody(station: VirtualStation, outlet: VirtualOutlet) -> None:
    """Where nobody watches."""


class VirtualStation:
    """One station. `send` puts a frame on the line; it is called only while the line is up.
    `watch` is called whenever what an outlet draws or may draw has changed, or whether it is in
    reach."""

    def __init__(
        self,
        spec: StationSpec,
        *,
        scheduler: Scheduler,
        faults: NetworkFaults,
        send: Callable[[Frame], None],
        watch: Callable[[VirtualStation, VirtualOutlet], None] = _nobody,
        quirks: Quirks = HONEST,
    ) -> None:
        self.spec = spec
        self.dialect = DIALECTS[spec.version]
        self.outlets = [VirtualOutlet(outlet) for outlet in spec.outlets]
        self.book = ProfileBook()
        """The profiles that it accepted."""
        self.told: Counter[int] = Counter()
        """How many limits of a transaction it accepted, by connector."""
        self.quirks = self._nature = quirks
        self.connection = ""
        """Empty while the line is down; the world sets it."""
        self.connected_ms = 0
        self.running = True
        self.refused: list[str] = []
        """Transaction messages that were answered with an error: chargers repeat them for ever."""
        self.closed: list[ClosedBook] = []
        self._in_force = ProfileBook() if quirks.lies else self.book
        self._clock_off_ms = quirks.clock_off_ms
        self._scheduler = scheduler
        self._faults = faults
        self._send = send
        self._watch = watch
        self._outbox: deque[_Outgoing] = deque()
        self._booted = False
        self._outstanding = ""
        self._message_number = 0
        self._meter_interval_ms = 60_000
        self._offline_since_ms = scheduler.now_ms

    @property
    def outlet(self) -> VirtualOutlet:
        """The only outlet of a station that has one, else the first."""
        return self.outlets[0]

    @property
    def backlog(self) -> int:
        """Messages that wait for an answer."""
        return len(self._outbox)

    # --- vehicles and meters ----------------------------------------------------------------------

    def plug(self, vehicle: Vehicle, id_token: str, number: int = 0) -> None:
        """A vehicle arrives at the outlet `number`; its driver is known to the station."""
        outlet = self.outlets[number]
        outlet.advanced_ms = self._scheduler.now_ms
        outlet.vehicle, outlet.id_token = vehicle, id_token
        self._tell_state(outlet)
        if self.running:
            self._begin(outlet)

    def unplug(self, number: int = 0) -> None:
        """The vehicle leaves, and its transaction ends with it."""
        outlet = self.outlets[number]
        self._end(outlet, "EVDisconnected")
        outlet.vehicle = None
        outlet.step(0.0, 0.0)
        self._watch(self, outlet)
        self._tell_state(outlet)

    def settle(self) -> None:
        """Bring every meter up to this instant."""
        for outlet in self.outlets:
            outlet.advance(self._scheduler.now_ms)

    def behave(self, *, honest: bool) -> None:
        """Be without quirks for a while, with in force what was promised; or as by nature."""
        self.quirks = HONEST if honest else self._nature
        lies = self.quirks.lies
        self._in_force = ProfileBook(list(self.book.profiles)) if lies else self.book
        if honest:
            self._clock_off_ms = 0
        self._renew_all()

    def _renew(self, outlet: VirtualOutlet) -> None:
        """Offer what the profiles allow now."""
        now_ms = self._scheduler.now_ms
        transaction, offered_a, promised_a = outlet.transaction, 0.0, 0.0
        if transaction is not None:
            situation = self._situation(outlet, transaction)
            promised_a = offered_a = self.book.limit_a(situation, now_ms)
            if self._in_force is not self.book:
                offered_a = self._in_force.limit_a(situation, now_ms)
            if self.quirks.whole_amperes:
                offered_a = float(math.trunc(offered_a + math.copysign(1e-9, offered_a)))
        lied = outlet.offered_a > outlet.promised_a + 1e-9
        if lied or offered_a > promised_a + 1e-9:
            outlet.liar_until_ms = now_ms + LIE_LASTS_MS
        outlet.promised_a = promised_a
        outlet.offer(offered_a, now_ms)
        self._changed(outlet)

    def _changed(self, outlet: VirtualOutlet) -> None:
        """Tell who watches, and come back when the vehicle does something by itself."""
        self._watch(self, outlet)
        now_ms = self._scheduler.now_ms
        if outlet.tells_ms is None and outlet.state_now() is not outlet.state:
            outlet.tells_ms = now_ms + _STATE_DWELL_MS
            self._scheduler.after(_STATE_DWELL_MS, partial(self._dwelt, outlet))
        next_ms = outlet.next_change_ms(now_ms)
        if next_ms is None or (outlet.wake_ms is not None and now_ms < outlet.wake_ms <= next_ms):
            return
        outlet.wake_ms = next_ms
        self._scheduler.after(next_ms - now_ms, partial(self._wake, outlet, next_ms))

    def _wake(self, outlet: VirtualOutlet, at_ms: int) -> None:
        if outlet.wake_ms == at_ms:
            outlet.wake_ms = None
            outlet.advance(at_ms)
            self._changed(outlet)

    def _dwelt(self, outlet: VirtualOutlet) -> None:
        outlet.tells_ms = None
        if self.running and outlet.state_now() is not outlet.state:
            self._tell_state(outlet)

    def _sample(self, outlet: VirtualOutlet, transaction: Transaction) -> None:
        if outlet.transaction is not transaction:
            return
        outlet.advance(self._scheduler.now_ms)
        self._changed(outlet)
        self._sample_later(outlet, transaction)
        self._tell_sample(outlet, transaction, asked=False)

    def _tell_sample(self, outlet: VirtualOutlet, transaction: Transaction, *, asked: bool) -> None:
        outlet.shows_excess = outlet.draw.current_a > outlet.promised_a + _EXCESS_A
        if len(self._outbox) < _OUTBOX_MAX:
            sample = self.dialect.sampled(outlet, transaction, self._clock_ms(), asked=asked)
            self._post(*sample, transaction)

    def _sample_later(self, outlet: VirtualOutlet, transaction: Transaction) -> None:
        self._scheduler.after(self._meter_interval_ms, partial(self._sample, outlet, transaction))

    def _situation(self, outlet: VirtualOutlet, transaction: Transaction) -> Situation:
        spec = outlet.spec
        return Situation(
            connector_id=spec.connector_id,
            voltage_v=spec.voltage_v,
            phases=len(spec.lines),
            current_max_a=spec.current_max_a,
            connectors=len(self.outlets),
            transaction_id=transaction.id,
            transaction_start_ms=outlet.began_ms,
            efficiency=spec.efficiency,
            offline_s=0.0
            if self.connection
            else (self._scheduler.now_ms - self._offline_since_ms) / 1_000,
        )

    def _clock_ms(self) -> int:
        """What its own clock shows."""
        now_ms = self._scheduler.now_ms
        if self._clock_off_ms is None:
            return now_ms % 86_400_000
        return now_ms + self._clock_off_ms

    def _begin(self, outlet: VirtualOutlet) -> None:
        now_ms = self._scheduler.now_ms
        assert outlet.vehicle is not None
        outlet.advance(now_ms)
        transaction = Transaction(
            id_token=outlet.id_token,
            started_ms=self._clock_ms(),
            register_start_wh=int(outlet.register_wh),
            exported_start_wh=int(outlet.exported_wh),
        )
        if self.spec.version != "1.6":
            transaction.id = f"{self.spec.id}-{outlet.spec.connector_id}-{now_ms}"
        outlet.transaction = transaction
        outlet.began_ms = now_ms
        outlet.drawn_start_wh = outlet.vehicle.drawn_wh
        outlet.fed_start_wh = outlet.vehicle.fed_wh
        self._post(*self.dialect.started(outlet, transaction), transaction)
        self._tell_needs(outlet)
        self._sample_later(outlet, transaction)
        self._renew(outlet)

    def _tell_needs(self, outlet: VirtualOutlet) -> None:
        needs = self.dialect.needs(outlet)
        if needs is not None:
            self._post(*needs, None)

    def _end(self, outlet: VirtualOutlet, reason: str) -> None:
        outlet.advance(self._scheduler.now_ms)
        transaction = outlet.transaction
        if transaction is None or outlet.vehicle is None:
            return
        transaction.ended_ms = self._clock_ms()
        transaction.register_stop_wh = int(outlet.register_wh)
        transaction.exported_stop_wh = int(outlet.exported_wh)
        drawn_wh = outlet.vehicle.drawn_wh - outlet.drawn_start_wh
        fed_wh = outlet.vehicle.fed_wh - outlet.fed_start_wh
        self.closed.append(ClosedBook(self.spec.id, transaction, drawn_wh, fed_wh))
        self._post(*self.dialect.ended(outlet, transaction, reason), transaction)
        self.book.end_transaction(transaction.id, outlet.spec.connector_id)
        if self._in_force is not self.book and not self.quirks.outlives:
            self._in_force.end_transaction(transaction.id, outlet.spec.connector_id)
        outlet.transaction, outlet.shows_excess = None, False
        self._renew(outlet)

    def _tell_state(self, outlet: VirtualOutlet) -> None:
        outlet.state, outlet.state_since_ms = outlet.state_now(), self._scheduler.now_ms
        for action, payload in self.dialect.state(outlet, self._clock_ms()):
            self._post(action, payload, None)

    # --- power and the line -----------------------------------------------------------------------

    def power_off(self) -> None:
        """Lose power: nothing flows any more, transactions end where they stood; books and default
        profiles are kept, but for a station that forgets."""
        for outlet in self.outlets:
            self._end(outlet, "PowerLoss")
            if outlet.vehicle is not None:
                outlet.vehicle.cut_off()
                outlet.step(0.0, outlet.offered_a)
                self._changed(outlet)
        if self.quirks.amnesia:
            self._in_force.profiles = []
        self.running = self._booted = False

    def power_on(self) -> None:
        """Start again, with whatever is plugged in."""
        self.running = True
        self._clock_off_ms = self.quirks.clock_off_ms
        for outlet in self.outlets:
            if outlet.vehicle is not None:
                self._begin(outlet)

    def opened(self) -> None:
        """The line is up."""
        self._watch_all()
        self._outstanding = ""
        self.connected_ms = self._scheduler.now_ms
        if self.quirks.clock_jumps:
            self._clock_off_ms = self._faults.random.randrange(-_CLOCK_JUMP_MS, _CLOCK_JUMP_MS)
        if self._booted:
            for outlet in self.outlets:
                self._tell_state(outlet)
                self._tell_needs(outlet)
            self._pump()
        else:
            self._boot()
        if self._holds_setpoints:
            offline_s = (self._scheduler.now_ms - self._offline_since_ms) / 1_000
            for book in (self.book, self._in_force):
                book.was_offline(offline_s)
            self._renew_all()

    def lost(self) -> None:
        """The line is down: what belongs to no transaction is forgotten."""
        self.connection = self._outstanding = ""
        self._offline_since_ms = self._scheduler.now_ms
        self._watch_all()
        for offline_s in {profile.offline_max_s for profile in self.book.profiles}:
            if offline_s is not None:
                self._scheduler.after(offline_s * 1_000 + 1, self._renew_all)
        self._outbox = deque(message for message in self._outbox if message.transaction is not None)
        for message in self._outbox:
            message.offline = True

    @property
    def _holds_setpoints(self) -> bool:
        """Whether a profile of it counts only for so long without a connection."""
        return any(profile.offline_max_s is not None for profile in self.book.profiles)

    def _post(self, action: str, payload: dict[str, Any], transaction: Transaction | None) -> None:
        if transaction is None and not (self.connection and self._booted):
            return
        self._outbox.append(_Outgoing(action, payload, transaction, offline=not self.connection))
        self._pump()

    def _watch_all(self) -> None:
        for outlet in self.outlets:
            self._watch(self, outlet)

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
        self._scheduler.after(_ANSWER_TIMEOUT_MS, partial(self._unanswered, message_id))
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
            answer = self._answer(*frame[1:])
            if not self._faults.chance(self.quirks.mute):
                self._send(answer)
        elif frame[1] == self._outstanding:
            self._outstanding = ""
            self._answered(frame)
        # An answer to a CALL that has timed out is of no use any more.

    def _answered(self, frame: Frame) -> None:
        if not self._booted:
            self._booted = frame[0] == 3 and frame[2]["status"] == "Accepted"
            if self._booted:
                if self._clock_off_ms is None:
                    self._clock_off_ms = 0
                for outlet in self.outlets:
                    self._tell_state(outlet)
                    self._tell_needs(outlet)
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
                criteria = self.dialect.cleared(payload)
                cleared = self.book.clear(**criteria)
                if self._in_force is not self.book:
                    self._in_force.clear(**criteria)
                self._renew_all()
                return [3, message_id, {"status": "Accepted" if cleared else "Unknown"}]
            case "ChangeConfiguration" | "SetVariables":
                settings, answer = self.dialect.settings(payload)
                for name in _METER_SETTINGS & settings.keys():
                    self._meter_interval_ms = max(1, int(settings[name])) * 1_000
                return [3, message_id, answer]
            case "TriggerMessage":
                self._triggered(payload)
                return [3, message_id, {"status": "Accepted"}]
            case _:
                return [4, message_id, "NotImplemented", f"{action} is not simulated", {}]

    def _triggered(self, payload: dict[str, Any]) -> None:
        match payload["requestedMessage"]:
            case "BootNotification":
                self._scheduler.after(0, self._boot)
            case "MeterValues" | "TransactionEvent":
                connector_id = payload.get("connectorId") or payload.get("evse", {}).get("id")
                self._scheduler.after(0, partial(self._sample_all, connector_id))

    def _sample_all(self, connector_id: int | None) -> None:
        """Measure every outlet, or one, outside of its rhythm."""
        for outlet in self.outlets:
            transaction = outlet.transaction
            if transaction is not None and connector_id in (None, outlet.spec.connector_id):
                outlet.advance(self._scheduler.now_ms)
                self._changed(outlet)
                self._tell_sample(outlet, transaction, asked=True)

    def _take_profile(self, payload: dict[str, Any]) -> str:
        profile = self.dialect.profile(payload)
        if self._faults.happens("reject") or profile.unit != self.spec.unit:
            return "Rejected"
        if profile.purpose is Purpose.TRANSACTION and not self._fits(profile):
            return "Rejected"
        if profile.purpose is Purpose.TRANSACTION:
            self.told[profile.connector_id] += 1
        self.book.install(profile)
        if self._in_force is not self.book and not self._faults.chance(self.quirks.ignores):
            self._scheduler.after(self.quirks.late_ms, partial(self._bring_into_force, profile))
        self._renew_all()
        if profile.duration_s is not None and profile.start_ms is not None:
            ends_ms = profile.start_ms + profile.duration_s * 1_000
            self._scheduler.after(ends_ms - self._scheduler.now_ms, self._renew_all)
        return "Accepted"

    def _fits(self, profile: Profile) -> bool:
        """Whether the profile is of a transaction that runs, and has run for long enough."""
        for outlet in self.outlets:
            transaction = outlet.transaction
            if outlet.spec.connector_id == profile.connector_id and transaction is not None:
                ran_ms = self._scheduler.now_ms - outlet.began_ms
                known = profile.transaction_id in (None, transaction.id)
                return known and ran_ms >= self.quirks.early_ms
        return False

    def _bring_into_force(self, profile: Profile) -> None:
        """What was accepted holds at last, if it still stands in the book."""
        if self._in_force is not self.book and profile in self.book.profiles:
            if self.quirks.outlives and profile.purpose is Purpose.TRANSACTION:
                profile = profile.for_any_transaction()
            self._in_force.install(profile)
            self._renew_all()

    def _renew_all(self) -> None:
        for outlet in self.outlets:
            self._renew(outlet)
