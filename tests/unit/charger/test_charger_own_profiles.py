"""An operator's own default profiles: never lost unsaid, never in the place of Loadstar's, and
counted for as long as the station may have them."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import SETTINGS, Charger

from controlplane.actor import Call
from controlplane.errors import Refusal
from controlplane.ocpp import commands
from controlplane.ocpp.commands import LimitPeriod, ProfilePurpose, ScheduleKind
from controlplane.site.messages import ChargerPresence


def own(
    limit: float,
    *,
    unit: str = "A",
    connector_id: int = 1,
    stack_level: int = 1,
    purpose: ProfilePurpose = ProfilePurpose.DEFAULT,
) -> commands.SetProfile:
    periods = (LimitPeriod(4.0), LimitPeriod(limit, start_s=60))
    profile = commands.ChargingProfile(
        500,
        purpose,
        ScheduleKind.RELATIVE,
        "W" if unit == "W" else "A",
        periods,
        stack_level,
        "1" if purpose is ProfilePurpose.TRANSACTION else None,
    )
    return commands.SetProfile(connector_id, profile)


def settled(version: str = "ocpp1.6", **description: Any) -> Charger:
    charger = Charger()
    charger.settle(version, **description)
    charger.all.clear()
    return charger


def refusal(charger: Charger) -> str:
    (answer,) = charger.answered()
    assert isinstance(answer, Refusal), answer
    return answer.reason


def counted(charger: Charger) -> list[tuple[int | None, dict[int, int]]]:
    """What the site was told that connectors default to: the most, and who has less."""
    return [(each.default_ma, each.lower_ma) for each in charger.told(ChargerPresence)]


def test_none_is_taken_before_what_others_left_was_cleared() -> None:
    """It would be removed with the rest, and nobody would say so."""
    charger = Charger()
    charger.assign()
    charger.connect()
    charger.execute(own(10))
    assert refusal(charger) == "CHARGER_NOT_PREPARED"
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    # That something was there is told, for whoever set it.
    assert len(charger.journal("charger.foreign_defaults_removed")) == 1
    charger.all.clear()
    charger.execute(own(10))
    charger.answer()
    # It outlives every connection after that.
    charger.disconnect()
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    actions = [effect.action for effect in charger.all if isinstance(effect, Call)]
    assert actions[0] == "SetChargingProfile"
    assert "ClearChargingProfile" not in actions


@pytest.mark.parametrize("purpose", [ProfilePurpose.DEFAULT, ProfilePurpose.TRANSACTION])
def test_none_takes_the_place_of_loadstars(purpose: ProfilePurpose) -> None:
    charger = settled()
    charger.execute(own(10, stack_level=0, purpose=purpose))
    assert refusal(charger) == "STACK_LEVEL_TAKEN"


def test_a_charger_that_is_steered_by_its_default_profile_has_no_other() -> None:
    charger = settled(quirks=("default-profile-only",))
    charger.execute(own(10))
    assert refusal(charger) == "DEFAULT_PROFILE_STEERS"


@pytest.mark.parametrize(
    ("profile", "most_ma"),
    [
        (own(10), 10_000),
        # Less than Loadstar's own, which is in force again once it is gone.
        (own(5), 6_000),
        # Watts of three phases, rounded up; no more than the hardware can.
        (own(6_900, unit="W"), 10_001),
        (own(400), 32_000),
    ],
)
def test_it_counts_with_the_most_that_it_allows_until_it_is_gone(
    profile: commands.SetProfile, most_ma: int
) -> None:
    charger = settled()
    charger.execute(profile)
    charger.answer()
    assert counted(charger) == ([] if most_ma == 6_000 else [(most_ma, {})])
    charger.all.clear()
    charger.execute(commands.ClearProfile(500))
    charger.answer()
    assert counted(charger) == ([] if most_ma == 6_000 else [(6_000, {})])


def test_it_counts_from_before_it_leaves_and_no_more_once_it_was_refused() -> None:
    charger = settled(connectors=2)
    charger.execute(own(10, connector_id=2))
    assert counted(charger) == [(10_000, {1: 6_000})]
    charger.answer(status="Rejected")
    assert counted(charger)[1:] == [(6_000, {})]


def test_one_that_may_be_there_counts_on_the_next_host() -> None:
    charger = settled()
    charger.execute(own(20))
    charger.disconnect()
    other = charger.reborn()
    other.connect()
    assert counted(other)[-1] == (20_000, {})
    other.wait(SETTINGS.settle_ms)
    other.accept_all()
    other.execute(commands.ClearProfile(500))
    other.answer(status="Unknown")
    assert counted(other)[-1] == (6_000, {})


def test_another_station_in_its_place_has_none() -> None:
    charger = settled()
    boot = {"chargePointVendor": "Maker", "chargePointModel": "M"}
    charger.call("BootNotification", **boot, chargePointSerialNumber="1")
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    charger.execute(own(20))
    charger.answer()
    charger.call("BootNotification", **boot, chargePointSerialNumber="2")
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    assert counted(charger)[-1] == (6_000, {})
