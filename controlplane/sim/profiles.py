"""The charging profiles a station holds, and the limit that follows from them at an instant.

Written for the simulated stations from the text of OCPP 1.6 section 3.13 and OCPP 2.0.1 part 2
chapter K, and on purpose not shared with Loadstar. Rules kept: of one purpose, the profile on the
highest stack level that says something about the instant leads; a transaction's profile overrides
the default of transactions; a connector's own default overrides the one for all connectors; the
station's maximum caps whatever else is in force; a profile with the same id, or with the same
purpose, level and connector, is replaced."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

import msgspec

from controlplane.units import ms_from_datetime

__all__ = ["Kind", "Period", "Profile", "ProfileBook", "Purpose", "Situation", "profile_from_wire"]

_DAY_S = 86_400


class Purpose(StrEnum):
    """What a profile is for, under one name for both versions of OCPP."""

    STATION_MAX = "station_max"
    DEFAULT = "default"
    TRANSACTION = "transaction"


class Kind(StrEnum):
    """When a schedule begins; `Recurring` of OCPP is split by its recurrency."""

    ABSOLUTE = "Absolute"
    DAILY = "Daily"
    WEEKLY = "Weekly"
    RELATIVE = "Relative"


@dataclass(frozen=True)
class Period:
    """A limit from `start_s` after the schedule's begin until the next period, in the schedule's
    unit. `phases` is what a limit in watts is spread over, and None means all there are."""

    start_s: int
    limit: float
    phases: int | None = None
    setpoint: float | None = None
    """What a vehicle that feeds in is to follow (2.1), in the same unit, below 0."""


@dataclass(frozen=True)
class Profile:
    """One charging profile. `connector_id` 0 is the whole station; `duration_s` None has no end."""

    id: int
    stack_level: int
    purpose: Purpose
    connector_id: int
    unit: Literal["A", "W"]
    periods: tuple[Period, ...]
    kind: Kind = Kind.ABSOLUTE
    start_ms: int | None = None
    duration_s: int | None = None
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    transaction_id: str | None = None
    offline_max_s: int | None = None
    """For how long it counts while the station is offline (2.1); None: always."""
    ends_offline: bool = False
    """After that it is gone for good."""

    def for_any_transaction(self) -> Profile:
        """The same profile without the transaction that it was meant for."""
        return replace(self, transaction_id=None)

    def period_at(self, at_ms: int, *, transaction_start_ms: int | None) -> Period | None:
        """The period in force, or None where this profile says nothing about the instant."""
        if self.valid_from_ms is not None and at_ms < self.valid_from_ms:
            return None
        if self.valid_to_ms is not None and at_ms >= self.valid_to_ms:
            return None
        elapsed_s = self._elapsed_s(at_ms, transaction_start_ms)
        if elapsed_s is None or elapsed_s < 0:
            return None
        if self.duration_s is not None and elapsed_s >= self.duration_s:
            return None
        current = None
        for period in self.periods:
            if period.start_s <= elapsed_s:
                current = period
        return current

    def _elapsed_s(self, at_ms: int, transaction_start_ms: int | None) -> float | None:
        if self.kind is Kind.RELATIVE:
            if transaction_start_ms is None:
                return None
            return (at_ms - transaction_start_ms) / 1_000
        if self.start_ms is None:
            # OCPP 1.6 7.13: an absolute schedule without a begin counts from the start of charging;
            # while nothing charges its first period is in force.
            reference_ms = at_ms if transaction_start_ms is None else transaction_start_ms
            return (at_ms - reference_ms) / 1_000
        elapsed_s = (at_ms - self.start_ms) / 1_000
        if self.kind is Kind.DAILY:
            return elapsed_s % _DAY_S
        if self.kind is Kind.WEEKLY:
            return elapsed_s % (7 * _DAY_S)
        return elapsed_s


class Situation(msgspec.Struct, frozen=True):
    """What the limit of a connector depends on besides its profiles. A maximum of the whole station
    is divided equally among its `connectors`; a limit in watts is one of what reaches the vehicle,
    which is `efficiency` of what the grid gives."""

    connector_id: int
    voltage_v: int
    phases: int
    current_max_a: float
    connectors: int = 1
    transaction_id: str | None = None
    transaction_start_ms: int | None = None
    efficiency: float = 1.0
    offline_s: float = 0.0
    """For how long the station has had no connection; 0 where it has one."""


@dataclass
class ProfileBook:
    """The profiles of one station."""

    profiles: list[Profile] = field(default_factory=list)

    def install(self, profile: Profile) -> None:
        """Add a profile; it replaces the one whose place it takes."""
        self.profiles = [
            held
            for held in self.profiles
            if held.id != profile.id
            and (held.purpose, held.stack_level, held.connector_id, held.transaction_id)
            != (profile.purpose, profile.stack_level, profile.connector_id, profile.transaction_id)
        ]
        self.profiles.append(profile)

    def was_offline(self, offline_s: float) -> None:
        """Drop what did not outlast a time without a connection."""
        self.profiles = [
            held
            for held in self.profiles
            if not held.ends_offline
            or held.offline_max_s is None
            or offline_s <= held.offline_max_s
        ]

    def clear(
        self,
        *,
        id: int | None = None,
        connector_id: int | None = None,
        purpose: Purpose | None = None,
        stack_level: int | None = None,
    ) -> int:
        """Remove what matches every given criterion (or, with an id, that profile alone); returns
        how many went."""

        def matches(profile: Profile) -> bool:
            if id is not None:
                return profile.id == id
            return (
                connector_id in (None, profile.connector_id)
                and purpose in (None, profile.purpose)
                and stack_level in (None, profile.stack_level)
            )

        kept = [profile for profile in self.profiles if not matches(profile)]
        cleared = len(self.profiles) - len(kept)
        self.profiles = kept
        return cleared

    def end_transaction(self, transaction_id: str | None, connector_id: int) -> None:
        """Transaction profiles die with their transaction (OCPP 1.6 3.13.1, 2.0.1 K01.FR.37)."""
        self.profiles = [
            profile
            for profile in self.profiles
            if profile.purpose is not Purpose.TRANSACTION
            or profile.connector_id != connector_id
            or profile.transaction_id not in (None, transaction_id)
        ]

    def limit_a(self, situation: Situation, at_ms: int) -> float:
        """Amperes per phase that the connector may offer at the instant; never above its
        hardware."""
        limits_a = [situation.current_max_a]
        feeds_a = None
        steering = None
        if situation.transaction_start_ms is not None:
            steering = self._leading(Purpose.TRANSACTION, situation, at_ms)
        if steering is None:
            steering = self._leading(Purpose.DEFAULT, situation, at_ms)
        if steering is not None:
            limits_a.append(_amperes(*steering, situation))
            period, unit = steering
            if period.setpoint is not None and period.setpoint < 0:
                feeds_a = _fed_amperes(period, unit, situation)
        maximum = self._leading(Purpose.STATION_MAX, situation, at_ms)
        if maximum is not None:
            limits_a.append(_amperes(*maximum, situation) / situation.connectors)
        return max(0.0, min(limits_a)) if feeds_a is None else -feeds_a

    def composite(
        self, situation: Situation, *, at_ms: int, duration_s: int, unit: Literal["A", "W"]
    ) -> list[tuple[int, float]]:
        """The (start_s, limit) pairs of the coming `duration_s`, limits in `unit`."""
        factor = 1.0 if unit == "A" else situation.voltage_v * situation.phases
        pairs: list[tuple[int, float]] = []
        for start_s in self._changes_s(situation, at_ms, duration_s):
            limit = round(self.limit_a(situation, at_ms + start_s * 1_000) * factor, 1)
            if not pairs or pairs[-1][1] != limit:
                pairs.append((start_s, limit))
        return pairs

    def _changes_s(self, situation: Situation, at_ms: int, duration_s: int) -> list[int]:
        """Every second from `at_ms` at which some profile may begin to say something else."""
        changes_s = {0}
        for profile in self.profiles:
            elapsed_s = profile._elapsed_s(at_ms, situation.transaction_start_ms)
            begins_s = [period.start_s for period in profile.periods]
            if profile.duration_s is not None:
                begins_s.append(profile.duration_s)
            if elapsed_s is not None:
                cycle_s = {Kind.DAILY: _DAY_S, Kind.WEEKLY: 7 * _DAY_S}.get(profile.kind)
                turns = 1 if cycle_s is None else duration_s // cycle_s + 2
                for turn in range(turns):
                    changes_s |= {
                        -int((elapsed_s - begin_s - turn * (cycle_s or 0)) // 1)
                        for begin_s in begins_s
                    }
            for bound_ms in (profile.valid_from_ms, profile.valid_to_ms):
                if bound_ms is not None:
                    changes_s.add(-((at_ms - bound_ms) // 1_000))
        return sorted(second for second in changes_s if 0 <= second < max(duration_s, 1))

    def _leading(
        self, purpose: Purpose, situation: Situation, at_ms: int
    ) -> tuple[Period, Literal["A", "W"]] | None:
        best: tuple[tuple[bool, int], Period, Literal["A", "W"]] | None = None
        for profile in self.profiles:
            if profile.purpose is not purpose:
                continue
            if profile.connector_id not in (0, situation.connector_id):
                continue
            if profile.transaction_id not in (None, situation.transaction_id):
                continue
            if profile.offline_max_s is not None and situation.offline_s > profile.offline_max_s:
                continue
            period = profile.period_at(at_ms, transaction_start_ms=situation.transaction_start_ms)
            rank = (profile.connector_id != 0, profile.stack_level)
            if period is not None and (best is None or rank > best[0]):
                best = rank, period, profile.unit
        return None if best is None else best[1:]


def _amperes(period: Period, unit: Literal["A", "W"], situation: Situation) -> float:
    if unit == "A":
        return period.limit
    phases = min(period.phases or 3, situation.phases)
    return period.limit / (situation.voltage_v * phases * situation.efficiency)


def _fed_amperes(period: Period, unit: Literal["A", "W"], situation: Situation) -> float:
    """What a setpoint below 0 feeds in, per phase; of what the vehicle gives, a part is lost."""
    fed = -(period.setpoint or 0.0)
    if unit == "W":
        phases = min(period.phases or 3, situation.phases)
        fed = fed * situation.efficiency / (situation.voltage_v * phases)
    return min(fed, situation.current_max_a)


_PURPOSES = {
    "ChargePointMaxProfile": Purpose.STATION_MAX,
    "ChargingStationMaxProfile": Purpose.STATION_MAX,
    "TxDefaultProfile": Purpose.DEFAULT,
    "TxProfile": Purpose.TRANSACTION,
}


def profile_from_wire(
    profile: dict[str, Any], schedule: dict[str, Any], connector_id: int
) -> Profile:
    """A profile from the fields that OCPP 1.6 and 2.0.1 share, in snake case.

    Raises:
        ValueError: the station does not know the purpose or the kind, or an instant has no zone.
        KeyError: a field is missing that the schema wants.
    """
    kind = profile["charging_profile_kind"]
    if kind == "Recurring":
        kind = profile.get("recurrency_kind", "Daily")
    transaction_id = profile.get("transaction_id")
    duration_s = schedule.get("duration")
    return Profile(
        id=int(profile.get("charging_profile_id", profile.get("id", 0))),
        stack_level=int(profile["stack_level"]),
        purpose=_PURPOSES[profile["charging_profile_purpose"]],
        connector_id=connector_id,
        unit="W" if schedule["charging_rate_unit"] == "W" else "A",
        periods=tuple(
            Period(
                start_s=int(period["start_period"]),
                limit=float(period["limit"]),
                phases=period.get("number_phases"),
                setpoint=period.get("setpoint"),
            )
            for period in schedule["charging_schedule_period"]
        ),
        kind=Kind(kind),
        start_ms=_instant_ms(schedule.get("start_schedule")),
        duration_s=None if duration_s is None else int(duration_s),
        valid_from_ms=_instant_ms(profile.get("valid_from")),
        valid_to_ms=_instant_ms(profile.get("valid_to")),
        transaction_id=None if transaction_id is None else str(transaction_id),
        offline_max_s=profile.get("max_offline_duration"),
        ends_offline=bool(profile.get("invalid_after_offline_duration")),
    )


def _instant_ms(text: str | None) -> int | None:
    return None if text is None else ms_from_datetime(datetime.fromisoformat(text))
