"""What a station's charging profiles together allow: stack levels, purposes, composite schedules.

Invariant: at every instant the outcome is the lowest of what the profiles for the whole station
allow, what the connector's own allow, and what others than the CSMS allow; among profiles of one
purpose the highest stack level whose schedule says something at that instant speaks alone. Sources:
OCPP 1.6 edition 2 sections 3.13 and 5.16; OCPP 2.0.1 part 2 section K 3 and K08; OCPP 2.1 part 2
section K 3 for priority charging and local generation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from typing import Final, Literal

import msgspec

__all__ = [
    "CompositePeriod",
    "Kind",
    "Profile",
    "ProfilePeriod",
    "Purpose",
    "RunningTransaction",
    "Unit",
    "composite",
]

_DAY_MS: Final = 86_400_000
_PHASES_UNSAID: Final = 3
"""A period that does not say how many phases counts with three (ChargingSchedulePeriod)."""
_RECURRENCES_MAX: Final = 1_000

Unit = Literal["A", "W"]


class Purpose(StrEnum):
    """What a profile is for; 1.6 calls the first ChargePointMaxProfile."""

    STATION_MAX = "station_max"
    EXTERNAL = "external"
    """Set by another system than the CSMS: ChargingStationExternalConstraints (2.x)."""
    DEFAULT = "default"
    TRANSACTION = "transaction"
    PRIORITY = "priority"
    """Instead of every transaction's profile while a driver's priority is in force (2.1)."""
    LOCAL_GENERATION = "local_generation"
    """Added to what the connector's profiles allow: power that is made on site (2.1)."""


class Kind(StrEnum):
    ABSOLUTE = "absolute"
    DAILY = "daily"
    WEEKLY = "weekly"
    RELATIVE = "relative"


class ProfilePeriod(msgspec.Struct, frozen=True):
    """A limit from `start_s` after the schedule's start until the next period, in thousandths of
    the schedule's unit; `phases` None means three."""

    start_s: int
    limit_milli: int
    phases: int | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A charging profile as installed.

    Args:
        connector_id: 1.6 connector or 2.x EVSE; 0 stands for every one of them (DEFAULT) or for
            the station as a whole (STATION_MAX, EXTERNAL).
        start_ms: `startSchedule`; None counts from the transaction's start.
        duration_s: None: the last period goes on.
        periods: ordered by `start_s`, the first at 0.
        transaction_id: of a TRANSACTION profile; None fits every transaction.
    """

    profile_id: int
    connector_id: int
    stack_level: int
    purpose: Purpose
    kind: Kind
    unit: Unit
    periods: tuple[ProfilePeriod, ...]
    start_ms: int | None = None
    duration_s: int | None = None
    valid_from_ms: int | None = None
    valid_to_ms: int | None = None
    transaction_id: str | None = None


class RunningTransaction(msgspec.Struct, frozen=True):
    """The transaction on a connector, where its charging began, and whether its driver goes
    first."""

    transaction_id: str
    started_ms: int
    priority: bool = False


class CompositePeriod(msgspec.Struct, frozen=True):
    """From `start_s` after the asked instant; `limit_milli` None: no profile says anything."""

    start_s: int
    limit_milli: int | None
    phases: int


def composite(
    profiles: Iterable[Profile],
    *,
    connector_id: int,
    at_ms: int,
    duration_s: int,
    unit: Unit,
    voltage_v: int,
    phases: int,
    transaction: RunningTransaction | None = None,
) -> tuple[CompositePeriod, ...]:
    """What one connector may draw from `at_ms` on.

    Args:
        connector_id: 1 and up.
        duration_s: how far ahead, 1 and up.
        unit: of the answer; limits in the other unit are converted with `voltage_v` (phase to
            neutral) and their own number of phases.
        phases: how many conductors the connector has, 1 to 3.
        transaction: None where none runs: profiles that count from its start count from `at_ms`,
            as if it began now, and TRANSACTION profiles are not heard.

    Returns:
        Periods, the first at 0, no two neighbours alike.
    """
    heard = [
        profile for profile in profiles if _concerns(profile, connector_id, transaction=transaction)
    ]
    heard.sort(key=lambda profile: (profile.stack_level, profile.connector_id), reverse=True)
    began_ms = at_ms if transaction is None else transaction.started_ms
    asked = _Asked(began_ms, unit, voltage_v, phases)
    until_ms = at_ms + duration_s * 1_000
    instants = {at_ms}
    for profile in heard:
        instants.update(
            instant
            for instant in _changes(profile, began_ms, at_ms, until_ms)
            if at_ms < instant < until_ms
        )
    periods: list[CompositePeriod] = []
    for instant in sorted(instants):
        limit = asked.allowed(heard, instant)
        start_s = (instant - at_ms) // 1_000
        if not periods or (periods[-1].limit_milli, periods[-1].phases) != limit:
            periods.append(CompositePeriod(start_s, *limit))
    return tuple(periods)


def _concerns(
    profile: Profile, connector_id: int, *, transaction: RunningTransaction | None
) -> bool:
    if profile.connector_id not in (0, connector_id):
        return False
    if profile.purpose is Purpose.TRANSACTION:
        return transaction is not None and profile.transaction_id in (
            None,
            transaction.transaction_id,
        )
    if profile.purpose is Purpose.PRIORITY:
        return transaction is not None and transaction.priority
    return True


class _Asked(msgspec.Struct, frozen=True):
    """How an answer is wanted."""

    began_ms: int
    unit: Unit
    voltage_v: int
    phases: int

    def allowed(self, heard: Sequence[Profile], at_ms: int) -> tuple[int | None, int]:
        """The limit at one instant, and the phases it may use; of one purpose the first in `heard`
        that says something is heard."""
        said: dict[Purpose, tuple[int, int]] = {}
        for profile in heard:
            if profile.purpose in said:
                continue
            period = _period_at(profile, at_ms, self.began_ms)
            if period is not None:
                said[profile.purpose] = self._converted(profile, period)
        own = next(
            (
                said[purpose]
                for purpose in (Purpose.PRIORITY, Purpose.TRANSACTION, Purpose.DEFAULT)
                if purpose in said
            ),
            None,
        )
        if own is not None and Purpose.LOCAL_GENERATION in said:
            own = (own[0] + said[Purpose.LOCAL_GENERATION][0], own[1])
        bounds = (own, said.get(Purpose.STATION_MAX), said.get(Purpose.EXTERNAL))
        given = [bound for bound in bounds if bound is not None]
        if not given:
            return None, self.phases
        return min(limit for limit, _ in given), min(used for _, used in given)

    def _converted(self, profile: Profile, period: ProfilePeriod) -> tuple[int, int]:
        used = min(self.phases, period.phases or _PHASES_UNSAID)
        if profile.unit == self.unit:
            return period.limit_milli, used
        # A limit in watts is of all phases together, one in amperes of each.
        if self.unit == "W":
            return period.limit_milli * self.voltage_v * used, used
        return period.limit_milli // (self.voltage_v * used), used


def _period_at(profile: Profile, at_ms: int, began_ms: int) -> ProfilePeriod | None:
    """The period that speaks at an instant; None where the profile says nothing then."""
    if profile.valid_from_ms is not None and at_ms < profile.valid_from_ms:
        return None
    if profile.valid_to_ms is not None and at_ms >= profile.valid_to_ms:
        return None
    start_ms = _start_before(profile, at_ms, began_ms)
    if start_ms is None:
        return None
    offset_ms = at_ms - start_ms
    if profile.duration_s is not None and offset_ms >= profile.duration_s * 1_000:
        return None
    speaking = None
    for period in profile.periods:
        if period.start_s * 1_000 > offset_ms:
            break
        speaking = period
    return speaking


def _start_before(profile: Profile, at_ms: int, began_ms: int) -> int | None:
    """When the schedule began that holds at an instant; None where none has begun."""
    first_ms = began_ms
    if profile.kind is not Kind.RELATIVE and profile.start_ms is not None:
        first_ms = profile.start_ms
    interval_ms = _interval_ms(profile)
    if interval_ms is not None:
        # A recurring schedule repeats its days and weeks to both sides of its startSchedule.
        return at_ms - (at_ms - first_ms) % interval_ms
    return first_ms if first_ms <= at_ms else None


def _interval_ms(profile: Profile) -> int | None:
    match profile.kind:
        case Kind.DAILY:
            return _DAY_MS
        case Kind.WEEKLY:
            return 7 * _DAY_MS
    return None


def _changes(profile: Profile, began_ms: int, from_ms: int, until_ms: int) -> Iterator[int]:
    """Every instant at which the profile may begin to say something else."""
    for edge_ms in (profile.valid_from_ms, profile.valid_to_ms):
        if edge_ms is not None:
            yield edge_ms
    interval_ms = _interval_ms(profile)
    if interval_ms is None:
        start_ms = began_ms
        if profile.kind is not Kind.RELATIVE and profile.start_ms is not None:
            start_ms = profile.start_ms
        starts = [start_ms]
    else:
        first_ms = _start_before(profile, from_ms, began_ms)
        assert first_ms is not None, "a recurring schedule has always begun"
        count = min((until_ms - first_ms) // interval_ms + 1, _RECURRENCES_MAX)
        starts = [first_ms + number * interval_ms for number in range(count)]
    for start_ms in starts:
        for period in profile.periods:
            yield start_ms + period.start_s * 1_000
        if profile.duration_s is not None:
            yield start_ms + profile.duration_s * 1_000
