"""Whoever opens, closes, ranks, guarantees, boosts or limits: no row is ever over its rating, and
once faults stop, nobody is given more than rules and operators allow."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import World
from test_ledger_safety import live

from controlplane.site.policy import Policy


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), building=st.booleans())
def test_no_row_is_over_its_rating_while_rules_change(seed: int, building: bool) -> None:
    world = live(World(seed, building=building, policy=True), 120)
    assert world.view().violations == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_once_faults_stop_rules_and_limits_are_kept(seed: int) -> None:
    world = live(World(seed, policy=True), 60)
    world.calm_down()
    for _ in range(150):
        world.everybody_follows()
        world.advance(1_000)
    policy = Policy(world.config)
    until_ms = policy.standing(world.now_ms).until_ms
    if until_ms is not None and until_ms - world.now_ms < 150_000:
        world.advance(until_ms - world.now_ms)
    for _ in range(150):
        world.everybody_follows()
        world.advance(1_000)
    view, found = world.view(), world.given()
    assert view.violations == 0
    for (name, connector_id), given_ma in found.items():
        outlet = world.stations[name].outlets[connector_id]
        if not policy.terms(outlet.id_token, world.now_ms).may_charge:
            assert given_ma == 0, f"{name}/{connector_id} while closed\n{view}"
        held_ma = world.held_ma.get((name, connector_id), given_ma)
        assert given_ma <= held_ma, f"{name}/{connector_id} above its limit\n{view}"
