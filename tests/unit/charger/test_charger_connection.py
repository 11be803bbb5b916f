"""The life of a charger's connection: boot, settling, reconnect, another host."""

from __future__ import annotations

from typing import Any

import pytest
from charger_driver import SETTINGS, Charger

from controlplane.actor import Ask, Call, CloseSocket, ReplyError
from controlplane.charger.messages import (
    ChargerUnassigned,
    ChargerView,
    GetCharger,
    StationCalled,
    StationConnected,
)
from controlplane.charger.settling import seconds
from controlplane.ids import ChargerId, SiteId
from controlplane.ocpp.commands import Reset
from controlplane.ocpp.events import ConnectorStatus
from controlplane.site.messages import ChargerPresence, ConnectorState
from controlplane.store.records import ActorSnapshot

CP1 = ChargerId("CP1")
BOOT_16 = {"chargePointVendor": "Vendor", "chargePointModel": "Model", "firmwareVersion": "1"}
BOOT_201: dict[str, Any] = {
    "reason": "PowerUp",
    "chargingStation": {"model": "Model", "vendorName": "Vendor"},
}


def view(charger: Charger) -> ChargerView:
    charger.tell(Ask("view", GetCharger()))
    answer = charger.answered("view")[-1]
    assert isinstance(answer, ChargerView)
    return answer


@pytest.mark.parametrize(("version", "boot"), [("ocpp1.6", BOOT_16), ("ocpp2.0.1", BOOT_201)])
def test_a_boot_is_accepted_with_our_time_and_an_interval(
    version: str, boot: dict[str, Any]
) -> None:
    charger = Charger()
    charger.assign()
    charger.connect(version)
    assert charger.call("BootNotification", **boot) == {
        "status": "Accepted",
        "currentTime": "2024-01-01T00:00:00Z",
        "interval": 300,
    }
    assert view(charger).vendor == "Vendor"
    assert charger.journal("charger.booted")[0]["model"] == "Model"


def test_a_charger_of_nobody_is_pending_and_welcome_once_assigned() -> None:
    charger = Charger()
    charger.connect()
    assert charger.call("BootNotification", **BOOT_16)["status"] == "Pending"
    charger.assign()
    (call,) = charger.found(Call)
    assert (call.action, call.payload) == (
        "TriggerMessage",
        {"requestedMessage": "BootNotification"},
    )
    charger.answer()
    assert charger.call("BootNotification", **BOOT_16)["status"] == "Accepted"


def test_nothing_is_sent_before_the_station_has_settled() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    charger.execute(Reset())
    charger.wait(SETTINGS.settle_ms - 1)
    assert not [effect for effect in charger.all if isinstance(effect, Call)]
    charger.wait(1)
    assert charger.last_call().action == "ClearChargingProfile"


def test_settling_installs_the_default_profile_and_sampling_and_tells_the_site() -> None:
    charger = Charger()
    charger.settle(connectors=2, offline_a=8)
    calls = [effect for effect in charger.all if isinstance(effect, Call)]
    profiles = [call.payload for call in calls if call.action == "SetChargingProfile"]
    assert [profile["connectorId"] for profile in profiles] == [1, 2]
    for profile in profiles:
        wanted = profile["csChargingProfiles"]
        assert wanted["chargingProfilePurpose"] == "TxDefaultProfile"
        assert wanted["chargingSchedule"]["chargingSchedulePeriod"] == [
            {"startPeriod": 0, "limit": 8.0}
        ]
    assert [call.payload["key"] for call in calls if call.action == "ChangeConfiguration"] == [
        "MeterValueSampleInterval",
        "MeterValuesSampledData",
    ]
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 8_000)
    assert [presence.settled for presence in charger.told(ChargerPresence)].count(True) == 1


@pytest.mark.parametrize(
    ("version", "criteria"),
    [
        ("ocpp1.6", {"chargingProfilePurpose": "TxDefaultProfile"}),
        (
            "ocpp2.0.1",
            {"chargingProfileCriteria": {"chargingProfilePurpose": "TxDefaultProfile"}},
        ),
    ],
)
def test_what_another_system_left_behind_is_cleared_once(
    version: str, criteria: dict[str, Any]
) -> None:
    """A profile of a higher stack level would go before ours, and 2.0.1 stations refuse a second
    one of the same level (K01.FR.52 and 53)."""
    charger = Charger()
    charger.assign(connectors=2)
    charger.connect(version)
    charger.wait(SETTINGS.settle_ms)
    assert (charger.last_call().action, charger.last_call().payload) == (
        "ClearChargingProfile",
        criteria,
    )
    charger.answer(status="Unknown")
    assert charger.last_call().action == "SetChargingProfile"
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 6_000)
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    assert charger.last_call().action == "SetChargingProfile", "ours stay in force meanwhile"


def test_what_was_cleared_is_not_counted_on() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    assert charger.last_call().action == "ClearChargingProfile"
    charger.answer()
    charger.answer(status="Rejected")
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1].default_ma is None


def test_a_default_profile_in_doubt_is_replaced_and_never_cleared() -> None:
    """Cleared, it would let vehicles draw what the hardware can until the next is in force."""
    charger = Charger()
    charger.settle()
    charger.assign(connectors=2)
    charger.wait(SETTINGS.settle_ms)
    assert charger.last_call().action == "SetChargingProfile"
    charger.wait(SETTINGS.call_timeout_ms)
    charger.accept_all()
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    assert charger.last_call().action == "SetChargingProfile"


def test_a_clearing_that_was_never_answered_is_repeated() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    for _ in range(2):
        charger.wait(SETTINGS.settle_ms)
        assert charger.last_call().action == "ClearChargingProfile"
        charger.connect()


def test_a_refused_default_profile_is_not_counted_on() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    charger.answer()
    charger.answer(status="Rejected")
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, None)


def test_a_missing_default_profile_is_tried_again() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    charger.answer()
    charger.refuse("InternalError")
    charger.accept_all()
    charger.wait(SETTINGS.call_timeout_ms)
    assert charger.last_call().action == "SetChargingProfile"
    charger.answer()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 6_000)


def test_intervals_are_never_below_a_second() -> None:
    assert [seconds(duration_ms) for duration_ms in (0, 999, 1_000, 2_999)] == [1, 1, 1, 2]


def test_a_station_that_ignores_the_invitation_to_boot_is_prepared_all_the_same() -> None:
    charger = Charger()
    charger.connect()
    charger.call("BootNotification", **BOOT_16)
    charger.assign()
    assert charger.last_call().action == "TriggerMessage"
    charger.wait(SETTINGS.call_timeout_ms)
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 6_000)


def test_a_boot_while_settling_begins_it_anew() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    charger.call("BootNotification", **BOOT_16)
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1].settled is False
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 6_000)


def test_a_missing_default_profile_is_tried_again_on_another_host() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    charger.answer()
    charger.refuse("InternalError")
    charger.accept_all()
    other = charger.reborn()
    other.connect(resumed=True, name=charger.connection)
    other.wait(SETTINGS.call_timeout_ms)
    other.accept_all()
    assert other.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 6_000)


def test_a_reconnect_without_a_boot_is_settled_again() -> None:
    charger = Charger()
    charger.settle()
    charger.disconnect()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, False, False, 6_000)
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 6_000)


def test_the_newest_connection_wins_and_late_news_of_the_old_one_changes_nothing() -> None:
    charger = Charger()
    charger.settle()
    old = charger.connection
    charger.connect()
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    before = len(charger.told(ChargerPresence))
    charger.disconnect(old)
    assert charger.effects == []
    assert len(charger.told(ChargerPresence)) == before
    charger.execute(Reset())
    assert charger.last_call().connection == charger.connection


def test_a_call_on_a_replaced_connection_is_answered_and_has_no_effect() -> None:
    charger = Charger()
    charger.settle()
    old = charger.connection
    charger.connect()
    payload = {"connectorId": 1, "idTag": "T", "meterStart": 0, "timestamp": charger.at()}
    charger.tell(StationCalled(old, "1", "StartTransaction", payload))
    (error,) = charger.found(ReplyError)
    assert (error.connection, error.code) == (old, "InternalError")
    assert charger.actor.open_sessions == ()


def test_a_version_nobody_speaks_is_hung_up_on() -> None:
    charger = Charger()
    charger.tell(StationConnected("c", "ocpp2.1", "192.0.2.1:5000"))
    (close,) = charger.found(CloseSocket)
    assert (close.connection, close.code) == ("c", 1002)


def test_a_resumed_connection_keeps_everything() -> None:
    charger = Charger()
    charger.settle()
    charger.start_16()
    other = charger.reborn()
    assert other.told(ChargerPresence) == [ChargerPresence(CP1, False, False, 6_000)]
    (state,) = other.told(ConnectorState)
    assert state.session is not None
    assert state.session.session_id == "CP1-1"
    other.connect(resumed=True, name=charger.connection)
    assert other.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 6_000)
    assert other.found(Call) == []
    other.limit(1, 10_000, "CP1-1")
    assert other.last_call().payload["csChargingProfiles"]["transactionId"] == 1


def test_a_connection_resumed_before_it_had_settled_is_settled() -> None:
    charger = Charger()
    charger.assign()
    charger.connect()
    other = charger.reborn()
    other.connect(resumed=True, name=charger.connection)
    assert other.told(ChargerPresence)[-1].settled is False
    other.wait(SETTINGS.settle_ms)
    other.accept_all()
    assert other.told(ChargerPresence)[-1].settled is True


def test_message_ids_do_not_repeat_on_a_resumed_connection() -> None:
    charger = Charger()
    charger.settle()
    other = charger.reborn()
    other.connect(resumed=True, name=charger.connection)
    other.execute(Reset())
    before = {effect.message_id for effect in charger.all if isinstance(effect, Call)}
    assert other.last_call().message_id not in before


def test_a_boot_unsettles_but_a_triggered_one_does_not() -> None:
    charger = Charger()
    charger.settle("ocpp2.0.1")
    charger.call("BootNotification", **BOOT_201 | {"reason": "Triggered"})
    assert charger.told(ChargerPresence, latest=True) == []
    charger.call("BootNotification", **BOOT_201)
    assert charger.told(ChargerPresence, latest=True)[-1].settled is False


def test_statuses_are_journalled_once_and_told_to_the_site() -> None:
    charger = Charger()
    charger.settle()
    charger.status_16("Available", connector=0)
    charger.status_16("Preparing")
    charger.status_16("Preparing")
    assert [entry["connector_id"] for entry in charger.journal("connector.status")] == [0, 1]
    charger.status_16("Faulted", connector=0, error="GroundFailure")
    assert view(charger).connectors[0].status is ConnectorStatus.PREPARING
    assert charger.told(ConnectorState)[-1].status is ConnectorStatus.PREPARING


def test_a_station_that_invents_connectors_does_not_grow_without_bound() -> None:
    charger = Charger()
    charger.settle()
    for connector in range(1, 500):
        charger.status_16("Available", connector=connector)
    assert len(view(charger).connectors) <= 64


def test_a_changed_description_is_brought_to_the_station() -> None:
    charger = Charger()
    charger.settle()
    charger.assign(offline_a=10)
    assert charger.told(ChargerPresence)[-1].settled is False
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 10_000)
    charger.assign(offline_a=10)
    assert charger.told(ChargerPresence)[-1].settled is True
    assert charger.records(ActorSnapshot, latest=True) == []


def test_a_changed_description_is_brought_to_the_station_by_the_next_host() -> None:
    charger = Charger()
    charger.settle()
    charger.assign(offline_a=10)
    other = charger.reborn()
    other.connect(resumed=True, name=charger.connection)
    other.wait(SETTINGS.settle_ms)
    other.accept_all()
    assert other.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 10_000)


def test_a_boot_is_followed_up_by_the_next_host() -> None:
    charger = Charger()
    charger.settle()
    charger.call("BootNotification", **BOOT_16)
    other = charger.reborn()
    other.connect(resumed=True, name=charger.connection)
    assert other.told(ChargerPresence)[-1].settled is False
    other.wait(SETTINGS.settle_ms)
    assert other.last_call().action == "SetChargingProfile"


def test_a_default_profile_that_was_never_sent_leaves_the_old_one_in_force() -> None:
    charger = Charger()
    charger.settle()
    charger.start_16()
    charger.limit(1, 10_000, "CP1-1")
    charger.call("BootNotification", **BOOT_16)
    charger.wait(SETTINGS.settle_ms)
    assert charger.last_call().payload["csChargingProfiles"]["transactionId"] == 1
    charger.disconnect()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, False, False, 6_000)


def test_the_limit_shown_is_the_one_in_force() -> None:
    charger = Charger()
    charger.settle()
    number = charger.start_16()
    charger.limit(1, 10_000, "CP1-1")
    charger.answer()
    assert view(charger).connectors[0].limit_ma == 10_000
    charger.stop_16(number, 2_000)
    assert view(charger).connectors[0].limit_ma == 6_000, "the transaction's profile ended with it"
    charger.call("BootNotification", **BOOT_16)
    assert view(charger).connectors[0].limit_ma is None


def test_the_same_description_again_leaves_the_station_in_peace() -> None:
    charger = Charger()
    charger.settle()
    number = len(charger.all)
    charger.assign()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 6_000)
    charger.wait(SETTINGS.settle_ms)
    assert [each for each in charger.all[number:] if isinstance(each, Call)] == []


def test_a_changed_default_profile_that_was_refused_is_tried_again() -> None:
    charger = Charger()
    charger.settle(offline_a=10)
    charger.assign(offline_a=6)
    charger.wait(SETTINGS.settle_ms)
    charger.answer(status="Rejected")
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 10_000)
    charger.wait(SETTINGS.call_timeout_ms)
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 6_000)


def test_another_station_under_the_same_name_has_no_default_profile() -> None:
    charger = Charger()
    charger.settle()
    charger.call("BootNotification", **BOOT_16, chargePointSerialNumber="1")
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    charger.connect()
    charger.call("BootNotification", **BOOT_16, chargePointSerialNumber="1")
    assert charger.told(ChargerPresence)[-1].default_ma == 6_000
    charger.connect()
    charger.call("BootNotification", **BOOT_16, chargePointSerialNumber="2")
    assert charger.told(ChargerPresence)[-1].default_ma is None
    charger.wait(SETTINGS.settle_ms)
    charger.accept_all()
    assert charger.told(ChargerPresence)[-1] == ChargerPresence(CP1, True, True, 6_000)


def test_an_unassigned_charger_tells_no_site_anything() -> None:
    charger = Charger()
    charger.settle()
    charger.tell(ChargerUnassigned(SiteId("another")))
    assert charger.effects == []
    charger.tell(ChargerUnassigned(SiteId("site")))
    charger.status_16("Charging")
    assert charger.told(ConnectorState, latest=True) == []
    assert charger.call("Authorize", idTag="T") == {"idTagInfo": {"status": "Invalid"}}


def test_a_message_for_another_kind_of_actor_is_an_error() -> None:
    charger = Charger()
    with pytest.raises(TypeError, match="ChargerPresence"):
        charger.tell(ChargerPresence(CP1, True, True, None))


def test_heartbeats_and_data_transfers_are_answered() -> None:
    charger = Charger()
    charger.settle()
    assert charger.call("Heartbeat")["currentTime"].startswith("2024-01-01T00:00:02")
    assert charger.call("DataTransfer", vendorId="V", data="x") == {"status": "UnknownVendorId"}
    assert charger.journal("charger.notice")[0]["data"]["vendor_id"] == "V"


def test_long_notices_are_journalled_without_their_body() -> None:
    charger = Charger()
    charger.settle()
    charger.call("DataTransfer", vendorId="V", data="x" * 20_000)
    assert charger.journal("charger.notice")[0]["data"]["left_out_bytes"] > 20_000
