"""Opening hours and rules as a function of the clock: what is owed to whom, and until when."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.network import SiteConfig
from controlplane.site.policy import UNRULED, Policy

BERLIN = "Europe/Berlin"
DAYS = ["mon", "tue", "wed", "thu", "fri"]


def policy(zone: str = BERLIN, **values: Any) -> Policy:
    site = {"id": "depot", "time_zone": zone, "circuits": [{"id": "supply", "rating_a": 100}]}
    return Policy(SiteConfig.model_validate(site | values))


def hours(begin: str, end: str, *days: str) -> dict[str, Any]:
    return {"from": begin, "to": end} | ({"days": list(days)} if days else {})


def at(text: str, zone: str = BERLIN, *, fold: int = 0) -> int:
    """An instant of a wall clock; `fold` 1 is the second of two that read alike."""
    wall = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return int(wall.timestamp() * 1_000)


def is_open(site: Policy, text: str, *, fold: int = 0) -> bool:
    return site.standing(at(text, fold=fold)).open


def test_without_hours_and_rules_everybody_is_served_for_ever() -> None:
    site = policy()
    assert site.terms("TAG", at("2026-03-01T12:00")) == UNRULED
    assert site.standing(at("2026-03-01T12:00")).until_ms is None


def test_a_weekday_site_opens_and_closes_on_the_minute() -> None:
    site = policy(opening_hours=[hours("07:00", "19:00", *DAYS)])
    assert not is_open(site, "2026-06-03T06:59:59.999")
    assert is_open(site, "2026-06-03T07:00")
    assert is_open(site, "2026-06-03T18:59:59.999")
    assert not is_open(site, "2026-06-03T19:00")
    assert not is_open(site, "2026-06-06T12:00"), "a Saturday"


def test_the_next_change_is_known() -> None:
    site = policy(opening_hours=[hours("07:00", "19:00", *DAYS)])
    friday = site.standing(at("2026-06-05T12:00"))
    assert (friday.open, friday.until_ms) == (True, at("2026-06-05T19:00"))
    weekend = site.standing(at("2026-06-05T19:00"))
    assert (weekend.open, weekend.until_ms) == (False, at("2026-06-08T07:00"))
    assert site.opens(at("2026-06-06T00:00")) == "Mon 07:00"
    assert site.opens(at("2026-06-08T07:00")) == ""


def test_hours_run_over_midnight_from_the_day_they_begin() -> None:
    site = policy(opening_hours=[hours("22:00", "06:00", "fri")])
    assert not is_open(site, "2026-06-05T05:00"), "Thursday night has none"
    assert is_open(site, "2026-06-05T22:00")
    assert is_open(site, "2026-06-06T05:59")
    assert not is_open(site, "2026-06-06T06:00")
    assert not is_open(site, "2026-06-06T22:00")


def test_hours_that_end_at_midnight_meet_those_that_begin_there() -> None:
    for end in ("24:00", "00:00"):
        site = policy(opening_hours=[hours("18:00", end, "mon"), hours("00:00", "06:00", "tue")])
        assert is_open(site, "2026-06-02T00:00")
        assert not is_open(site, "2026-06-02T06:00")
    always = policy(opening_hours=[hours("00:00", "24:00")])
    assert is_open(always, "2026-06-02T00:00")


def test_the_site_lives_by_its_own_clock() -> None:
    opening = [hours("07:00", "19:00")]
    noon_utc = at("2026-06-03T12:00", "UTC")
    assert policy("Europe/Berlin", opening_hours=opening).standing(noon_utc).open
    assert not policy("Pacific/Auckland", opening_hours=opening).standing(noon_utc).open


def test_in_spring_a_night_is_an_hour_shorter() -> None:
    """29 March 2026: 02:00 becomes 03:00 in Berlin."""
    site = policy(opening_hours=[hours("22:00", "06:00")])
    standing = site.standing(at("2026-03-28T22:00"))
    assert standing.until_ms == at("2026-03-28T22:00") + 7 * 3_600_000


def test_an_hour_that_does_not_come_is_empty() -> None:
    site = policy(opening_hours=[hours("02:00", "03:00")])
    assert is_open(site, "2026-03-28T02:30")
    assert site.standing(at("2026-03-28T03:00")).until_ms == at("2026-03-30T02:00")
    half = policy(opening_hours=[hours("02:30", "06:00")])
    assert not is_open(half, "2026-03-29T03:29"), "half an hour after the jump"
    assert is_open(half, "2026-03-29T03:30")


def test_weekly_hours_that_a_jump_takes_come_again_a_week_later() -> None:
    site = policy(opening_hours=[hours("02:00", "03:00", "sun")])
    assert site.standing(at("2026-03-22T04:00")).until_ms == at("2026-04-05T02:00")


def test_in_autumn_a_time_that_comes_twice_is_the_first() -> None:
    """25 October 2026: 03:00 becomes 02:00 in Berlin."""
    site = policy(opening_hours=[hours("22:00", "06:00")])
    standing = site.standing(at("2026-10-24T22:00"))
    assert standing.until_ms == at("2026-10-24T22:00") + 9 * 3_600_000
    ends = policy(opening_hours=[hours("22:00", "02:30"), hours("02:30", "06:00")])
    assert is_open(ends, "2026-10-25T02:29")
    for fold in (0, 1):
        assert is_open(ends, "2026-10-25T02:30", fold=fold), "no gap where hours meet"
    early = policy(opening_hours=[hours("22:00", "02:30")])
    assert is_open(early, "2026-10-25T02:29")
    assert not is_open(early, "2026-10-25T02:29", fold=1), "it has closed the first time"


def test_a_clock_that_jumps_at_midnight() -> None:
    """24 April 2026: 00:00 becomes 01:00 in Cairo."""
    cairo = "Africa/Cairo"
    site = policy(cairo, opening_hours=[hours("00:00", "06:00")])
    standing = site.standing(at("2026-04-24T05:00", cairo))
    assert standing.open
    assert standing.from_ms == at("2026-04-24T01:00", cairo)


RULES = [
    {"id": "night", "id_tokens": ["FLEET-*"], "priority": 0, "hours": [hours("20:00", "06:00")]},
    {"id": "fleet", "id_tokens": ["fleet-*", "VAN"], "priority": 2, "weight": 3},
    {"id": "staff", "id_tokens": ["STAFF-*"], "guaranteed_a": 10, "outside_hours": True},
    {"id": "guests", "id_tokens": ["*"], "priority": 9},
]


def test_the_first_rule_that_matches_and_holds_decides() -> None:
    site = policy(rules=RULES, opening_hours=[hours("07:00", "19:00")])
    noon, night = at("2026-06-03T12:00"), at("2026-06-03T23:00")
    assert [site.terms(tag, noon).rule_id for tag in ("FLEET-7", "VAN", "STAFF-1", "X", None)] == [
        *("fleet", "fleet", "staff", "guests", "guests")
    ]
    fleet = site.terms("Fleet-7", noon)
    assert (fleet.priority, fleet.weight) == (2, 3), "in upper or lower case alike"
    assert site.terms("FLEET-7", night).rule_id == "night"
    assert site.terms("VAN", night).rule_id == "fleet"
    assert site.terms("STAFF-1", noon).guaranteed_ma == 10_000
    assert site.terms("STAFF-1", noon).priority is None, "the connector's own"


def test_outside_hours_a_rule_may_serve_all_the_same() -> None:
    site = policy(rules=RULES, opening_hours=[hours("07:00", "19:00")])
    night = at("2026-06-03T23:00")
    assert site.terms("STAFF-1", night).may_charge
    assert not site.terms("GUEST", night).may_charge
    assert not policy(opening_hours=[hours("07:00", "19:00")]).terms("GUEST", night).may_charge


def test_a_session_without_a_token_is_nobodys() -> None:
    assert policy(rules=RULES[:3]).terms(None, at("2026-06-03T12:00")).rule_id is None


def test_a_clock_that_is_set_back_is_believed() -> None:
    site = policy(opening_hours=[hours("07:00", "19:00")])
    assert not is_open(site, "2026-06-03T20:00")
    assert is_open(site, "2026-06-03T12:00")
    assert not is_open(site, "2026-06-03T06:00")


time_of_day = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.integers(0, 59))
some_hours = st.builds(
    lambda begin, end, days: None if begin == end else hours(begin, end, *days),
    time_of_day,
    time_of_day,
    st.sets(st.sampled_from([*DAYS, "sat", "sun"])),
)


@given(
    opening=st.lists(some_hours.filter(bool), min_size=1, max_size=3),
    zone=st.sampled_from([BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
    instants=st.lists(st.integers(1_700_000_000, 1_800_000_000), min_size=2, max_size=5),
)
def test_what_holds_holds_until_the_next_change(
    opening: list[dict[str, Any]], zone: str, instants: list[int]
) -> None:
    """Nothing changes before `until_ms`, and what is remembered never differs from what is worked
    out anew."""
    site = policy(zone, opening_hours=opening)
    for instant in instants:
        now_ms = instant * 1_000
        standing = site.standing(now_ms)
        assert standing.until_ms is not None
        for later_ms in (now_ms, (now_ms + standing.until_ms) // 2, standing.until_ms - 1):
            fresh = policy(zone, opening_hours=opening).standing(later_ms)
            assert fresh.open == standing.open
            assert fresh.until_ms == standing.until_ms


@pytest.mark.parametrize(
    ("values", "place", "fault"),
    [
        ({"opening_hours": [hours("7", "19:00")]}, "opening_hours", "no time of day"),
        ({"opening_hours": [hours("07:00", "24:01")]}, "opening_hours", "no time of day"),
        ({"opening_hours": [hours("07:00", "07:00")]}, "opening_hours", "00:00 to 24:00"),
        ({"opening_hours": [hours("24:00", "07:00")]}, "opening_hours", "do not begin at 24:00"),
        ({"opening_hours": [hours("1:00", "2:00", "mon", "mon")]}, "opening_hours", "different"),
        ({"rules": [{"id": "a", "id_tokens": []}]}, "rules", "at least 1"),
        ({"rules": [{"id": "a", "id_tokens": ["A*B"]}]}, "rules", "at the end only"),
        ({"rules": [RULES[0], RULES[0]]}, "rules", "two rules share the id 'night'"),
        (
            {"rules": [{"id": "a", "id_tokens": ["*"], "guaranteed_a": 101}]},
            "",
            "over the rating of its supply of 100 A",
        ),
    ],
)
def test_faults_are_named(values: dict[str, Any], place: str, fault: str) -> None:
    with pytest.raises(ValueError, match=fault) as raised:
        policy(**values)
    assert place in str(raised.value)
