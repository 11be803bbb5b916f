"""What a charger says of its settings and monitors: asked for, collected, stored.

A 2.x station answers a question for its whole device model in many messages, which may be lost,
repeated or out of order; a 1.6 station in one. Every part is stored as it comes. The invariants: a
report counts as complete only when every part from the first to the last has come, and only then is
what it no longer names forgotten; a charger that refuses, or never sends what it promised, is asked
again a bounded number of times and then left alone until its firmware changes or an operator asks;
a report of one that was not asked is stored and completes nothing."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from controlplane.actor import CancelTimer, Persist, SetTimer
from controlplane.charger.capability import Fact
from controlplane.charger.event_streams import monitor_cleared
from controlplane.charger.memory import ChargerMemory
from controlplane.charger.turn import Turn
from controlplane.ocpp import commands
from controlplane.ocpp.answers import settings_answered
from controlplane.ocpp.commands import Command, CommandResult, CommandState
from controlplane.ocpp.events import Monitor, MonitorsReported, ReportPart, VariablesReported
from controlplane.ocpp.variables import (
    Attribute,
    Characteristics,
    Mutability,
    ReportedAttribute,
    VariableName,
    parse_key,
)
from controlplane.store.records import (
    MonitorRecord,
    MonitorRemoved,
    MonitorsReplaced,
    VariableRecord,
    VariablesReplaced,
    VariableValue,
)

__all__ = ["INVENTORY_TIMER", "Inventory", "identity"]

INVENTORY_TIMER: Final = "inventory"

_ATTEMPTS_MAX: Final = 3
"""How often a charger is asked for its settings, for one firmware."""
_VARIABLES_MAX: Final = 20_000
"""Settings of one report that are kept; the largest stations known have some two thousand."""
_PARTS_MAX: Final = 10_000
_MONITORS_MAX: Final = 1_000
"""Monitors whose severity is remembered."""
_MISSING_TOLD_MAX: Final = 20


def identity(memory: ChargerMemory) -> tuple[str, str, str, str]:
    """What a report is true of."""
    return memory.vendor, memory.model, memory.firmware, memory.serial_number


class _Collection:
    """The parts of one report, as far as they have come."""

    __slots__ = ("began_ms", "last", "rows", "seen", "whole")

    def __init__(self, now_ms: int, *, whole: bool) -> None:
        self.began_ms = now_ms
        self.whole = whole
        """It is to name everything there is."""
        self.seen: set[int] = set()
        self.last: int | None = None
        self.rows = 0

    def take(self, part: ReportPart) -> bool:
        """Whether this part has not come before."""
        if part.seq_no in self.seen or len(self.seen) >= _PARTS_MAX:
            return False
        self.seen.add(part.seq_no)
        if not part.more:
            self.last = part.seq_no
        return True

    @property
    def complete(self) -> bool:
        """Every part from 0 to the last has come."""
        return self.last is not None and len(self.seen) == self.last + 1

    def missing(self) -> list[int]:
        """The parts that a later one showed to be lost."""
        end = max(self.seen, default=-1) if self.last is None else self.last
        return [number for number in range(end) if number not in self.seen][:_MISSING_TOLD_MAX]


class Inventory:
    """The reports of one charger.

    Args:
        memory: the charger's.
        patience_ms: how long the next part of a report may take.
    """

    __slots__ = ("_collections", "_memory", "_patience_ms", "_settling")

    def __init__(self, memory: ChargerMemory, patience_ms: int) -> None:
        self._memory = memory
        self._patience_ms = patience_ms
        self._collections: dict[int, _Collection] = {}
        self._settling: int | None = None
        """The report that was asked for on our own account."""

    @property
    def _keys_only(self) -> bool:
        """It has configuration keys and no device model (1.6)."""
        return self._memory.ocpp_version == "ocpp1.6"

    # --- what is asked ----------------------------------------------------------------------------

    @property
    def collecting(self) -> bool:
        """Whether a report that decides how the charger is set up is on its way."""
        return self._settling is not None

    def wanted(self) -> bool:
        """Whether the charger is to be asked for all its settings now."""
        memory = self._memory
        return (
            memory.described is not None
            and memory.report.known_of != identity(memory)
            and memory.quirks()[1].report != "none"
            and memory.report.attempts < _ATTEMPTS_MAX
        )

    def question(self, turn: Turn) -> Command:
        """What asks the charger for all its settings."""
        self._memory.report.attempts += 1
        turn.changed = True
        return commands.GetBaseReport(request_id=self.number(turn))

    def number(self, turn: Turn) -> int:
        """The number by which the next report is asked for."""
        # Small: some stations keep it in 16 bits.
        self._memory.report_number = self._memory.report_number % 32_767 + 1
        turn.changed = True
        return self._memory.report_number

    def forget(self, turn: Turn) -> None:
        """The connection is gone: what has not come will not come."""
        self._collections.clear()
        if self._settling is not None:
            self._settling = None
            turn.effects.append(CancelTimer(INVENTORY_TIMER))

    # --- what is answered -------------------------------------------------------------------------

    def answered(
        self, turn: Turn, command: Command, result: CommandResult, *, settling: bool
    ) -> None:
        """Take in what the charger answered to a question for settings or monitors. `settling`: it
        was asked on our own account."""
        match command:
            case commands.GetBaseReport() if self._keys_only:
                self._settings_told(turn, commands.GetSettings(), result, settling=settling)
            case commands.GetBaseReport() | commands.GetReport():
                self._report_answered(turn, command, result, settling=settling)
            case commands.GetMonitoringReport():
                if result.status == "Accepted":
                    whole = not command.criteria and not command.keys
                    self._await(turn, command.request_id, whole=whole)
            case commands.GetSettings():
                self._settings_told(turn, command, result, settling=settling)
            case commands.SetSettings():
                self._settings_set(turn, command, result)
            case commands.SetVariableMonitoring():
                self._monitors_set(turn, command, result)
            case commands.ClearVariableMonitoring():
                self._monitors_cleared(turn, result)
            case _:
                pass

    def _report_answered(
        self,
        turn: Turn,
        command: commands.GetBaseReport | commands.GetReport,
        result: CommandResult,
        *,
        settling: bool,
    ) -> None:
        if result.status == "Accepted":
            whole = isinstance(command, commands.GetBaseReport) and command.base == "full"
            self._await(turn, command.request_id, whole=whole)
            if settling:
                self._settling = command.request_id
                self._wait(turn)
        elif settling and result.state in (CommandState.REJECTED, CommandState.ERROR):
            # It has said that it will not; asking again would not change its mind.
            self._given_up(turn, result.status or result.error_code)

    def _await(self, turn: Turn, request_id: int, *, whole: bool) -> None:
        while len(self._collections) >= 8:
            del self._collections[next(iter(self._collections))]
        self._collections[request_id] = _Collection(turn.now_ms, whole=whole)

    def _wait(self, turn: Turn) -> None:
        turn.effects.append(SetTimer(INVENTORY_TIMER, turn.now_ms + self._patience_ms))

    def _given_up(self, turn: Turn, reason: str) -> None:
        memory = self._memory
        memory.report.known_of = identity(memory)
        turn.changed = True
        turn.emit("charger.inventory", complete=False, reason=reason)

    def _settings_told(
        self, turn: Turn, command: commands.GetSettings, result: CommandResult, *, settling: bool
    ) -> None:
        if result.state is not CommandState.ACCEPTED:
            if settling and result.state in (CommandState.REJECTED, CommandState.ERROR):
                self._given_up(turn, result.status or result.error_code)
            return
        told = [
            setting for setting in settings_answered(result.payload) if setting.status == "Accepted"
        ]
        for setting in told[:_VARIABLES_MAX]:
            if not self._keys_only:
                self._value(turn, setting.key, setting.value)
                continue
            mutability = Mutability.READ_ONLY if setting.read_only else Mutability.READ_WRITE
            name = VariableName(component="", variable=setting.key)
            told_of = ReportedAttribute(value=setting.value, mutability=mutability)
            self._row(turn, name, told_of, None)
        if self._keys_only and not command.keys:
            self._replaced(turn, turn.now_ms, len(told))

    def _settings_set(
        self, turn: Turn, command: commands.SetSettings, result: CommandResult
    ) -> None:
        """What the charger accepted is its value from now on, or from its next restart."""
        statuses = result.payload.get("results")
        if statuses is None and "setVariableResult" in result.payload:
            statuses = {
                key: each["attributeStatus"]
                for key, each in zip(
                    command.settings, result.payload["setVariableResult"], strict=False
                )
            }
        for key, value in command.settings.items():
            status = result.status if statuses is None else statuses.get(key)
            if status in ("Accepted", "RebootRequired"):
                self._value(turn, key, value)

    # --- what is reported -------------------------------------------------------------------------

    def variables(self, turn: Turn, event: VariablesReported) -> bool:
        """Store a part of a report; whether it completes the one that the charger's set-up waits
        for."""
        collection = self._collections.get(event.part.request_id)
        if collection is not None and not collection.take(event.part):
            return False
        for reported in event.variables:
            if collection is not None:
                collection.rows += 1
                if collection.rows > _VARIABLES_MAX:
                    break
            for attribute in reported.attributes:
                self._row(turn, reported.name, attribute, reported.characteristics)
        if collection is None:
            return False
        ours = event.part.request_id == self._settling
        if not collection.complete:
            if ours:
                self._wait(turn)
            return False
        del self._collections[event.part.request_id]
        if collection.whole:
            self._replaced(turn, collection.began_ms, collection.rows)
        if ours:
            self._settling = None
            turn.effects.append(CancelTimer(INVENTORY_TIMER))
        return ours

    def monitors(self, turn: Turn, event: MonitorsReported) -> None:
        """Store a part of a report of monitors."""
        collection = self._collections.get(event.part.request_id)
        if collection is not None and not collection.take(event.part):
            return
        for monitor in event.monitors[:_MONITORS_MAX]:
            self._monitor(turn, monitor)
        if collection is not None and collection.complete:
            del self._collections[event.part.request_id]
            if collection.whole:
                turn.effects.append(
                    Persist(MonitorsReplaced(self._memory.charger_id, collection.began_ms))
                )

    def overdue(self, turn: Turn) -> bool:
        """The next part did not come in time; whether the report that the set-up waits for is given
        up by that. It is asked for again at the next boot or connection."""
        if self._settling is None:
            return False
        collection = self._collections.pop(self._settling, None)
        self._settling = None
        missing = [] if collection is None else collection.missing()
        if collection is not None and collection.last is not None and missing == [0]:
            # It counts from 1.
            self._replaced(turn, collection.began_ms, collection.rows)
            return True
        turn.emit(
            "charger.inventory",
            complete=False,
            reason="parts_missing" if missing else "never_ended",
            parts=0 if collection is None else len(collection.seen),
            missing=missing,
            attempt=self._memory.report.attempts,
        )
        return True

    def _replaced(self, turn: Turn, before_ms: int, rows: int) -> None:
        memory = self._memory
        memory.report.known_of = identity(memory)
        memory.report.complete_ms = turn.now_ms
        turn.changed = True
        turn.effects.append(Persist(VariablesReplaced(memory.charger_id, before_ms)))
        turn.emit("charger.inventory", complete=True, variables=rows)

    # --- rows -------------------------------------------------------------------------------------

    def _row(
        self,
        turn: Turn,
        name: VariableName,
        told: ReportedAttribute,
        characteristics: Characteristics | None,
    ) -> None:
        what = characteristics or Characteristics()
        turn.effects.append(
            Persist(
                VariableRecord(
                    charger_id=self._memory.charger_id,
                    attribute=told.attribute.value,
                    **_named(name),
                    value=None if _secret(name) else told.value,
                    mutability=told.mutability.value,
                    persistent=told.persistent,
                    constant=told.constant,
                    data_type=what.data_type,
                    unit=what.unit,
                    limit_min=what.limit_min,
                    limit_max=what.limit_max,
                    values_list=what.values,
                    supports_monitoring=what.supports_monitoring,
                    reported_ms=turn.now_ms,
                )
            )
        )
        if told.attribute is Attribute.ACTUAL:
            fact = Fact(name, told.value, told.mutability, characteristics)
            turn.changed |= self._memory.capability.take(fact)

    def value(self, turn: Turn, name: VariableName, value: str | None) -> None:
        """The charger told a new value of a variable."""
        self._store_value(turn, name, Attribute.ACTUAL, value)

    def _value(self, turn: Turn, key: str, value: str | None) -> None:
        found = None if self._keys_only else parse_key(key)
        name, attribute = found or (VariableName(component="", variable=key), Attribute.ACTUAL)
        self._store_value(turn, name, attribute, value)

    def _store_value(
        self, turn: Turn, name: VariableName, attribute: Attribute, value: str | None
    ) -> None:
        turn.effects.append(
            Persist(
                VariableValue(
                    charger_id=self._memory.charger_id,
                    attribute=attribute.value,
                    **_named(name),
                    value=None if _secret(name) else value,
                    reported_ms=turn.now_ms,
                )
            )
        )
        if attribute is Attribute.ACTUAL:
            turn.changed |= self._memory.capability.take(Fact(name, value))

    # --- monitors ---------------------------------------------------------------------------------

    def _monitors_set(
        self, turn: Turn, command: commands.SetVariableMonitoring, result: CommandResult
    ) -> None:
        """Each result stands for the monitor that was asked for in its place."""
        results = result.payload.get("setMonitoringResult", ())
        for wanted, told in zip(command.monitors, results, strict=False):
            found = parse_key(wanted.key)
            monitor_id = told.get("id", wanted.monitor_id)
            if found is None or monitor_id is None or told["status"] != "Accepted":
                continue
            self._monitor(
                turn,
                Monitor(
                    monitor_id=monitor_id,
                    name=found[0],
                    kind=wanted.kind,
                    value=wanted.value,
                    severity=wanted.severity,
                    transaction=wanted.transaction,
                ),
            )

    def _monitors_cleared(self, turn: Turn, result: CommandResult) -> None:
        for told in result.payload.get("clearMonitoringResult", ()):
            if told["status"] in ("Accepted", "NotFound"):
                self._memory.monitor_severity.pop(told["id"], None)
                monitor_cleared(turn, self._memory, told["id"])
                turn.effects.append(Persist(MonitorRemoved(self._memory.charger_id, told["id"])))
                turn.changed = True

    def _monitor(self, turn: Turn, monitor: Monitor) -> None:
        memory = self._memory
        known = memory.monitor_severity
        if known.get(monitor.monitor_id) != monitor.severity and len(known) < _MONITORS_MAX:
            known[monitor.monitor_id] = monitor.severity
            turn.changed = True
        turn.effects.append(
            Persist(
                MonitorRecord(
                    memory.charger_id,
                    monitor.monitor_id,
                    monitor.name.key,
                    monitor.kind,
                    monitor.value,
                    monitor.severity,
                    monitor.transaction,
                    turn.now_ms,
                )
            )
        )


def _named(name: VariableName) -> dict[str, Any]:
    """The fields of a record that name its variable."""
    return {"key": name.key, **msgspec.structs.asdict(name)}


def _secret(name: VariableName) -> bool:
    """Whether its value is for the charger only, though some charger may tell it."""
    variable = name.variable.casefold()
    return "password" in variable or variable == "authorizationkey"
