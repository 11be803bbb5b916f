"""Who charges now and how high the peak may go, where it is not known who will come."""

import numpy as np
import pytest

from controlplane.planning.month_peak import Step
from controlplane.planning.waiting import Ahead, Want

HOURS = np.array([0.0, 1.0, 2.0])
"""An hour that is dear, and one that is cheap."""
EARNS = np.array([0.03, 0.20])
SITE_KW = 7.0
HERE = Want(0.0, 2.0, 7.0, 7.0)
IN_THE_CHEAP_HOUR = Want(1.0, 2.0, 7.0, 7.0)


def ahead(
    *days: list[Want], here: tuple[Want, ...] = (HERE,), group_kw: tuple[float, ...] = (100.0,)
) -> Ahead:
    return Ahead(here, days, edge_h=HOURS, earns=EARNS, group_kw=np.array(group_kw))


def test_who_can_have_all_in_the_cheap_hour_waits_for_it() -> None:
    assert ahead([]).worth(SITE_KW).waiting[0] == pytest.approx(0.20)


def test_where_the_cheap_hour_is_always_full_nobody_waits_for_it() -> None:
    worth = ahead([IN_THE_CHEAP_HOUR], [IN_THE_CHEAP_HOUR]).worth(SITE_KW)

    assert worth.waiting[0] == pytest.approx(EARNS[0])


def test_a_cheap_hour_that_is_full_on_most_days_is_waited_for_as_little_is_lost_by_it() -> None:
    days = [[IN_THE_CHEAP_HOUR]] * 9 + [[]]

    assert ahead(*days).worth(SITE_KW).waiting[0] > EARNS[0]


def test_who_may_not_get_all_any_more_does_not_wait() -> None:
    more_than_fits = Want(0.0, 2.0, 20.0, 10.0)

    assert ahead([], here=(more_than_fits,)).worth(SITE_KW).waiting[0] == 0


def test_a_full_transformer_keeps_only_those_behind_it_from_waiting() -> None:
    wants = [Want(0.0, 2.0, 3.0, 7.0, group=0), Want(0.0, 2.0, 3.0, 7.0, group=1)]

    worth = ahead([], here=tuple(wants), group_kw=(2.0, 100.0)).worth(SITE_KW)

    assert worth.waiting.tolist() == pytest.approx([0.03, 0.20])


def test_without_a_day_that_was_seen_nobody_is_expected() -> None:
    assert ahead().worth(SITE_KW).waiting[0] == pytest.approx(0.20)


@pytest.mark.parametrize("about_kw", [0.0, 6.9, 14.0, 500.0])
def test_the_peak_is_where_a_kilowatt_earns_what_it_costs(about_kw: float) -> None:
    # Up to 7 kW the cheap hour takes more instead of the dear one, which earns 0.17 a kilowatt.
    cheap, dear = [Step(0.0, 0.16)], [Step(0.0, 0.18)]

    assert ahead([]).peak_kw(cheap, so_far_kw=0.0, about_kw=about_kw) == pytest.approx(7, rel=0.02)
    # Below 3.5 kW the two hours together carry too little, and a kilowatt earns 0.23.
    assert ahead([]).peak_kw(dear, so_far_kw=0.0, about_kw=about_kw) == pytest.approx(3.5, rel=0.02)


def test_what_was_paid_for_is_used() -> None:
    assert ahead([]).peak_kw([Step(0.0, 9.0)], so_far_kw=5.0, about_kw=0.0) == 5.0


def test_a_peak_is_not_raised_over_a_dearer_step_that_it_would_not_earn() -> None:
    steps = [Step(0.0, 0.10), Step(6.0, 5.0)]

    assert ahead([]).peak_kw(steps, so_far_kw=0.0, about_kw=3.0) == pytest.approx(6, rel=0.02)
