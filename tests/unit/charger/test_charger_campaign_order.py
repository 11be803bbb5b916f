"""A campaign's order whose answer was lost: the station is asked before it is told again."""

from __future__ import annotations

from charger_driver import Charger

from controlplane.actor import Call, Send
from controlplane.campaign.messages import UpdateDeferred, UpdateProgress
from controlplane.charger.messages import UpdateWanted
from controlplane.ocpp.commands import UpdateFirmware

ORDER = UpdateWanted(
    UpdateFirmware(
        request_id=7,
        location="https://example.com/2.0.bin",
        retrieve_ms=0,
        version="2.0",
        campaign_id="spring",
    ),
    only_idle=True,
)


def told(charger: Charger) -> list[str]:
    """What the station was told of this update."""
    actions = ("UpdateFirmware", "TriggerMessage", "ExtendedTriggerMessage")
    return [e.action for e in charger.all if isinstance(e, Call) and e.action in actions]


def heard(charger: Charger) -> list[UpdateProgress | UpdateDeferred]:
    """What the campaign was told."""
    sent = [each.message for each in charger.all if isinstance(each, Send)]
    return [each for each in sent if isinstance(each, UpdateProgress | UpdateDeferred)]


def ordered() -> Charger:
    charger = Charger()
    charger.settle()
    charger.tell(ORDER)
    assert told(charger) == ["UpdateFirmware"]
    return charger


def after_a_crash(charger: Charger) -> Charger:
    """Another host has it; the connection is the same one."""
    back = Charger(snapshot=charger.snapshot, now_ms=charger.now_ms + 5_000)
    back.connect(resumed=True)
    back.wait(60_000)
    back.accept_all()
    back.all.clear()
    back.tell(ORDER)
    return back


def test_a_station_that_took_the_order_is_not_told_again() -> None:
    back = after_a_crash(ordered())
    assert told(back) == ["TriggerMessage"]
    back.answer(status="Accepted")
    back.call("FirmwareStatusNotification", status="Downloading")
    back.tell(ORDER)
    assert told(back) == ["TriggerMessage"]
    assert [each.status for each in heard(back) if isinstance(each, UpdateProgress)] == [
        "Downloading",
        "Downloading",
    ]


def test_a_station_that_knows_of_nothing_is_told_again() -> None:
    back = after_a_crash(ordered())
    back.answer(status="Accepted")
    back.call("FirmwareStatusNotification", status="Idle")
    back.tell(ORDER)
    assert told(back) == ["TriggerMessage", "UpdateFirmware"]


def test_a_station_that_cannot_be_asked_is_told_again() -> None:
    back = after_a_crash(ordered())
    back.answer(status="NotImplemented")
    back.tell(ORDER)
    assert told(back) == ["TriggerMessage", "UpdateFirmware"]


def test_a_campaign_that_asks_again_meanwhile_is_told_when_the_answer_comes() -> None:
    charger = ordered()
    charger.tell(ORDER)
    assert told(charger) == ["UpdateFirmware"]
    charger.answer(status="Accepted")
    assert [each.status for each in heard(charger) if isinstance(each, UpdateProgress)] == [
        "Accepted"
    ]


def test_an_order_that_was_refused_is_no_order() -> None:
    charger = ordered()
    charger.refuse()
    back = after_a_crash(charger)
    assert told(back) == ["UpdateFirmware"]


def test_a_station_that_boots_with_what_was_ordered_has_installed_it() -> None:
    charger = ordered()
    back = Charger(snapshot=charger.snapshot, now_ms=charger.now_ms + 600_000)
    back.connect()
    back.call(
        "BootNotification",
        chargePointVendor="V",
        chargePointModel="M",
        firmwareVersion="2.0",
    )
    (progress,) = [each for each in heard(back) if isinstance(each, UpdateProgress)]
    assert (progress.status, progress.installed) == ("Installed", True)
