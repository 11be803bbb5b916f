"""A simulated charging station: outlets, their meters and transactions, and the line to the CSMS.

The station speaks through the `ocpp` package and shares nothing with Loadstar's own reading of the
protocol. Invariants: an outlet offers no more than its profiles allow at the instant; whatever
belongs to a transaction is delivered in order and kept until it is answered, through any number of
lost connections; everything else is said once or forgotten.

Durations that the CSMS sets are in the time of the station's clock, which may run faster than the
world's; time-outs and back-off of the line are in real seconds, because the network is real."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Literal, Protocol

from ocpp.exceptions import OCPPError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException
from websockets.typing import Subprotocol

from controlplane.runtime.clock import Clock
from controlplane.sim.line import CountedConnection, Manners, Outgoing, Traffic
from controlplane.sim.outlet import Outlet, OutletState, StationSpec, Transaction
from controlplane.sim.profiles import Profile, ProfileBook, Purpose, Situation
from controlplane.sim.vehicle import Vehicle
from controlplane.units import iso_from_ms

__all__ = ["Dialect", "Station"]

logger = logging.getLogger(__name__)

OUTBOX_MAX = 2_000
"""Messages a station keeps; beyond it the oldest meter values of transactions are thinned out, as
real stations do."""
ANSWER_TIMEOUT_S = 30.0
ATTEMPTS_MAX = 3
"""How often a transaction message that is answered with an error is sent (1.6
TransactionMessageAttempts)."""
BACKOFF_FIRST_S, BACKOFF_MAX_S = 0.2, 5.0


class Dialect(Protocol):
    """How one version of OCPP says what a station has to say; each method posts messages."""

    subprotocol: str

    def point(self, connection: CountedConnection) -> Any:
        """An `ocpp` charge point on this connection that answers the CSMS's calls."""

    def boot(self, reason: str) -> Any:
        """The BootNotification payload."""

    def heartbeat(self) -> Any:
        """The Heartbeat payload."""

    def authorize(self, id_token: str) -> Any:
        """The Authorize payload."""

    def authorized(self, answer: Any) -> bool:
        """Whether the answer to Authorize lets the driver charge."""

    def set_heartbeat_s(self, interval_s: int) -> None:
        """Take the heartbeat interval of an accepted boot."""

    def setting_s(self, name: Literal["heartbeat", "meter"]) -> float:
        """The interval that is set for heartbeats or meter values, 0 for none."""

    def tell_state(self, outlet: Outlet, before: OutletState | None) -> None:
        """The state of an outlet; `before` None repeats it after a boot."""

    def tell_started(self, outlet: Outlet, transaction: Transaction) -> None: ...

    def tell_sample(self, outlet: Outlet, transaction: Transaction, *, context: str) -> None: ...

    def tell_ended(self, outlet: Outlet, transaction: Transaction, *, reason: str) -> None: ...


class Station:
    """A station at `url` (its id is appended). Where there are `further_urls` it dials the next one
    after a failure, and any of them after a line was lost. `step` drives its outlets; `run` keeps
    its line."""

    def __init__(
        self,
        spec: StationSpec,
        *,
        url: str,
        clock: Clock,
        dialect: Callable[[Station], Dialect],
        seed: int = 0,
        further_urls: Sequence[str] = (),
    ) -> None:
        self.spec = spec
        self.clock = clock
        self.outlets = {outlet.connector_id: Outlet(outlet) for outlet in spec.outlets}
        self.book = ProfileBook()
        self.transactions: list[tuple[Outlet, Transaction]] = []
        """Every transaction since the station was made, by its own books."""
        self.traffic = Traffic()
        self.manners = Manners()
        self.obeys = True
        """Whether it keeps to the limits that it accepts."""
        self.settled = asyncio.Event()
        """Set while the station is booted and connected."""
        self.url = url
        """Where it is connected, or dials next."""
        self._urls = deque((url, *further_urls))
        self._next_url: str | None = None
        self._random = random.Random(f"{spec.id}/{seed}")
        self._outbox: deque[Outgoing] = deque()
        self._posted = asyncio.Event()
        self._drained = asyncio.Event()
        self._stopping = False
        self._away_until_s = 0.0
        self._reset_when_idle = False
        self._boot_reason = "PowerUp"
        self._socket: ClientConnection | None = None
        self._offline_since_ms = clock.now_ms()
        self._tasks: set[asyncio.Task[None]] = set()
        self.dialect = dialect(self)

    # --- the driver and the vehicle ---------------------------------------------------------------

    def plug(self, connector_id: int, vehicle: Vehicle, id_token: str) -> None:
        """A vehicle arrives and its driver shows a card."""
        outlet = self.outlets[connector_id]
        if outlet.vehicle is not None:
            raise ValueError(f"{self.spec.id}/{connector_id} is taken")
        outlet.vehicle, outlet.id_token = vehicle, id_token
        self._watch_state(outlet, at_once=True)

        def begin() -> None:
            if outlet.vehicle is vehicle and outlet.transaction is None and outlet.usable:
                self.begin(outlet, id_token)

        if not self.settled.is_set():
            begin()  # offline: charge now, tell later (1.6 LocalAuthorizeOffline, 2.0.1 C15)
            return
        self.post(
            lambda: self.dialect.authorize(id_token),
            keep=False,
            on_result=lambda answer: begin() if self.dialect.authorized(answer) else None,
            on_lost=begin,
        )

    def unplug(self, connector_id: int) -> None:
        """The vehicle leaves; its transaction ends with it."""
        outlet = self.outlets[connector_id]
        if outlet.transaction is not None:
            self.end(outlet, "EVDisconnected")
        outlet.vehicle, outlet.id_token = None, ""
        outlet.step(0.0, 0.0)
        self._watch_state(outlet, at_once=True)

    def step(self, now_ms: int, duration_s: float) -> None:
        """Let the outlets live until `now_ms`."""
        for outlet in self.outlets.values():
            outlet.step(duration_s, self.offer_a(outlet, now_ms))
            self._watch_state(outlet)

    def offer_a(self, outlet: Outlet, now_ms: int) -> float:
        """What the pilot shows."""
        if outlet.transaction is None or outlet.fault:
            return 0.0
        if not self.obeys:
            return outlet.spec.current_max_a
        return self.book.limit_a(self.situation(outlet), now_ms)

    @property
    def commissioned(self) -> bool:
        """Whether it holds a default limit for whoever plugs in; a new station holds none."""
        return any(profile.purpose is Purpose.DEFAULT for profile in self.book.profiles)

    def situation(self, outlet: Outlet) -> Situation:
        """What the profile book must know of an outlet."""
        transaction = outlet.transaction
        return Situation(
            connector_id=outlet.spec.connector_id,
            voltage_v=outlet.spec.voltage_v,
            phases=len(outlet.spec.lines),
            current_max_a=outlet.spec.current_max_a,
            connectors=len(self.outlets),
            transaction_id=None if transaction is None else transaction.id,
            transaction_start_ms=None if transaction is None else transaction.started_ms,
            efficiency=outlet.spec.efficiency,
            offline_s=0.0
            if self.settled.is_set()
            else (self.clock.now_ms() - self._offline_since_ms) / 1_000,
        )

    def _watch_state(self, outlet: Outlet, *, at_once: bool = False) -> None:
        """Tell a new state once it has lasted a real second (1.6 MinimumStatusDuration)."""
        now_ms = self.clock.now_ms()
        state = outlet.state_now()
        if state is outlet.state:
            outlet.state_since_ms = now_ms
        elif at_once or now_ms - outlet.state_since_ms >= 1_000 * self.clock.speed:
            before, outlet.state, outlet.state_since_ms = outlet.state, state, now_ms
            self.dialect.tell_state(outlet, before)

    # --- transactions -----------------------------------------------------------------------------

    def begin(self, outlet: Outlet, id_token: str, *, remote_start_id: int | None = None) -> None:
        """Close the contactor and open the books."""
        outlet.transaction = transaction = Transaction(
            id_token=id_token,
            started_ms=self.clock.now_ms(),
            register_start_wh=int(outlet.register_wh),
            exported_start_wh=int(outlet.exported_wh),
            remote_start_id=remote_start_id,
        )
        self.transactions.append((outlet, transaction))
        self.dialect.tell_started(outlet, transaction)

    def end(self, outlet: Outlet, reason: str) -> None:
        """Open the contactor and close the books."""
        transaction = outlet.transaction
        if transaction is None:
            return
        transaction.ended_ms = self.clock.now_ms()
        transaction.register_stop_wh = int(outlet.register_wh)
        transaction.exported_stop_wh = int(outlet.exported_wh)
        self.dialect.tell_ended(outlet, transaction, reason=reason)
        self.book.end_transaction(transaction.id, outlet.spec.connector_id)
        outlet.transaction = None
        if outlet.vehicle is not None:
            outlet.vehicle.cut_off()
            outlet.step(0.0, 0.0)
        if self._reset_when_idle and not self.busy:
            self.reset(hard=False)

    def outlet_of(self, transaction_id: str) -> Outlet | None:
        """The outlet on which a transaction runs."""
        return next(
            (
                outlet
                for outlet in self.outlets.values()
                if outlet.transaction is not None and outlet.transaction.id == transaction_id
            ),
            None,
        )

    # --- what the CSMS may ask, for the dialects --------------------------------------------------

    def install(self, profile: Profile) -> bool:
        """Take a charging profile, if this station can."""
        outlet = self.outlets.get(profile.connector_id)
        if profile.unit != self.spec.unit or (profile.connector_id != 0 and outlet is None):
            return False
        if profile.purpose is Purpose.TRANSACTION:
            transaction = outlet.transaction if outlet is not None else None
            if transaction is None or profile.transaction_id not in (None, transaction.id):
                return False
        if profile.purpose is Purpose.STATION_MAX and profile.connector_id != 0:
            return False
        self.book.install(profile)
        return True

    def remote_start(
        self, connector_id: int | None, id_token: str, *, remote_start_id: int | None = None
    ) -> bool:
        """Start for a plugged vehicle that has no transaction."""
        for outlet in self.outlets.values():
            wanted = connector_id in (None, outlet.spec.connector_id) and outlet.usable
            if wanted and outlet.vehicle is not None and outlet.transaction is None:
                self.begin(outlet, id_token, remote_start_id=remote_start_id)
                return True
        return False

    def remote_stop(self, transaction_id: str) -> bool:
        """Stop a running transaction; the vehicle stays plugged in."""
        outlet = self.outlet_of(transaction_id)
        if outlet is None:
            return False
        self.end(outlet, "Remote")
        return True

    def set_operative(
        self, connector_id: int, *, operative: bool
    ) -> Literal["Accepted", "Rejected", "Scheduled"]:
        """Open or close an outlet, or with 0 all, for use; a running transaction goes on first."""
        outlets = [
            outlet
            for outlet in self.outlets.values()
            if connector_id in (0, outlet.spec.connector_id)
        ]
        for outlet in outlets:
            outlet.operative = operative
            self._watch_state(outlet, at_once=True)
        if not outlets:
            return "Rejected"
        busy = any(outlet.transaction is not None for outlet in outlets)
        return "Scheduled" if busy and not operative else "Accepted"

    @property
    def busy(self) -> bool:
        """Whether a transaction runs."""
        return any(outlet.transaction is not None for outlet in self.outlets.values())

    def reset(self, *, hard: bool) -> None:
        """End what runs, drop the line and boot again."""
        self._reset_when_idle = False
        self._boot_reason = "RemoteReset"
        for outlet in self.outlets.values():
            self.end(outlet, "ImmediateReset" if hard else "Reboot")
        if self._socket is not None:
            self._spawn(self._socket.close(1000, "reset"))

    def reset_when_idle(self) -> None:
        """Reset once no transaction runs any more (2.0.1 B12)."""
        if self.busy:
            self._reset_when_idle = True
        else:
            self.reset(hard=False)

    def sample(self, *, context: str, connector_id: int | None = None) -> None:
        """Read the meters of running transactions."""
        for outlet in self.outlets.values():
            wanted = connector_id in (None, 0, outlet.spec.connector_id)
            if wanted and outlet.transaction is not None:
                self.dialect.tell_sample(outlet, outlet.transaction, context=context)

    def now_iso(self) -> str:
        return iso_from_ms(self.clock.now_ms())

    # --- the line ---------------------------------------------------------------------------------

    def post(
        self,
        payload: Callable[[], Any],
        *,
        keep: bool,
        sample: bool = False,
        on_result: Callable[[Any], None] = lambda _: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        """Queue a CALL. What is not kept is forgotten while the station is offline."""
        if not keep and not self.settled.is_set():
            on_lost()
            return
        if len(self._outbox) >= OUTBOX_MAX:
            self._thin_out()
        self._outbox.append(Outgoing(payload, keep, sample, on_result, on_lost))
        self._drained.clear()
        self._posted.set()

    def _thin_out(self) -> None:
        """Every second of the waiting meter samples goes; the registers in the others still hold
        the energy."""
        samples = 0
        kept: deque[Outgoing] = deque()
        for outgoing in self._outbox:
            samples += outgoing.sample
            if not outgoing.sample or samples % 2:
                kept.append(outgoing)
        self._outbox = kept

    @property
    def backlog(self) -> int:
        """Messages that wait for an answer."""
        return len(self._outbox)

    async def run(self) -> None:
        """Dial, serve, and redial with jittered back-off until `stop`."""
        backoff_s = BACKOFF_FIRST_S
        while not self._stopping:
            await self._stay_away()
            connected = False
            self.url = self._urls[0] if self._next_url is None else self._next_url
            self._next_url = None
            try:
                async with connect(
                    f"{self.url.rstrip('/')}/{self.spec.id}",
                    subprotocols=[Subprotocol(self.dialect.subprotocol)],
                    compression=None,
                    open_timeout=10,
                    close_timeout=2,
                ) as socket:
                    connected = True
                    self.traffic.connections += 1
                    self._socket = socket
                    await self._serve(socket)
                    backoff_s = BACKOFF_FIRST_S
            except* (OSError, WebSocketException, TimeoutError) as errors:
                logger.info("%s: line lost: %s", self.spec.id, errors.exceptions)
            finally:
                self._socket = None
                self._disconnected()
                turns = self._random.randrange(len(self._urls)) if connected else 1
                self._urls.rotate(-turns)
            if not self._stopping:
                await asyncio.sleep(backoff_s * self._random.uniform(0.5, 1.0))
                backoff_s = min(backoff_s * 2, BACKOFF_MAX_S)

    async def say(self, text: str) -> None:
        """Send a text as it is; lost where there is no line."""
        if self._socket is not None:
            await self._socket.send(text)

    async def hang_up(self, away_s: float) -> None:
        """Lose the line and do not dial again for so many seconds."""
        self._away_until_s = asyncio.get_running_loop().time() + away_s
        if self._socket is not None:
            self._socket.transport.abort()

    async def move(self, url: str) -> None:
        """Lose the line and dial this one next."""
        self._next_url = url
        await self.hang_up(0.0)

    async def _stay_away(self) -> None:
        while not self._stopping:
            left_s = self._away_until_s - asyncio.get_running_loop().time()
            if left_s <= 0:
                return
            await asyncio.sleep(min(left_s, 0.2))

    def break_down(self, connector_id: int, code: str) -> None:
        """A connector fails; what runs on it ends."""
        outlet = self.outlets[connector_id]
        self.end(outlet, "Other")
        outlet.fault = code
        self._watch_state(outlet, at_once=True)

    def repair(self, connector_id: int) -> None:
        """It works again."""
        outlet = self.outlets[connector_id]
        outlet.fault = ""
        self._watch_state(outlet, at_once=True)

    async def stop(self) -> None:
        """Hang up for good."""
        self._stopping = True
        if self._socket is not None:
            await self._socket.close(1000, "bye")

    async def drained(self, timeout_s: float) -> bool:
        """Wait until everything said so far has been answered."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._drained.wait(), timeout_s)
        return not self._outbox

    def _disconnected(self) -> None:
        if self.settled.is_set():
            self._offline_since_ms = self.clock.now_ms()
        self.settled.clear()
        lost = [outgoing for outgoing in self._outbox if not outgoing.keep]
        self._outbox = deque(outgoing for outgoing in self._outbox if outgoing.keep)
        for outgoing in lost:
            outgoing.on_lost()

    async def _serve(self, socket: ClientConnection) -> None:
        """Speak on one connection until it ends."""
        point = self.dialect.point(CountedConnection(socket, self.traffic, self.manners))
        work = [asyncio.create_task(part) for part in (point.start(), self._converse(point))]
        try:
            done, _ = await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _converse(self, point: Any) -> None:
        await self._boot(point)
        self.book.was_offline((self.clock.now_ms() - self._offline_since_ms) / 1_000)
        self.settled.set()
        for outlet in self.outlets.values():
            self.dialect.tell_state(outlet, None)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._pump(point))
            group.create_task(self._beat())
            group.create_task(self._meter())

    async def _boot(self, point: Any) -> None:
        """Boot until accepted (1.6 4.2, 2.0.1 B01 to B03)."""
        while True:
            with contextlib.suppress(OCPPError):
                answer = await point.call(self.dialect.boot(self._boot_reason), suppress=False)
                if answer.status == "Accepted":
                    self.dialect.set_heartbeat_s(answer.interval)
                    self._boot_reason = "PowerUp"
                    return
            await asyncio.sleep(self._random.uniform(0.5, 1.5))

    async def _pump(self, point: Any) -> None:
        """Send what waits, one at a time, oldest first."""
        while True:
            while self._outbox:
                outgoing = self._outbox[0]
                answer = await self._deliver(point, outgoing)
                if self._outbox and self._outbox[0] is outgoing:
                    self._outbox.popleft()
                if answer is not None:
                    outgoing.on_result(answer)
            self._drained.set()
            self._posted.clear()
            await self._posted.wait()

    async def _deliver(self, point: Any, outgoing: Outgoing) -> Any | None:
        """The answer, or None where the CSMS keeps answering with an error."""
        payload = outgoing.payload()
        while True:
            try:
                return await point.call(payload, suppress=False, unique_id=outgoing.message_id)
            except OCPPError as error:
                outgoing.attempts += 1
                logger.warning("%s: %s refused: %s", self.spec.id, type(payload).__name__, error)
                if not outgoing.keep or outgoing.attempts >= ATTEMPTS_MAX:
                    self.traffic.refused += outgoing.keep
                    return None
                # A new attempt is a new message.
                outgoing.message_id = str(uuid.uuid4())
                await asyncio.sleep(0.2 * outgoing.attempts)

    async def _beat(self) -> None:
        while True:
            interval_s = self.dialect.setting_s("heartbeat") or 300.0
            await self._sleep(interval_s)
            self.post(self.dialect.heartbeat, keep=False)

    async def _meter(self) -> None:
        while True:
            interval_s = self.dialect.setting_s("meter")
            # An interval of 0 means off (1.6 9.1); look again soon whether it still is.
            await self._sleep(interval_s or self.clock.speed)
            if interval_s:
                self.sample(context="Sample.Periodic")

    async def _sleep(self, station_s: float) -> None:
        await asyncio.sleep(station_s / self.clock.speed)

    def _spawn(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
