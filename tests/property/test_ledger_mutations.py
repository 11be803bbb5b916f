"""A property test is worth what it catches: thirteen faults are planted in the ledger, the release
and the recovery, and the hostile world must expose each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from ledger_world import World
from test_ledger_safety import live

from controlplane.site import release
from controlplane.site.budget import Budget
from controlplane.site.ledger import Entry
from controlplane.site.tree import Leaf

WORLDS_MAX = 150


def exposed(first_seed: int) -> bool:
    """Whether some world finds a row over its rating, or the site itself a violation; the seed at
    which it is known to happen leads."""
    for seed in range(first_seed, first_seed + WORLDS_MAX):
        world = World(seed)
        try:
            live(world, 120)
        except AssertionError:
            return True
        if world.view().violations:
            return True
    return False


def counting(name: str, amount: Callable[[Entry], int]) -> tuple[type, str, Any]:
    return (Entry, name, property(amount))


def _in_flight(entry: Entry) -> int:
    return max((each.limit_ma for each in entry.pending), default=0)


def _confirm_at_once(entry: Entry, **durations: int) -> bool:
    return _EXPIRED(entry, **durations | {"ramp_ms": 0})


def _any_sample_confirms(entry: Entry, current_ma: int, *, now_ms: int, **_: Any) -> bool:
    entry.measured_ma, entry.measured_ms, entry.draining_ma = current_ma, now_ms, 0
    return True


def _follows_at_once(entry: Entry, **news: Any) -> bool:
    changed = _PRESENCE(entry, **news)
    entry.receding_ma = 0
    return changed


def _forget_pending(entry: Entry) -> None:
    entry.pending = []
    entry.online = entry.settled = False


def _no_credit_check(leaf: Leaf, *_: object) -> tuple[int, int]:
    return leaf.max_ma, -1


def _own_circuit_only(leaf: Leaf, entry: Entry, *sums: Sequence[int]) -> tuple[int, int]:
    return _ROOM(replace(leaf, loads=leaf.loads[: len(leaf.phases)]), entry, *sums)


_EXPIRED = Entry.expired
_PRESENCE = Entry.presence
_ROOM = release._room

MUTATIONS = {
    "a decrease counts as done when sent": (
        counting("allowed_ma", lambda e: max(e.held_ma, e.uncertain_ma, _in_flight(e))),
        1,
    ),
    "a failed limit is forgotten": (
        counting("allowed_ma", lambda e: max(e.held_ma, e.draining_ma, _in_flight(e))),
        16,
    ),
    "an increase counts only once acknowledged": (
        counting("allowed_ma", lambda e: max(e.held_ma, e.draining_ma, e.uncertain_ma)),
        14,
    ),
    "no room is kept for the end of a session": (
        (Budget, "kept_ma", staticmethod(lambda _fallback_ma, _drawn_ma: 0)),
        166,
    ),
    "an idle connector counts nothing": (counting("fallback_ma", lambda _: 0), 0),
    "an unknown default counts as described": (counting("fallback_ma", lambda e: e.offline_ma), 1),
    "an offline charger counts its default only": (
        counting(
            "held_ma",
            lambda e: (
                e.fallback_ma if e.acknowledged_ma is None or not e.online else e.acknowledged_ma
            ),
        ),
        0,
    ),
    "what was in flight at a crash is forgotten": ((Entry, "recovered", _forget_pending), 42),
    "increases leave without credit": ((release, "_room", _no_credit_check), 0),
    "credit is checked on the own circuit only": ((release, "_room", _own_circuit_only), 0),
    "an acknowledgement confirms a decrease": ((Entry, "expired", _confirm_at_once), 1),
    "any sample confirms a decrease": ((Entry, "metered", _any_sample_confirms), 31),
    "a lowered default profile is followed at once": ((Entry, "presence", _follows_at_once), 54),
}


@pytest.mark.parametrize("fault", MUTATIONS)
def test_a_planted_fault_is_exposed(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (target, name, broken), seed = MUTATIONS[fault]
    monkeypatch.setattr(target, name, broken)
    assert exposed(seed)


def test_the_same_worlds_pass_without_a_fault() -> None:
    for seed in sorted({seed for _, seed in MUTATIONS.values()}):
        assert live(World(seed), 120).view().violations == 0
