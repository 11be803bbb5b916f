"""What the page on sites shows can be described as it stands there."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

from controlplane.network_yaml import parse_site
from controlplane.site.policy import Policy

PAGE = Path(__file__).parents[3] / "docs/sites.md"


def test_the_example_says_what_the_page_says() -> None:
    (document,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    site = parse_site(document, source="docs/sites.md")
    policy = Policy(site)
    # A Wednesday; Berlin is two hours ahead.
    noon, night = (
        int(datetime(2026, 6, 3, hour, tzinfo=UTC).timestamp() * 1_000) for hour in (10, 21)
    )
    assert policy.terms("BUS-7", noon).rule_id == "buses"
    assert policy.terms("bus-7", night).rule_id == "night-buses"
    assert policy.terms("BUS-7", night).guaranteed_ma == 16_000
    assert policy.terms("04a1b2c3", noon).weight == 2
    assert policy.terms(None, noon).priority == 8
    assert [policy.terms(token, night).may_charge for token in ("BUS-7", "04A1B2C3", None)] == [
        *(True, False, False)
    ]
