"""When a site's next round could come out differently from its last although nothing is heard.

Most sites stand still most of the time, and a round that can only repeat the last one is not worth
its work. Invariant: everything that a round reads and that changes by the passing of time alone has
its instant here; where one is not known, the round after the usual interval looks."""

from __future__ import annotations

from collections.abc import Container, Iterator
from typing import Final

from controlplane.config import ActorSettings
from controlplane.site.demand import Pace
from controlplane.site.feeding import SAMPLES_MISSED_MAX
from controlplane.site.ledger import Entry
from controlplane.site.live import LiveConnector, LiveSite
from controlplane.site.release import DEADBAND_MA, lasting_ms
from controlplane.site.why import Cause

__all__ = ["QUIET_ROUNDS_MAX", "RAISE_ROUNDS", "SAMPLE_ASKED_MS", "SAMPLE_PAUSE_MS", "wake_ms"]

QUIET_ROUNDS_MAX = 20
"""However little is awaited, every twentieth round is worked out."""

DRAINING_ROUNDS_MAX = 5
"""While a vehicle follows a lower limit, a longer silence would look like a clock that was set."""

SAMPLE_ASKED_MS = 10_000
"""How often a station whose meter shows too much is asked to measure at most."""

SAMPLE_PAUSE_MS = 5_000
"""The same while others wait for what its vehicle gives back; and how old what is known must be,
because vehicles need a few seconds to follow a limit."""

RAISE_ROUNDS = 5
"""Rounds between two small increases of a connector that runs."""

_PAUSED: Final = Cause.PAUSED


def wake_ms(site: LiveSite, *, settings: ActorSettings, pace: Pace, now_ms: int) -> int:
    """The instant of the round after the one that was worked out at `now_ms`."""
    interval_ms = settings.round_interval_ms
    rounds = QUIET_ROUNDS_MAX
    if site.tree.rows > site.tree.lines:
        # What a contract leaves, or the sun gives, changes with every watt-hour.
        rounds //= 2
    latest_ms = now_ms + rounds * interval_ms
    plan = site.plan
    if plan is None:
        return now_ms + interval_ms
    awaited = frozenset(site.waiting.values())
    for position, connector in enumerate(site.connectors):
        target_ma = plan.target_ma[position]
        if _stands_still(connector.entry, target_ma, now_ms):
            continue
        for at_ms in _instants(
            connector,
            target_ma,
            waits=position in site.waiting,
            awaited=awaited,
            settings=settings,
            now_ms=now_ms,
        ):
            latest_ms = min(latest_ms, max(at_ms, now_ms + interval_ms))
    changes_ms = site.targets.next_change_ms(now_ms)
    if changes_ms is not None:
        latest_ms = min(latest_ms, max(changes_ms, now_ms + 1))
    building = site.state.building
    if building is not None:
        stale_ms = building.at_ms + site.tree.stale_after_ms + 1
        if stale_ms > now_ms:
            latest_ms = min(latest_ms, stale_ms)
    if _PAUSED in [why.cause for why in plan.why]:
        for connector in site.connectors:
            if connector.demand is not None:
                turn = connector.demand.turn
                turns_ms = turn.since_ms + (pace.dwell_ms if turn.on else pace.turn_ms)
                if turns_ms > now_ms:
                    latest_ms = min(latest_ms, turns_ms)
    return latest_ms


def _stands_still(entry: Entry, target_ma: int | None, now_ms: int) -> bool:
    """Whether nothing about a connector runs out, or may be tried (again): so most of them are."""
    if entry.settling:
        return False
    if target_ma is None:
        return True
    has_it = target_ma >= 0 and target_ma == entry.asked_ma
    return has_it and not entry.excess_ma and entry.retry_ms <= now_ms


def _instants(
    connector: LiveConnector,
    target_ma: int | None,
    *,
    waits: bool,
    awaited: Container[int],
    settings: ActorSettings,
    now_ms: int,
) -> Iterator[int]:
    """When something about one connector runs out, or may be tried (again). A limit that waits for
    room waits for what others give back, and a charger that is away is sent nothing until it is
    back: of both news comes."""
    entry, calm = connector.entry, connector.calm
    if entry.excess_ma:
        yield connector.sample_asked_ms + SAMPLE_ASKED_MS
    if (entry.asked_ma or 0) < 0:
        # One whose meter has fallen silent feeds in no longer.
        yield connector.measured_at_ms + SAMPLES_MISSED_MAX * settings.meter_interval_ms + 1
    if entry.fading_ma:
        yield entry.acknowledged_ms + settings.ramp_ms
    follows_ms = entry.follows_until_ms(settings.ramp_ms)
    if follows_ms is not None:
        yield follows_ms
        yield now_ms + DRAINING_ROUNDS_MAX * settings.round_interval_ms
    if entry.pending:
        yield entry.pending[0].sent_ms + 4 * settings.call_timeout_ms
        return
    if not (entry.online and entry.settled):
        return
    if entry.retry_ms > now_ms:
        yield entry.retry_ms
    elif target_ma is not None and target_ma != entry.asked_ma and not waits:
        change_ma = target_ma - (entry.asked_ma or 0)
        if abs(change_ma) < DEADBAND_MA and calm.differs_since_ms is not None:
            yield calm.differs_since_ms + lasting_ms(
                connector.leaf, change_ma, awaited, patience_ms=settings.ramp_ms
            )
        else:
            interval_ms = RAISE_ROUNDS * settings.round_interval_ms
            paced_ms = now_ms if calm.raised_ms is None else calm.raised_ms + interval_ms
            yield max(paced_ms, calm.rests_until_ms(interval_ms))
