"""What flows on every row is the plain sum over the connectors below it, however it is computed."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from site_bench import charger, site

from controlplane.network import SiteConfig
from controlplane.site.tree import SiteTree

PHASES = [["L1"], ["L2"], ["L3"], ["L1", "L2", "L3"], ["L2", "L3", "L1"], ["L1", "L3"]]


def drawn(seed: int) -> SiteTree:
    """A tree whose circuits hang anywhere, some without a charger."""
    rng = random.Random(seed)
    panels: list[dict[str, object]] = []
    names = ["supply"]
    for number in range(rng.randint(0, 6)):
        panels.append({"id": f"panel-{number}", "parent": rng.choice(names), "rating_a": 80})
        names.append(f"panel-{number}")
    chargers = [
        charger(f"CP{number}", rng.choice(names), phases=rng.choice(PHASES))
        for number in range(rng.randint(1, 12))
    ]
    return SiteTree(SiteConfig.model_validate(site(chargers, panels=panels)))


@pytest.mark.parametrize("seed", range(30))
def test_rows_carry_every_connector_below_them(seed: int) -> None:
    tree = drawn(seed)
    rng = random.Random(-seed - 1)
    currents = [rng.choice([0, 1, rng.randint(0, 10**9)]) for _ in tree.leaves]
    expected: Counter[int] = Counter()
    for leaf, current_ma in zip(tree.leaves, currents, strict=True):
        for row in leaf.rows:
            expected[row] += current_ma
    assert tree.row_sums(currents) == [expected[row] for row in range(tree.rows)]


def test_a_current_too_few_is_refused() -> None:
    tree = drawn(3)
    with pytest.raises(ValueError, match="leaf_ma"):
        tree.row_sums([0] * (len(tree.leaves) - 1))
