"""The property that is worth the whole ledger: on every row, at every instant, what chargers may
draw stays within the rating, whatever they do."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_world import World


def live(world: World, events: int) -> World:
    for _ in range(events):
        world.happen()
        world.advance(world.random.choice([10, 300, 2_000, 15_000]))
    return world


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_no_row_is_ever_over_its_rating(seed: int) -> None:
    world = live(World(seed), 120)
    assert world.view().violations == 0


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_changing_building_load_is_the_only_excuse(seed: int) -> None:
    world = live(World(seed, building=True), 120)
    assert world.view().violations == 0
