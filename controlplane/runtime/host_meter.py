"""What a host measures of its actors, their rounds and commits, and of its lease.

Records, events and commands are counted once their commit is durable, never before."""

from __future__ import annotations

from collections import Counter
from time import perf_counter
from typing import TYPE_CHECKING, Final

from controlplane.actor import Actor, Effect, Message, ReplyError
from controlplane.errors import Fenced, Unavailable
from controlplane.ocpp.framing import ERROR_CODES
from controlplane.runtime import catalogue
from controlplane.runtime.batch import Batch
from controlplane.runtime.census import Census
from controlplane.runtime.mailbox import MAILBOX_MAX
from controlplane.runtime.metrics import Meter
from controlplane.runtime.residents import Resident
from controlplane.store.commit import JournalLine
from controlplane.store.records import LimitDecision

if TYPE_CHECKING:
    from controlplane.runtime.actor_loop import ActorLoop

__all__ = ["HostMeter"]

OTHER: Final = "other"


class HostMeter:
    """Of one host. `rounds` and `crashes` only grow."""

    def __init__(self, actors: ActorLoop) -> None:
        self.rounds = 0
        self.crashes = 0
        self.census = Census()
        """As it was taken last."""
        self.meter = meter = Meter()
        self._records: Counter[type] = Counter()
        self._round_s = meter.histogram(catalogue.ROUND_DURATION).series()
        self._events = meter.counter(catalogue.EVENTS)
        self._alarms_begun = meter.counter(catalogue.ALARMS_BEGUN)
        self._commands = meter.counter(catalogue.COMMANDS_FINISHED)
        self._energy = meter.counter(catalogue.ENERGY)
        self._failed = meter.counter(catalogue.COMMITS_FAILED)
        self._call_errors = meter.counter(catalogue.CALL_ERRORS)
        meter.watch(catalogue.STEPS, lambda: actors.steps)
        meter.watch(catalogue.CRASHES, lambda: self.crashes)
        meter.watch(catalogue.ROUNDS, lambda: self.rounds)
        meter.watch(catalogue.LIMITS, lambda: self._records[LimitDecision])
        meter.watch(
            catalogue.RECORDS,
            lambda: {kind.__name__: count for kind, count in self._records.items()},
        )
        meter.watch(catalogue.MAILBOX, lambda: len(actors.mailbox))
        meter.watch(catalogue.MAILBOX_MAX, lambda: MAILBOX_MAX)
        meter.watch(catalogue.TIMERS, lambda: len(actors.timers))
        meter.watch(catalogue.LOOK_UPS, lambda: len(actors.look_ups))
        meter.watch(catalogue.ACTORS, lambda: self.census.actors)
        meter.watch(catalogue.ACTORS_LOADING, lambda: self.census.loading)
        meter.watch(catalogue.CHARGERS, lambda: self.census.chargers)
        meter.watch(catalogue.CHARGERS_FAULTED, lambda: self.census.faulted)
        meter.watch(catalogue.CONNECTORS, lambda: self.census.connectors)
        meter.watch(catalogue.SESSIONS, lambda: self.census.sessions)
        meter.watch(catalogue.POWER, lambda: self.census.power_w)
        meter.watch(catalogue.ALARMS, lambda: self.census.alarms)

    def activated(self, resident: Resident) -> None:
        """The resident has got its actor: a site remembers the rounds of before."""
        resident.rounds = getattr(resident.actor, "rounds", 0)

    def step(self, resident: Resident, actor: Actor, message: Message, now_ms: int) -> list[Effect]:
        """A step, timed where a site worked out a round in it; such a step always wants
        something."""
        started_s = perf_counter()
        effects = actor.step(message, now_ms)
        if effects and (rounds := getattr(actor, "rounds", 0)) != resident.rounds:
            resident.rounds = rounds
            self.rounds += 1
            self._round_s.record(perf_counter() - started_s)
        return effects

    def replied_error(self, reply: ReplyError) -> None:
        """A station is answered with CALLERROR."""
        self._call_errors.add(reply.code if reply.code in ERROR_CODES else OTHER)

    def committed(self, batch: Batch) -> None:
        """What is in the batch has become durable."""
        self._records.update(map(type, batch.commit.records))
        for line in batch.commit.events:
            self._happened(line)

    def commit_failed(self, error: BaseException) -> None:
        fenced, unavailable = isinstance(error, Fenced), isinstance(error, Unavailable)
        self._failed.add("fenced" if fenced else "unavailable" if unavailable else OTHER)

    def _happened(self, line: JournalLine) -> None:
        self._events.add(line.kind)
        data = line.data
        if line.kind == "site.alarm":
            if data["active"]:
                self._alarms_begun.add(data["alarm"])
        elif line.kind == "session.ended":
            self._energy.add(by=max(0, data["energy_wh"]))
        elif line.kind == "command.finished":
            self._commands.add(data["origin"], data["state"])
