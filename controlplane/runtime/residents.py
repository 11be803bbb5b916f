"""The actors that live on a host at this moment, and how they are brought in from the store.

An actor is activated by the first message for it; messages that come meanwhile wait in order. The
store is read for many actors at once. While the store is away they wait; nothing is answered from a
state that may be wrong."""

from __future__ import annotations

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeGuard, runtime_checkable

from controlplane.actor import Actor, Effect, Message
from controlplane.config import ActorSettings
from controlplane.errors import Unavailable
from controlplane.ids import ActorKind, ActorRef, ChargerId, SessionId, SiteId, shard_of
from controlplane.runtime.clock import Clock
from controlplane.runtime.telemetry import log
from controlplane.store.reader import StoreReader
from controlplane.store.records import CommandRecord, MeterSample

__all__ = [
    "READINGS_EACH",
    "ActorFactory",
    "Commanded",
    "Metered",
    "Resident",
    "Residents",
    "default_factory",
]

ActorFactory = Callable[[ActorRef, ActorSettings, bytes | None], Actor]

_LOAD_AT_ONCE = 500
_PARTS_AT_ONCE = 2
READINGS_EACH = 32
_BACKOFF_MAX_S = 2.0
_FREEZE_GROWTH = 1_000
_FREEZE_OBJECTS = 20_000
"""Freeze the garbage collector's view each time this many actors, or objects, were made."""


def default_factory() -> ActorFactory:
    """Makes the actors of this package. They are imported by the process that hosts them only."""
    from controlplane.runtime.actors import create_actor  # noqa: PLC0415

    return create_actor


@runtime_checkable
class Metered(Protocol):
    """An actor that wants the samples stored since its snapshot, before it is activated."""

    @property
    def open_sessions(self) -> tuple[SessionId, ...]:
        """The sessions of which it wants them."""

    def restore_readings(self, samples: list[MeterSample]) -> None:
        """Take them in, in the order of receipt."""


class Commanded(Protocol):
    """An actor that wants the commands that a host before this one did not bring to their end."""

    def restore_commands(self, records: list[CommandRecord]) -> None:
        """Take them in, the oldest first, before it is activated."""


def _metered(actor: object) -> TypeGuard[Metered]:
    return hasattr(actor, "restore_readings")


def _commanded(actor: object) -> TypeGuard[Commanded]:
    return hasattr(actor, "restore_commands")


def _restore(
    actor: object,
    samples: Mapping[SessionId, list[MeterSample]],
    commands: list[CommandRecord],
) -> None:
    """Give an actor what the store has besides its snapshot."""
    if _metered(actor):
        actor.restore_readings([s for session in actor.open_sessions for s in samples[session]])
    if _commanded(actor):
        actor.restore_commands(commands)


class Resident:
    """One actor's place: the actor itself, or what waits until it is there."""

    __slots__ = ("actor", "gone", "ref", "rounds", "shard", "site_id", "waiting")

    def __init__(self, ref: ActorRef, site_id: SiteId | None) -> None:
        self.ref = ref
        self.actor: Actor | None = None
        self.gone = False
        """It was forgotten: whoever looks for the actor finds another place for it."""
        self.waiting: deque[tuple[Message, Resident | None]] | None = deque()
        """Messages in order, each with its sender where that is an actor of this host."""
        self.rounds = 0
        """Of a site: how many it had worked out when that was looked at last."""
        self.site_id = site_id
        self.shard = shard_of(ref.kind, ref.id, site_id=site_id)

    def belongs_to(self, site_id: SiteId | None) -> None:
        """The charger is of this site now, and lives where the site does."""
        if site_id != self.site_id:
            self.site_id = site_id
            self.shard = shard_of(self.ref.kind, self.ref.id, site_id=site_id)


class Residents:
    """Finds and activates.

    Args:
        activated: called with a resident that has just got its actor, and the effects of its
            activation.
        unloadable: called with a resident whose stored state no actor can be made of.
    """

    def __init__(
        self,
        reader: StoreReader,
        settings: ActorSettings,
        clock: Clock,
        create: ActorFactory,
        *,
        activated: Callable[[Resident, list[Effect]], None],
        unloadable: Callable[[Resident, Exception], None],
    ) -> None:
        self.backoff_s = 0.0
        """How long to wait before the next load; set while commits fail."""
        self.loads = 0
        """How often some were brought in, or the store was away."""
        self._reader = reader
        self._settings = settings
        self._clock = clock
        self._create = create
        self._activated = activated
        self._unloadable = unloadable
        self._by_ref: dict[ActorRef, Resident] = {}
        self._to_load: deque[Resident] = deque()
        self._wake = asyncio.Event()
        self._all_loaded = asyncio.Event()
        self._all_loaded.set()
        self._unfrozen = 0
        """Actors that were made since the collector's view was frozen."""
        self._loading = 0
        self._loader = asyncio.get_running_loop().create_task(self._load_forever())

    def __len__(self) -> int:
        return len(self._by_ref)

    def __iter__(self) -> Iterator[Resident]:
        return iter(self._by_ref.values())

    def get(self, ref: ActorRef) -> Resident | None:
        """The resident of `ref`, if it is here or on its way."""
        return self._by_ref.get(ref)

    def find(self, ref: ActorRef, *, site_id: SiteId | None = None) -> Resident:
        """The resident of `ref`; activation begins where it was not here. `site_id` is where a
        charger is believed to belong until the store has said so."""
        resident = self._by_ref.get(ref)
        if resident is None:
            resident = self._by_ref[ref] = Resident(ref, site_id)
            self._enqueue(resident)
        return resident

    def forget(self, resident: Resident) -> None:
        """Throw the actor away; the next message brings it back."""
        resident.actor = None
        resident.gone = True
        if self._by_ref.get(resident.ref) is resident:
            del self._by_ref[resident.ref]

    def reload(self, resident: Resident) -> None:
        """Throw the actor's state away and bring it back from the store; messages for it wait."""
        resident.actor = None
        if resident.waiting is None:
            resident.waiting = deque()
        if self._by_ref.get(resident.ref) is resident:
            self._enqueue(resident)

    async def loaded(self) -> None:
        """Wait until every activation asked for so far is done."""
        await self._all_loaded.wait()

    def close(self) -> None:
        self._loader.cancel()

    def _enqueue(self, resident: Resident) -> None:
        self._to_load.append(resident)
        self._all_loaded.clear()
        self._wake.set()

    async def _load_forever(self) -> None:
        while True:
            await self._wake.wait()
            if self.backoff_s > 0:
                await asyncio.sleep(self.backoff_s)
            # While one part is read from the store the other is made into actors. What the
            # collector would look at meanwhile is new and stays: it is put out of its sight first.
            gc.disable()
            try:
                await asyncio.gather(*(self._load_parts() for _ in range(_PARTS_AT_ONCE)))
                self._freeze()
            finally:
                gc.enable()
            if not self._to_load:
                self._wake.clear()
                self._all_loaded.set()

    async def _load_parts(self) -> None:
        """Bring in all that are to be, or a part: where the store is away, or where more have come
        since another one of these found nothing to do."""
        self._loading += 1
        try:
            while self._to_load:
                await self._load_part()
                if self.backoff_s > 0 or self._loading < _PARTS_AT_ONCE:
                    return
        finally:
            self._loading -= 1

    async def _load_part(self) -> None:
        """Bring in as many as are read at once, of those that are to be."""
        count = min(len(self._to_load), _LOAD_AT_ONCE)
        part = [self._to_load.popleft() for _ in range(count)]
        self.loads += 1
        try:
            await self._load(part)
        except Unavailable as error:
            self._to_load.extendleft(reversed(part))
            self.backoff_s = min(max(0.1, self.backoff_s * 2), _BACKOFF_MAX_S)
            log.error("actors_not_loaded", actors=len(self._to_load), error=str(error))
        except Exception as error:
            # Rows that cannot be read as records, for one; others may still be loaded.
            for resident in part:
                if resident.actor is None and self._by_ref.get(resident.ref) is resident:
                    self._unloadable(resident, error)

    async def _load(self, part: list[Resident]) -> None:
        snapshots = await self._reader.snapshots([resident.ref for resident in part])
        sites = await self._reader.sites_of(
            [ChargerId(r.ref.id) for r in part if r.ref.kind is ActorKind.CHARGER]
        )
        made: list[tuple[Resident, Actor]] = []
        for resident in part:
            if resident.actor is not None or self._by_ref.get(resident.ref) is not resident:
                continue
            if resident.ref.kind is ActorKind.CHARGER:
                resident.belongs_to(sites.get(ChargerId(resident.ref.id), resident.site_id))
            try:
                actor = self._create(resident.ref, self._settings, snapshots.get(resident.ref))
            except Exception as error:
                # Whatever an actor's code raises concerns this actor only.
                self._unloadable(resident, error)
                continue
            made.append((resident, actor))
        samples = await self._latest_samples([actor for _, actor in made])
        commands = await self._reader.open_commands(
            [ChargerId(each.ref.id) for each, actor in made if _commanded(actor)]
        )
        now_ms = self._clock.now_ms()
        for resident, actor in made:
            if self._by_ref.get(resident.ref) is not resident:
                continue
            try:
                _restore(actor, samples, commands.get(ChargerId(resident.ref.id), []))
                effects = actor.activate(now_ms)
            except Exception as error:
                self._unloadable(resident, error)
                continue
            resident.actor = actor
            self._unfrozen += 1
            self._activated(resident, effects)

    async def _latest_samples(self, actors: list[Actor]) -> dict[SessionId, list[MeterSample]]:
        """A charger's snapshot is older than its latest samples."""
        wanted = [session for actor in actors if _metered(actor) for session in actor.open_sessions]
        return await self._reader.latest_samples(wanted, READINGS_EACH) if wanted else {}

    def _freeze(self) -> None:
        """Actors live long: keep the collector from walking over them (measured: pauses of 91 ms at
        50,000 entities), now and then, and where it would have much to do at once."""
        if self._unfrozen >= _FREEZE_GROWTH or gc.get_count()[0] >= _FREEZE_OBJECTS:
            self._unfrozen = 0
            gc.freeze()
