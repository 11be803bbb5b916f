"""The independent check of the ledger looks again whenever anything is higher than it was when all
rows were within their rating."""

from __future__ import annotations

import pytest

from controlplane.network import SiteConfig
from controlplane.site.check import LedgerCheck
from controlplane.site.ledger import Entry

SITE = SiteConfig.model_validate(
    {
        "id": "depot",
        "circuits": [{"id": "supply", "rating_a": 40}],
        "chargers": [
            {
                "id": f"CP-{number}",
                "circuit": "supply",
                "offline_current_a": 0,
                "connectors": [{"id": 1, "current_max_a": 32, "phases": ["L1"]}],
            }
            for number in (1, 2)
        ],
    }
)


def account(current_ma: int) -> Entry:
    return Entry(32_000, 0, default_ma=0, online=True, settled=True, acknowledged_ma=current_ma)


@pytest.mark.parametrize(
    ("charged_ma", "building_ma"),
    [((10_000, 31_000), 0), ((31_000, 10_000), 0), ((30_000, 0), 11_000)],
)
def test_less_of_one_hides_no_more_of_another(
    charged_ma: tuple[int, int], building_ma: int
) -> None:
    check = LedgerCheck(SITE)
    assert check.overloads([account(30_000), account(10_000)], [0, 0, 0]) == []
    assert check.overloads([account(20_000), account(9_000)], [0, 0, 0]) == []
    found = check.overloads([account(each) for each in charged_ma], [building_ma, 0, 0])
    assert [(each.phase, each.load_ma) for each in found] == [("L1", 41_000)]
