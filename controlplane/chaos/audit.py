"""The judge of a chaos run: what stations saw acknowledged and what their meters counted, beside
what is stored.

Pure. What is lost was acknowledged and is not stored; what is duplicated is stored more often than
it happened. A charge record is right where its session is ended and its energy is what the
station's own register counted, to the watt-hour."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from controlplane.chaos.books import Reading

__all__ = ["Findings", "Metered", "StoredCommand", "StoredSession", "judge", "judge_commands"]

_TOLD: Final = {"answered", "refused"}
_PERHAPS_TOLD: Final = {"timed_out", "unknown"}
_OPEN: Final = {"accepted", "queued", "sent"}


@dataclass(frozen=True)
class Metered:
    """A transaction by its station's books. `transaction_id` is None where it was never told."""

    charger_id: str
    connector_id: int
    transaction_id: str | None
    energy_wh: int


@dataclass(frozen=True)
class StoredSession:
    """A charge record."""

    charger_id: str
    connector_id: int
    transaction_id: str
    ended: bool
    energy_wh: int


@dataclass(frozen=True)
class StoredCommand:
    """A command of the API that must not be carried out twice, and the stage it ended in."""

    charger_id: str
    request_id: str
    stage: str

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.stage in _OPEN


@dataclass
class Findings:
    """What was found wrong; a line for each."""

    lost: list[str] = field(default_factory=list)
    duplicated: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    """Charge records that differ from the station's meter."""
    commands: list[str] = field(default_factory=list)
    """Commands of the API that were told twice, or have no end."""


def judge(
    *,
    acknowledged: Iterable[Reading],
    stored: Mapping[Reading, int],
    metered: Iterable[Metered],
    sessions: Iterable[StoredSession],
) -> Findings:
    """Compare.

    Args:
        acknowledged: readings that a station was told are kept.
        stored: readings that are kept, and how often.
        metered: the transactions that stations had, all of them acknowledged.
        sessions: the charge records.
    """
    findings = Findings()
    findings.lost += [f"{reading}" for reading in sorted(acknowledged) if reading not in stored]
    findings.duplicated += [
        f"{reading}: {count} times" for reading, count in sorted(stored.items()) if count > 1
    ]
    _judge_sessions(findings, metered, sessions)
    return findings


def _judge_sessions(
    findings: Findings, metered: Iterable[Metered], sessions: Iterable[StoredSession]
) -> None:
    held: dict[tuple[str, str], list[StoredSession]] = {}
    for session in sessions:
        held.setdefault((session.charger_id, session.transaction_id), []).append(session)
    happened = Counter((each.charger_id, each.transaction_id or "") for each in metered)
    for each in metered:
        name = f"{each.charger_id}/{each.connector_id} transaction {each.transaction_id}"
        found = held.pop((each.charger_id, each.transaction_id or ""), [])
        if not found:
            findings.lost.append(f"{name}: no session")
            continue
        if len(found) > 1 or happened[each.charger_id, each.transaction_id or ""] > 1:
            findings.duplicated.append(f"{name}: {len(found)} sessions")
        session = found[0]
        if not session.ended:
            findings.records.append(f"{name}: stored as running")
        elif session.energy_wh != each.energy_wh:
            findings.records.append(
                f"{name}: {each.energy_wh} Wh by the meter, {session.energy_wh} Wh stored"
            )
    findings.duplicated += [
        f"{charger_id} transaction {transaction_id}: never was"
        for charger_id, transaction_id in held
    ]


def judge_commands(
    commands: Iterable[StoredCommand], told: Mapping[str, int], requests: Mapping[str, int]
) -> list[str]:
    """Where commands were told more often, or less often, than their ends say; were taken in twice;
    were never taken in; or have no end.

    Args:
        told: how often each station was told.
        requests: how many requests of each charger were taken in, as their callers were told.
    """
    faults = []
    of_charger: dict[str, list[StoredCommand]] = {charger_id: [] for charger_id in told}
    for command in commands:
        of_charger.setdefault(command.charger_id, []).append(command)
    for charger_id, held in of_charger.items():
        stages = Counter(command.stage for command in held)
        least = sum(stages[stage] for stage in _TOLD)
        most = least + sum(stages[stage] for stage in _PERHAPS_TOLD)
        count = told.get(charger_id, 0)
        if not least <= count <= most:
            faults.append(f"{charger_id}: told {count} times, by the stages {least} to {most}")
        if unfinished := sum(command.open for command in held):
            faults.append(f"{charger_id}: {unfinished} commands have no end")
        distinct = len({command.request_id for command in held})
        if distinct < len(held):
            faults.append(f"{charger_id}: a request was taken in twice")
        if distinct < requests.get(charger_id, 0):
            faults.append(f"{charger_id}: a request that was taken in is not stored")
    return faults
