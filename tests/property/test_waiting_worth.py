"""What waiting is worth, and another kilowatt, against every way to charge small days."""

from itertools import product
from random import Random

import numpy as np
import pytest

from controlplane.planning.waiting import Ahead, Want

SLOTS = 3


def most_earned(
    wants: list[Want], earns: tuple[float, ...], group_kw: list[int], site_kw: int
) -> float:
    """By trying all; whole kilowatt-hours are enough, as the program is a flow."""
    ways = []
    for want in wants:
        most = [
            int(want.power_kw) if want.arrival_h <= slot < want.departure_h else 0
            for slot in range(SLOTS)
        ]
        each = product(*(range(kwh + 1) for kwh in most))
        ways.append([way for way in each if sum(way) <= want.energy_kwh])
    best = 0.0
    for chosen in product(*ways):
        slots = [sum(way[slot] for way in chosen) for slot in range(SLOTS)]
        if max(slots) > site_kw:
            continue
        groups = [
            sum(way[slot] for way, want in zip(chosen, wants, strict=True) if want.group == group)
            <= limit
            for group, limit in enumerate(group_kw)
            for slot in range(SLOTS)
        ]
        if all(groups):
            best = max(best, sum(a * b for a, b in zip(slots, earns, strict=True)))
    return best


@pytest.mark.parametrize("seed", range(60))
def test_what_is_said_is_what_all_ways_to_charge_differ_by(seed: int) -> None:
    random = Random(seed)
    wants = []
    for _ in range(3):
        arrival = random.randrange(SLOTS)
        departure = random.randint(arrival + 1, SLOTS)
        energy, power = random.randint(1, 4), random.randint(1, 2)
        wants.append(Want(arrival, departure, energy, power, random.randrange(2)))
    here = random.randint(1, 3)
    wants[:here] = [want._replace(arrival_h=0.0) for want in wants[:here]]
    earns = tuple(random.choice([-1.0, 1.0, 2.0, 5.0]) for _ in range(SLOTS))
    group_kw, site_kw = [random.randint(1, 3), random.randint(1, 3)], random.randint(1, 3)
    found = Ahead(
        wants[:here],
        [wants[here:]],
        edge_h=np.arange(SLOTS + 1.0),
        earns=np.array(earns),
        group_kw=np.array(group_kw, np.float64),
    ).worth(site_kw)

    best = most_earned(wants, earns, group_kw, site_kw)
    for place in range(here):
        less = list(wants)
        less[place] = less[place]._replace(energy_kwh=less[place].energy_kwh - 1)
        lost = best - most_earned(less, earns, group_kw, site_kw)
        assert found.waiting[place] == pytest.approx(lost)
    # Part of another kilowatt may be all that can be used, and the last one was worth no less.
    more, last = (most_earned(wants, earns, group_kw, kw) for kw in (site_kw + 1, site_kw - 1))
    assert more - best - 1e-9 <= found.kilowatt <= best - last + 1e-9
