"""The storm, small: all come back, and the store holds every queued sample once."""

from __future__ import annotations

import pytest

from controlplane.bench import storm
from controlplane.bench.storm import run


@pytest.mark.timeout(240)
def test_a_small_storm_loses_and_doubles_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storm, "_SETTLE_S", 0.5)
    monkeypatch.setattr(storm, "_DARK_S", 0.1)
    result = run(chargers=20, queued=3, within_s=0.5, transport="local")
    assert result["connected"] == result["chargers"] == 20
    assert result["acknowledged"] == result["messages"] == 60
    assert (result["lost"], result["duplicated"], result["refused"]) == (0, 0, 0)
    assert result["too_early"] == 0
    assert result["backlog"][0] == 60
    assert result["backlog"][-1] == 0
    assert 0 < result["boot_p50_ms"] <= result["boot_p99_ms"] <= result["boot_max_ms"]


def test_more_stations_than_there_can_be_are_refused() -> None:
    with pytest.raises(ValueError, match="chargers"):
        run(chargers=1)
