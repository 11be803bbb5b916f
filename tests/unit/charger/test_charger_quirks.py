"""How makes deviate: files, the choice among them, and what each field changes."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import SETTINGS, Charger

from controlplane.actor import Ask, Call
from controlplane.charger.messages import ChargerAssigned, ChargerView, GetCharger
from controlplane.charger.quirks import PROFILES, Quirks, quirks_of, unknown_profiles
from controlplane.ids import SiteId
from controlplane.network import ChargerConfig
from controlplane.ocpp.commands import CommandResult, Reset, SetSettings
from controlplane.site.messages import ChargerPresence, LimitOutcome

MINUTE_MS = 60_000


def booted(version: str = "ocpp1.6", *, vendor: str = "Vendor", **description: Any) -> Charger:
    """A settled charger of a make that answers nothing of itself."""
    charger = Charger()
    charger.assign(**description)
    charger.connect(version)
    boot(charger, vendor=vendor)
    charger.wait(SETTINGS.settle_ms)
    accept(charger)
    return charger


def boot(charger: Charger, *, vendor: str = "Vendor", firmware: str = "1") -> None:
    charger.call(
        "BootNotification",
        chargePointVendor=vendor,
        chargePointModel="Model",
        firmwareVersion=firmware,
    )


def accept(charger: Charger) -> None:
    while charger.outstanding is not None:
        if charger.outstanding.action == "GetConfiguration":
            charger.refuse()
        else:
            charger.answer()


def profiles(charger: Charger) -> list[dict[str, Any]]:
    return [
        effect.payload["csChargingProfiles"]
        for effect in charger.all
        if isinstance(effect, Call) and effect.action == "SetChargingProfile"
    ]


def limited(charger: Charger, limit_ma: int = 10_500) -> dict[str, Any]:
    """The profile that a limit of the running session becomes."""
    charger.limit(1, limit_ma, "CP1-1")
    return profiles(charger)[-1]


def view(charger: Charger) -> ChargerView:
    charger.tell(Ask("view", GetCharger()))
    answer = charger.answered("view")[-1]
    assert isinstance(answer, ChargerView)
    return answer


# --- the files ------------------------------------------------------------------------------------


def test_what_is_said_of_a_make_has_a_source() -> None:
    for name, profile in PROFILES.items():
        assert profile.why.endswith("."), name
        if any(profile.patterns):
            assert all(source.startswith("https://") for source in profile.sources), name


@pytest.mark.parametrize(
    ("boot", "names"),
    [
        (("ABB", "TACW7-4-T-R-C-0", "1.8.21"), ("abb-terra-ac",)),
        (("ABB", "Terra 54", "4.1"), ()),
        (("Alfen BV", "NG910-60023", "4.15.7-4054"), ("alfen",)),
        (("AUTEL", "MaxiCharger AC", "V1.38"), ("autel-maxicharger",)),
        (("Easee AS", "Home", "328"), ("easee",)),
        (("EV-BOX", "Elvi", "P1"), ("evbox-elvi",)),
        (("go-e", "Gemini", "56.8"), ("go-e",)),
        (("United Chargers", "Grizzl-E Smart", "5.6"), ("grizzl-e",)),
        (("HUAWEI", "FusionCharge", "1"), ("huawei-fusioncharge",)),
        (("OpenEVSE", "ESP32", "v4.2.2"), ("openevse",)),
        (("OpenEVSE", "ESP32", "v4.2.20"), ()),
        (("OpenEVSE", "ESP32", "5.0.0"), ()),
        (("Wall Box Chargers", "PLP1", "6.4"), ("wallbox",)),
        (("Zaptec", "Go2", "1"), ("zaptec",)),
        (("Vendor", "Model", "1"), ()),
        (("", "", ""), ()),
    ],
)
def test_the_boot_chooses_the_profile(boot: tuple[str, str, str], names: tuple[str, ...]) -> None:
    assert quirks_of(*boot)[0] == names


def test_a_description_names_profiles_in_place_of_those_that_match() -> None:
    names, quirks = quirks_of("ABB", "TAC", "1", named=("whole-amperes", "safe-mode"))
    assert names == ("whole-amperes", "safe-mode")
    assert quirks == Quirks(decimals=0, station_faulted="safe_mode")
    assert quirks_of("ABB", "TAC", "1", named=("none",)) == ((), Quirks())
    assert unknown_profiles(["none", "alfen", "elfen"]) == ["elfen"]


# --- what they change -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("profile", "limits"),
    [
        ("amperes", {"chargingRateUnit": "A", "limit": 10.5}),
        ("whole-amperes", {"limit": 10}),
        ("phases-left-out", {"numberPhases": None}),
        ("autel-maxicharger", {"chargingRateUnit": "W", "limit": 4_830}),
        ("go-e", {"stackLevel": 1}),
        ("absolute-profiles", {"chargingProfileKind": "Absolute"}),
        ("default-profile-only", {"chargingProfilePurpose": "TxDefaultProfile"}),
        ("none", {"chargingProfileKind": "Relative", "stackLevel": 0, "numberPhases": 2}),
    ],
)
def test_profiles_have_the_form_of_the_make(profile: str, limits: dict[str, Any]) -> None:
    charger = booted(quirks=(profile,))
    described = {"connectors": [{"id": 1, "phases": ["L1", "L2"]}], "quirks": [profile]}
    charger.tell(assigned(described))
    charger.wait(SETTINGS.settle_ms)
    accept(charger)
    charger.start_16()
    written = limited(charger)
    schedule = written["chargingSchedule"]
    found = {**written, **schedule, **schedule["chargingSchedulePeriod"][0]}
    assert {name: found.get(name) for name in limits} == limits
    if found["chargingProfileKind"] == "Absolute":
        assert schedule["startSchedule"] <= charger.at(), "in force at once"


def assigned(described: dict[str, Any]) -> ChargerAssigned:
    config = ChargerConfig.model_validate({"id": "CP1", "circuit": "main"} | described)
    return ChargerAssigned(SiteId("site"), 230, config.model_dump_json().encode())


def test_a_profile_is_cleared_before_the_next_where_that_is_needed() -> None:
    charger = booted(quirks=("clear-before-set",))
    charger.start_16()
    charger.limit(4, 10_000, "CP1-1")
    assert (charger.last_call().action, charger.last_call().payload) == (
        "ClearChargingProfile",
        {"id": 13},
    )
    charger.answer(status="Unknown")
    assert charger.last_call().action == "SetChargingProfile"
    charger.answer()
    assert charger.told(LimitOutcome)[-1].state.value == "accepted"
    charger.limit(5, 8_000, "CP1-1")
    charger.answer()
    charger.answer(status="Rejected")
    assert view(charger).connectors[0].limit_ma is None, "the old one is gone"


def test_a_session_limited_by_the_default_profile_leaves_the_offline_current_behind() -> None:
    charger = booted(quirks=("default-profile-only",), offline_a=6.0)
    number = charger.start_16()
    charger.limit(1, 16_000, "CP1-1")
    charger.answer()
    assert view(charger).connectors[0].limit_ma == 16_000
    assert charger.told(ChargerPresence)[-1].default_ma == 16_000, "silence would leave it so"
    charger.stop_16(number, 2_000)
    assert profiles(charger)[-1]["chargingSchedule"]["chargingSchedulePeriod"][0]["limit"] == 6.0
    charger.answer()
    assert charger.told(ChargerPresence)[-1].default_ma == 6_000


def test_a_limit_in_one_default_profile_counts_for_no_other_connector() -> None:
    charger = booted(quirks=("default-profile-only",), offline_a=6.0, connectors=2)
    charger.start_16()
    charger.limit(1, 16_000, "CP1-1")
    charger.answer()
    told = charger.told(ChargerPresence)[-1]
    assert (told.default_ma, told.lower_ma) == (16_000, {2: 6_000})


def test_measurands_are_those_of_the_make_and_nothing_else_is_tried() -> None:
    charger = booted(quirks=("abb-terra-ac",))
    keys = [
        effect.payload["value"]
        for effect in charger.all
        if isinstance(effect, Call) and effect.payload.get("key") == "MeterValuesSampledData"
    ]
    assert keys == ["Current.Import,Energy.Active.Import.Register,Power.Active.Import"]
    charger = booted(quirks=("evbox-elvi",))
    assert charger.last_call().payload["value"].endswith("Energy.Active.Import.Register")
    charger = booted(quirks=("go-e",))
    assert charger.last_call().payload["key"] == "MeterValueSampleInterval"


def test_a_charger_is_not_asked_for_what_it_cannot_tell() -> None:
    charger = booted(quirks=("no-report",))
    actions = [effect.action for effect in charger.all if isinstance(effect, Call)]
    assert "GetConfiguration" not in actions


def test_safe_mode_is_not_healed() -> None:
    for vendor, resets in (("Vendor", 1), ("Alfen BV", 0)):
        charger = booted(vendor=vendor)
        charger.status_16("Faulted", connector=0, error="OtherError")
        charger.wait(3 * MINUTE_MS)
        actions = [effect.action for effect in charger.all if isinstance(effect, Call)]
        assert actions.count("Reset") == resets
        charger.status_16("Faulted", error="GroundFailure")
        assert charger.journal("charger.healing")[0]["stage"] == "found"


@pytest.mark.parametrize("by", ["boot", "disconnect"])
def test_a_restart_answers_the_reset(by: str) -> None:
    charger = booted(quirks=("reset-unanswered",))
    charger.execute(Reset())
    if by == "boot":
        boot(charger)
    else:
        charger.disconnect()
    (result,) = charger.answered()
    assert isinstance(result, CommandResult)
    assert (result.state.value, result.status) == ("accepted", "Rebooted")


def test_a_password_is_written_as_hexadecimal_digits() -> None:
    charger = booted(quirks=("password-as-hex",))
    charger.execute(SetSettings({"AuthorizationKey": "0123456789abcdef"}))
    assert charger.last_call().payload["value"] == "30313233343536373839616263646566"


def test_registers_in_kilowatt_hours_are_billed_as_such() -> None:
    charger = booted(quirks=("kwh-labelled-wh",))
    number = charger.start_16(361)
    charger.meter_16(361.5, number)
    assert view(charger).connectors[0].energy_wh == 500
    charger.wait(3_600_000)
    charger.stop_16(number, 362)
    assert charger.journal("session.ended")[-1]["energy_wh"] == 1_000


# --- what is learned ------------------------------------------------------------------------------


def reject_default(charger: Charger, accepted: Any) -> None:
    """Refuse profiles until one is `accepted`."""
    while charger.outstanding is not None and charger.outstanding.action == "SetChargingProfile":
        taken = accepted(charger.outstanding.payload["csChargingProfiles"])
        charger.answer(status="Accepted" if taken else "Rejected")


def stubborn(accepted: Any, **description: Any) -> Charger:
    """A charger that takes only some form of profile, after the second refusal."""
    charger = Charger()
    charger.assign(**description)
    charger.connect("ocpp1.6")
    boot(charger)
    charger.wait(SETTINGS.settle_ms)
    charger.answer()
    for _ in range(2):
        reject_default(charger, accepted)
        accept(charger)
        charger.wait(SETTINGS.call_timeout_ms)
    reject_default(charger, accepted)
    return charger


def test_a_form_that_is_refused_twice_is_replaced_by_one_that_is_taken_and_remembered() -> None:
    charger = stubborn(lambda profile: profile["chargingProfileKind"] == "Absolute")
    assert charger.told(ChargerPresence)[-1].default_ma == 6_000
    assert view(charger).learned == {"profile_kind": "absolute"}
    assert charger.journal("charger.quirk_learned")[-1]["profile_kind"] == "absolute"
    other = charger.reborn()
    other.connect("ocpp1.6")
    other.wait(SETTINGS.settle_ms)
    assert profiles(other)[0]["chargingProfileKind"] == "Absolute"
    boot(other, firmware="2")
    assert view(other).learned == {}, "new firmware may have learned, too"


def test_every_other_form_is_tried_once() -> None:
    charger = stubborn(lambda _: False)
    tried = len(profiles(charger))
    assert charger.told(ChargerPresence)[-1].default_ma is None
    assert view(charger).learned == {}
    forms = {repr({**profile, "chargingSchedule": _bare(profile)}) for profile in profiles(charger)}
    assert len(forms) == tried - 2, "only the first was repeated"
    charger.wait(20 * SETTINGS.call_timeout_ms)
    reject_default(charger, lambda _: False)
    assert _bare(profiles(charger)[-1])["chargingRateUnit"] == "A"


def _bare(profile: dict[str, Any]) -> dict[str, Any]:
    return {name: v for name, v in profile["chargingSchedule"].items() if name != "startSchedule"}


@pytest.mark.parametrize("description", [{"limit_unit": "A"}, {"quirks": ("amperes",)}])
def test_the_owners_word_is_not_tried_against(description: dict[str, Any]) -> None:
    charger = stubborn(
        lambda profile: profile["chargingSchedule"]["chargingRateUnit"] == "W", **description
    )
    assert charger.told(ChargerPresence)[-1].default_ma is None
    assert {_bare(profile)["chargingRateUnit"] for profile in profiles(charger)} == {"A"}


def test_a_make_whose_refusals_mean_something_else_is_left_alone() -> None:
    charger = stubborn(lambda _: False, quirks=("schneider-wallbox",))
    assert {profile["chargingProfileKind"] for profile in profiles(charger)} == {"Relative"}


def test_a_refusal_of_what_was_taken_before_teaches_nothing() -> None:
    charger = booted()
    for limit_id in range(5):
        charger.limit(limit_id, 8_000 + limit_id, None)
        charger.answer(status="Rejected")
    assert view(charger).learned == {}
    assert [outcome.state.value for outcome in charger.told(LimitOutcome)] == ["rejected"] * 5


def test_a_charger_that_refuses_profiles_of_transactions_is_limited_by_the_default_one() -> None:
    charger = booted()
    charger.start_16()
    for limit_id in range(5):
        charger.limit(limit_id, 8_000, "CP1-1")
        charger.answer(status="Rejected")
    assert view(charger).learned == {}, "it may only have been too early"
    charger.wait(MINUTE_MS)
    for limit_id in range(8):
        charger.limit(limit_id, 8_000, "CP1-1")
        charger.answer(status="Rejected")
    assert profiles(charger)[-1]["chargingProfilePurpose"] == "TxDefaultProfile"
    charger.answer()
    assert view(charger).learned == {"steer_by": "default"}
    assert charger.told(LimitOutcome)[-1].state.value == "accepted"
    charger.limit(9, 9_000, "CP1-1")
    assert profiles(charger)[-1]["chargingProfilePurpose"] == "TxDefaultProfile"


def steered_by_default() -> Charger:
    """A running transaction is held to 8 A by the default profile."""
    charger = booted(quirks=("default-profile-only",))
    charger.start_16()
    charger.limit(1, 8_000, "CP1-1")
    charger.answer()
    return charger


def test_a_default_profile_in_doubt_is_the_old_or_the_new_one_and_no_other() -> None:
    charger = steered_by_default()
    assert charger.told(ChargerPresence)[-1].default_ma == 8_000
    charger.limit(2, 11_000, "CP1-1")
    charger.wait(30_000)
    assert charger.told(LimitOutcome)[-1].state.value == "timed_out"
    assert charger.told(ChargerPresence)[-1].default_ma == 11_000
    charger.limit(3, 7_000, "CP1-1")
    charger.wait(30_000)
    assert charger.told(ChargerPresence)[-1].default_ma == 11_000


def test_a_default_profile_under_way_counts_for_the_next_host() -> None:
    charger = steered_by_default()
    charger.limit(2, 11_000, "CP1-1")
    assert charger.told(ChargerPresence)[-1].default_ma == 11_000, "from before it leaves"
    other = charger.reborn()
    other.assign(quirks=("default-profile-only",))
    other.connect()
    assert other.told(ChargerPresence)[-1].default_ma == 11_000
    charger.answer(status="Rejected")
    assert charger.told(ChargerPresence)[-1].default_ma == 8_000


def test_a_limit_that_failed_as_default_profile_leaves_none_in_doubt_for_long() -> None:
    charger = steered_by_default()
    charger.limit(2, 11_000, "CP1-1")
    charger.wait(30_000)
    charger.all.clear()
    charger.wait(15_000)
    assert profiles(charger)[-1]["chargingProfilePurpose"] == "TxDefaultProfile"
    charger.answer()
    assert charger.told(ChargerPresence)[-1].default_ma == 6_000


def test_a_list_of_measurands_that_was_taken_is_the_first_to_be_asked_for() -> None:
    charger = Charger()
    charger.assign()
    charger.connect("ocpp1.6")
    boot(charger)
    charger.wait(SETTINGS.settle_ms)
    while charger.outstanding is not None:
        call = charger.outstanding
        if call.action == "GetConfiguration" or "SoC" in call.payload.get("value", ""):
            charger.refuse()
        else:
            charger.answer()
    short = "Current.Import,Power.Active.Import,Energy.Active.Import.Register"
    assert view(charger).learned == {"measurands": short}
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    accept(charger)
    assert charger.last_call().payload["value"] == short
