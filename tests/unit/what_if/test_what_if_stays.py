"""Who finds a connector, and who is estimated to have found none."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from controlplane.network import SiteConfig
from controlplane.planning.history import Calendar
from controlplane.site.tree import SiteTree
from controlplane.units import MS_PER_HOUR
from controlplane.what_if.question import Visit
from controlplane.what_if.stays import place, unseen

DAY_MS = 24 * MS_PER_HOUR
MONDAY_MS = 1_788_134_400_000  # 2026-08-31T00:00Z
CALENDAR = Calendar(ZoneInfo("UTC"))


def site(chargers: int) -> SiteTree:
    return SiteTree(
        SiteConfig.model_validate(
            {
                "id": "depot",
                "circuits": [{"id": "supply", "rating_a": 400}],
                "chargers": [
                    {"id": f"CP-{n}", "circuit": "supply", "connectors": [{"id": 1}]}
                    for n in range(chargers)
                ],
            }
        )
    )


def visit(name: str, charger: int, from_h: float, until_h: float, **values: object) -> Visit:
    known: dict[str, object] = {"energy_wh": 5_000}
    return Visit(
        id=name,
        charger_id=f"CP-{charger}",
        connector_id=1,
        arrival_ms=MONDAY_MS + round(from_h * MS_PER_HOUR),
        departure_ms=MONDAY_MS + round(until_h * MS_PER_HOUR),
        **(known | values),  # type: ignore[arg-type]
    )


def test_a_visit_stays_where_it_was_and_others_take_what_is_free() -> None:
    visits = [visit("a", 1, 8, 10), visit("b", 7, 8.5, 9), visit("c", 1, 9, 11)]
    placed = place(site(3), visits)
    assert [(each.visit.id, each.position) for each in placed.stays] == [
        ("a", 1),
        ("b", 2),
        ("c", 2),
    ]
    assert not placed.turned_away
    fewer = place(site(1), visits)
    assert [each.id for each in fewer.turned_away] == ["b", "c"]


def test_what_somebody_wanted_is_no_more_than_its_stay_could_bring() -> None:
    asked = [
        visit("patient", 0, 0, 10, need_wh=60_000, power_max_w=3_680),
        visit("hasty", 1, 0, 1, need_wh=60_000, power_max_w=3_680, energy_wh=1_000),
        visit("silent", 2, 0, 10),
        visit("quick", 3, 0, 1, energy_wh=9_000, power_max_w=3_680),
    ]
    wants = {each.visit.id: each.want_wh for each in place(site(4), asked).stays}
    assert wants["patient"] == pytest.approx(36_800, abs=20)
    assert wants["hasty"] == pytest.approx(3_680, abs=20)
    assert wants["silent"] == 5_000
    assert wants["quick"] == 9_000


def test_those_who_found_none_come_as_often_as_others_of_such_an_hour() -> None:
    """Two come at eight on each of four days that are free then; on the fifth all is taken."""
    visits = [
        visit(f"{day}-{n}", n, day * 24 + 8 + n / 4, day * 24 + 9 + n / 4)
        for day in range(4)
        for n in (0, 1)
    ]
    visits += [visit(f"long-{n}", n, 4 * 24 + 3 + n, 4 * 24 + 12) for n in range(3)]
    found, unknown = unseen(
        visits, connectors=3, start_ms=MONDAY_MS, end_ms=MONDAY_MS + 5 * DAY_MS, calendar=CALENDAR
    )
    assert unknown == 0
    assert len(found) == 2
    assert all(each.estimated and not each.charger_id for each in found)
    for each in found:
        assert 4 * 24 + 8 <= (each.arrival_ms - MONDAY_MS) / MS_PER_HOUR < 4 * 24 + 9
        assert each.departure_ms - each.arrival_ms == MS_PER_HOUR
    # As the site is they find nothing, with one charger more one at a time does.
    all_of_them = [*visits, *found]
    assert {each.id for each in place(site(3), all_of_them).turned_away} == {
        each.id for each in found
    }
    assert len(place(site(4), all_of_them).turned_away) < 2
    assert not place(site(5), all_of_them).turned_away


def test_nobody_is_estimated_where_one_was_always_free() -> None:
    visits = [visit("a", 0, 8, 10), visit("b", 1, 9, 11)]
    span = {"start_ms": MONDAY_MS, "end_ms": MONDAY_MS + DAY_MS}
    assert unseen(visits, connectors=3, calendar=CALENDAR, **span) == ([], 0)


def test_hours_that_were_never_free_are_named() -> None:
    visits = [visit(f"{day}", 0, day * 24 + 8, day * 24 + 10) for day in range(5)]
    found, unknown = unseen(
        visits, connectors=1, start_ms=MONDAY_MS, end_ms=MONDAY_MS + 5 * DAY_MS, calendar=CALENDAR
    )
    assert found == []
    assert unknown == 10
