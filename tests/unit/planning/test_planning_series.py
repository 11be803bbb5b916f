"""Series that others push, and the files that they stand in."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.errors import InvalidInput
from controlplane.planning.prices import POWER_COLUMNS, PRICE_COLUMNS, Told, read_series
from controlplane.planning.series import INTERVALS_MAX, KEPT_MS, Interval, Series, overlaps

NOW_MS = 1_780_000_000_000
NOW_S = NOW_MS // 1_000


def at(start: int, length: int, value: int) -> Interval:
    return Interval(NOW_S + start, length, value)


def values(series: Series, span: int) -> list[int | None]:
    """Second by second."""
    return [series.mean(NOW_MS + 1_000 * s, NOW_MS + 1_000 * (s + 1)) for s in range(span)]


def test_the_latest_push_counts_where_two_overlap() -> None:
    series = Series()
    assert series.push([at(0, 4, 1), at(6, 4, 2)], NOW_MS) == 2
    series.push([at(3, 5, 9)], NOW_MS)
    assert values(series, 11) == [1, 1, 1, 9, 9, 9, 9, 9, 2, 2, None]
    assert series.until_ms == NOW_MS + 10_000


def test_a_mean_is_of_the_whole_time_or_there_is_none() -> None:
    series = Series()
    series.push([at(0, 900, -30), at(900, 2_700, 90)], NOW_MS)
    assert series.mean(NOW_MS, NOW_MS + 3_600_000) == 60
    assert series.mean(NOW_MS, NOW_MS + 3_601_000) is None
    assert series.mean(NOW_MS - 1_000, NOW_MS + 1_000) is None


def test_what_is_past_for_long_is_forgotten_and_the_bound_holds() -> None:
    series = Series()
    old_s = -KEPT_MS // 1_000
    assert series.push([at(old_s - 10, 5, 1), at(old_s - 4, 5, 2)], NOW_MS) == 1
    pushed = [at(2 * n, 1, n) for n in range(INTERVALS_MAX + 50)]
    assert series.push(pushed, NOW_MS) == INTERVALS_MAX - 1
    assert len(series.intervals) == INTERVALS_MAX


pushes = st.lists(
    st.lists(st.tuples(st.integers(0, 20), st.integers(1, 6), st.integers(-9, 9)), max_size=5),
    max_size=5,
)


@given(pushes)
def test_a_series_is_what_was_told_last_of_every_second(
    several: list[list[tuple[int, int, int]]],
) -> None:
    series, expected = Series(), dict.fromkeys(range(30))
    known: dict[int, int | None] = dict(expected)
    for push in several:
        taken: list[Interval] = []
        for start, length, value in push:
            new = at(start, length, value)
            if overlaps([*taken, new]) is None:
                taken.append(new)
                known |= dict.fromkeys(range(start, start + length), value)
        series.push(taken, NOW_MS)
    assert values(series, 30) == [known[second] for second in range(30)]
    assert overlaps(series.intervals) is None


# --- files ----------------------------------------------------------------------------------------


def prices(text: str, zone: ZoneInfo | None = None) -> list[Told]:
    return read_series(text, PRICE_COLUMNS, source="p.csv", zone=zone)


def test_a_file_says_the_same_in_csv_and_json() -> None:
    csv = prices(
        "start,end,price_per_mwh\n"
        "2026-05-01T01:00+02:00,2026-05-01T02:00+02:00,-3.15\n"
        "2026-05-01T00:00+02:00,2026-05-01T01:00+02:00,81.20\n"
    )
    json = prices(
        '{"prices": [{"start": "2026-04-30T22:00Z", "price_per_kwh": 0.0812},'
        ' {"start": "2026-04-30T23:00Z", "price_per_kwh": "-0.00315"}]}'
    )
    assert [each[1:] for each in csv] == [each[1:] for each in json]
    assert [each.value for each in csv] == [Decimal("0.0812"), Decimal("-0.00315")]
    assert csv[0].end_s - csv[0].start_s == 3_600


def test_an_hour_that_comes_twice_is_read_twice() -> None:
    lines = [f"2026-10-25T{hour:02}:00,{at}" for at, hour in enumerate([1, 2, 2, 3])]
    found = prices("start,price_per_kwh\n" + "\n".join(lines), ZoneInfo("Europe/Berlin"))
    assert [each.end_s - each.start_s for each in found] == [3_600] * 4
    assert [each.value for each in found] == [0, 1, 2, 3]


@pytest.mark.parametrize("minutes", [15, 30, 60])
@pytest.mark.parametrize("day", ["2026-10-25", "2026-03-29"])
@pytest.mark.parametrize("jumps", [True, False])
def test_ends_are_read_as_they_are_written_down(day: str, minutes: int, jumps: bool) -> None:
    """Every value of the night on which the clock jumps, as an exchange writes it down."""
    zone = ZoneInfo("Europe/Berlin")
    first = datetime.fromisoformat(f"{day}T00:00").replace(tzinfo=zone)
    edges_s = range(int(first.timestamp()), int(first.timestamp()) + 6 * 3_600 + 1, 60 * minutes)
    clock = [datetime.fromtimestamp(each, zone).replace(tzinfo=None) for each in edges_s]
    length = timedelta(minutes=minutes)
    rows = [
        f"{start:%Y-%m-%dT%H:%M},{end if jumps else start + length:%Y-%m-%dT%H:%M},{at}"
        for at, (start, end) in enumerate(pairwise(clock))
    ]
    found = prices("start,end,price_per_kwh\n" + "\n".join(rows), zone)
    assert [(each.start_s, each.end_s) for each in found] == list(pairwise(edges_s))


def test_an_hour_that_the_clock_skips_is_named() -> None:
    lines = [f"2026-03-29T{hour:02}:00,{hour}" for hour in (1, 2, 3)]
    with pytest.raises(InvalidInput) as caught:
        prices("start,price_per_kwh\n" + "\n".join(lines), ZoneInfo("Europe/Berlin"))
    assert "line 3: start '2026-03-29T02:00' does not exist" in caught.value.message


def test_powers_are_read_in_watts() -> None:
    found = read_series(
        "start,end,power_kw\n2026-05-01T00:00Z,2026-05-01T00:15Z,1.5\n",
        POWER_COLUMNS,
        source="s.csv",
    )
    assert [each.value for each in found] == [1_500]


HEAD = "start,price_per_kwh\n2026-05-01T00:00Z,0.1\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "p.csv: line 1: the header must name `start`"),
        ("start,price_per_kwh\n", "p.csv: has no values"),
        ("start,price\n2026-05-01T00:00Z,1\n", "line 2: has none of price_per_kwh, price_per_mwh"),
        (HEAD, "line 2: a single value needs an `end`"),
        (HEAD + "tomorrow,0.2\n", "line 3: start 'tomorrow' is no instant"),
        (HEAD + "2026-05-01T01:00,0.2\n", "line 3: start '2026-05-01T01:00' has no offset"),
        (HEAD + "2026-05-01T01:00Z,dear\n", "line 3: price_per_kwh 'dear' is no number"),
        (HEAD + "2026-05-01T01:00Z,NaN\n", "line 3: price_per_kwh NaN is not within 10000"),
        (HEAD + "2026-05-01T01:00Z\n", "line 3: has no `price_per_kwh`"),
        (HEAD + "2026-05-01T01:00Z,1,2\n", "line 3: has more than 2 fields"),
        (HEAD + "2026-04-30T23:00Z,0.2\n", "line 2: lasts -3600 s"),
        (
            "start,end,price_per_kwh\n2026-05-01T00:00Z,2026-05-01T02:00Z,1\n"
            "2026-05-01T01:00Z,2026-05-01T03:00Z,2\n",
            "line 3: begins before line 2 ends",
        ),
        ('[{"start": 1]', "p.csv: no JSON"),
        ("[1]", "p.csv: [0]: must be an object"),
        ('{"price": []}', "must be a list of values"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_place(text: str, words: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        prices(text)
    assert words in caught.value.message
