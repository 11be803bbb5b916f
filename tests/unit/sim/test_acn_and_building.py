"""Real data is read as it is, and what is malformed is named."""

from itertools import pairwise
from pathlib import Path

import pytest

from controlplane.errors import InvalidInput
from controlplane.sim.acn import DATA, Stay, load_stays, seat
from controlplane.sim.building import BuildingLoad, load_hours_w

HOUR_MS = 3_600_000


def test_a_day_of_real_stays_is_read() -> None:
    stays = load_stays(DATA / "acn_caltech_2019-06-12.csv")
    assert len(stays) == 46
    first = stays[0]
    assert (first.station_id, first.requested_wh, first.delivered_wh) == ("CA-325", 32_000, 7_314)
    assert first.duration_ms == pytest.approx(2.6 * HOUR_MS, rel=0.02)
    assert all(before.arrival_ms <= after.arrival_ms for before, after in pairwise(stays))


@pytest.mark.parametrize(
    "row",
    [
        "2019-06-12 08:00:00-07:00,2019-06-12 07:00:00-07:00,1,1,A,s,,True",
        "2019-06-12 08:00:00,2019-06-12 09:00:00,1,1,A,s,,True",
        "2019-06-12 08:00:00-07:00,2019-06-12 09:00:00-07:00,much,1,A,s,,True",
        "2019-06-12 08:00:00-07:00",
    ],
)
def test_a_malformed_row_is_named_by_its_line(tmp_path: Path, row: str) -> None:
    header = (DATA / "acn_jpl_2019-06-12.csv").read_text().splitlines()[0]
    path = tmp_path / "stays.csv"
    path.write_text(f"{header}\n{row}\n")
    with pytest.raises(InvalidInput, match="line 2"):
        load_stays(path)


def test_stays_at_one_seat_do_not_overlap() -> None:
    stays = load_stays(DATA / "acn_jpl_2019-06-12.csv")
    seated = seat(stays, range(10), gap_ms=600_000)
    assert set(seated.values()) == set(range(10))
    for number in range(10):
        here = [stay for stay in stays if seated.get(stay) == number]
        for before, after in pairwise(here):
            assert before.departure_ms + 600_000 <= after.arrival_ms


def test_who_finds_no_seat_is_left_out() -> None:
    stays = [Stay(str(n), "S", n, n + 100, 1, 1) for n in range(3)]
    assert seat(stays, [0, 1], gap_ms=0) == {stays[0]: 0, stays[1]: 1}


def test_the_building_is_interpolated_and_split_over_phases() -> None:
    load = BuildingLoad(
        start_ms=0, hours_w=(23_000.0, 46_000.0), phase_shares=(0.5, 0.3, 0.2), voltage_v=230
    )
    assert load.power_w(-1) == 23_000
    assert load.power_w(HOUR_MS // 2) == pytest.approx(34_500)
    assert load.power_w(9 * HOUR_MS) == 46_000
    assert load.current_a(0) == pytest.approx((50, 30, 20))


def test_the_office_of_the_data_works_by_day() -> None:
    hours_w = load_hours_w(DATA / "office_load_06-12.csv")
    assert len(hours_w) == 25
    assert max(hours_w[8:16]) > 3 * hours_w[2]


def test_hours_must_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text("hour_of_day,load_kw\n0,1\n2,1\n")
    with pytest.raises(InvalidInput, match="follow"):
        load_hours_w(path)
