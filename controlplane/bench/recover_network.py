"""A store as a running network leaves it behind, made in seconds: for benches of recovery.

One site is lived through by the production actors, with stations that accept what they are told:
boot, settle, start, send samples. Every other site is that one under another name. Names have one
length, so that they can be exchanged in what was encoded."""

from __future__ import annotations

from collections import deque
from functools import lru_cache
from typing import Any, Final

import msgspec

from controlplane.actor import (
    Actor,
    Ask,
    Call,
    CancelTimer,
    Effect,
    Message,
    Persist,
    Send,
    SetTimer,
    TimerFired,
)
from controlplane.charger.assignment import described_digest
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.messages import (
    ChargerAssigned,
    StationCalled,
    StationConnected,
    StationReplied,
)
from controlplane.config import ActorSettings
from controlplane.ids import ActorKind, ActorRef, ChargerId
from controlplane.network import ChargerConfig, CircuitConfig, SiteConfig
from controlplane.runtime.actors import create_actor
from controlplane.site.configure import assignment
from controlplane.site.messages import ConfigureSite
from controlplane.store.commit import CommitBatch, StoreWriter
from controlplane.store.engine import migrate, open_engine
from controlplane.store.records import (
    ActorSnapshot,
    ChargerRecord,
    MeterSample,
    Record,
    SessionRecord,
    SiteRecord,
)
from controlplane.units import iso_from_ms

__all__ = ["CHARGERS_PER_SITE", "SITE_PREFIX", "charger_name", "seed"]

CHARGERS_PER_SITE: Final = 50
_SAMPLES: Final = 32
"""Of each session: what a host reads back."""
_SAMPLE_INTERVAL_MS: Final = 30_000
SITE_PREFIX: Final = "site-"
_SITE: Final = SITE_PREFIX + "{:05d}"
_RECORDS_AT_ONCE: Final = 20_000


def charger_name(number: int) -> str:
    """The name of a charger, counted through all sites."""
    site, place = divmod(number, CHARGERS_PER_SITE)
    return f"{_SITE.format(site)}-{place:02d}"


def seed(database_url: str, *, sites: int, now_ms: int) -> None:
    """Fill an empty database with `sites` sites of 50 chargers, each in the middle of a session
    whose last sample is of `now_ms`.

    Raises:
        Unavailable: the database cannot be reached.
    """
    migrate(database_url)
    records = _Site(now_ms).live()
    writer = StoreWriter(open_engine(database_url, writer=True))
    try:
        batch: list[Record] = []
        for number in range(sites):
            batch += (_renamed(record, number) for record in records)
            if len(batch) >= _RECORDS_AT_ONCE or number == sites - 1:
                writer.commit(CommitBatch(records=batch))
                batch = []
    finally:
        writer.close()


def _renamed(record: Record, number: int) -> Record:
    """The record of the first site as that of another one."""
    before, after = _SITE.format(0).encode(), _SITE.format(number).encode()
    if isinstance(record, ActorSnapshot):
        ref = ActorRef(record.ref.kind, record.ref.id.replace(before.decode(), after.decode()))
        state = record.state.replace(before, after)
        return ActorSnapshot(ref, _told(ref, state) if ref.kind is ActorKind.CHARGER else state)
    encoded = msgspec.msgpack.encode(record).replace(before, after)
    return msgspec.msgpack.decode(encoded, type=type(record))


def _told(ref: ActorRef, state: bytes) -> bytes:
    """The snapshot of a charger that has been told its description under its own name."""
    memory = msgspec.msgpack.decode(state, type=ChargerMemory)
    place = int(ref.id.rpartition("-")[2])
    config = _site_config(int(ref.id.split("-")[1]))
    told = assignment(config, config.chargers[place]).message
    assert isinstance(told, ChargerAssigned)
    memory.described_digest = described_digest(told)
    return msgspec.msgpack.encode(memory)


@lru_cache(maxsize=1)
def _site_config(number: int) -> SiteConfig:
    names = [charger_name(number * CHARGERS_PER_SITE + each) for each in range(CHARGERS_PER_SITE)]
    return SiteConfig(
        id=_SITE.format(number),
        circuits=(CircuitConfig(id="supply", rating_a=16.0 * CHARGERS_PER_SITE / 2),),
        chargers=tuple(ChargerConfig(id=name, circuit="supply") for name in names),
    )


class _Site:
    """The first site, while it is lived through."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms - _SAMPLES * _SAMPLE_INTERVAL_MS - 3_600_000
        self._settings = ActorSettings()
        self._actors: dict[ActorRef, Actor] = {}
        self._timers: dict[tuple[ActorRef, str], int] = {}
        self._queue: deque[tuple[ActorRef, Message]] = deque()
        self._records: dict[tuple[str, str], Record] = {}
        self._samples: list[Record] = []
        self._serial = 0

    def live(self) -> list[Record]:
        """Everything that is in the store at the end."""
        config = _site_config(0)
        wanted = ConfigureSite(config=config.model_dump_json().encode())
        self._tell(ActorRef(ActorKind.SITE, config.id), Ask("configure", wanted))
        chargers = [ActorRef(ActorKind.CHARGER, ChargerId(each.id)) for each in config.chargers]
        for charger in chargers:
            self._tell(charger, StationConnected(f"{charger.id}:1", "ocpp1.6", "192.0.2.1"))
            self._call(charger, "BootNotification", chargePointModel="M", chargePointVendor="V")
            self._status(charger, "Available")
        self._pass(60_000)
        for charger in chargers:
            at = iso_from_ms(self._now_ms)
            start = {"connectorId": 1, "idTag": "TAG", "meterStart": 1_000, "timestamp": at}
            self._call(charger, "StartTransaction", **start)
            self._status(charger, "Charging")
        for number in range(_SAMPLES):
            self._pass(_SAMPLE_INTERVAL_MS)
            for charger in chargers:
                self._sample(charger, 1_000 + 30 * number)
        return [*self._records.values(), *self._samples]

    def _status(self, charger: ActorRef, status: str) -> None:
        self._call(charger, "StatusNotification", connectorId=1, errorCode="NoError", status=status)

    def _sample(self, charger: ActorRef, register_wh: int) -> None:
        value = {
            "timestamp": iso_from_ms(self._now_ms),
            "sampledValue": [
                {"value": str(register_wh)},
                {"value": "3600", "measurand": "Power.Active.Import", "unit": "W"},
            ],
        }
        self._call(charger, "MeterValues", connectorId=1, meterValue=[value])

    def _call(self, charger: ActorRef, action: str, **payload: object) -> None:
        self._serial += 1
        self._tell(
            charger, StationCalled(f"{charger.id}:1", str(self._serial), action, dict(payload))
        )

    def _pass(self, duration_ms: int) -> None:
        """Time goes by; timers come due in order."""
        until_ms = self._now_ms + duration_ms
        while self._timers:
            (ref, key), at_ms = min(self._timers.items(), key=lambda each: each[1])
            if at_ms > until_ms:
                break
            del self._timers[ref, key]
            self._now_ms = max(self._now_ms, at_ms)
            self._tell(ref, TimerFired(key))
        self._now_ms = until_ms

    def _tell(self, ref: ActorRef, message: Message) -> None:
        self._queue.append((ref, message))
        while self._queue:
            to, told = self._queue.popleft()
            actor = self._actors.get(to)
            if actor is None:
                actor = self._actors[to] = create_actor(to, self._settings, None)
                self._carry_out(to, actor.activate(self._now_ms))
            self._carry_out(to, actor.step(told, self._now_ms))

    def _carry_out(self, ref: ActorRef, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Persist(record):
                    self._keep(record)
                case Send(to, message):
                    self._queue.append((to, message))
                case SetTimer(key, at_ms):
                    self._timers[ref, key] = at_ms
                case CancelTimer(key):
                    self._timers.pop((ref, key), None)
                case Call(connection, message_id, action, _):
                    answer: dict[str, Any] = {"status": "Accepted"}
                    if action == "GetConfiguration":
                        answer = {"configurationKey": []}
                    self._queue.append((ref, StationReplied(connection, message_id, answer)))

    def _keep(self, record: Record) -> None:
        """What a host reads when it comes; what only people read is left out."""
        match record:
            case ActorSnapshot():
                self._records["snapshot", str(record.ref)] = record
            case SessionRecord():
                self._records["session", record.session_id] = record
            case ChargerRecord():
                self._records["charger", record.charger_id] = record
            case SiteRecord():
                self._records["site", record.site_id] = record
            case MeterSample():
                self._samples.append(record)
