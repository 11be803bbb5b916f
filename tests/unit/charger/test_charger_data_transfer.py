"""Messages of makers of their own."""

from __future__ import annotations

from decimal import Decimal

import msgspec
import pytest
from charger_driver import Charger

from controlplane.ocpp import commands

COSTS = "org.openchargealliance.costmsg"


def settled(version: str = "ocpp1.6") -> Charger:
    charger = Charger()
    charger.settle(version)
    charger.all.clear()
    return charger


@pytest.mark.parametrize("version", ["ocpp1.6", "ocpp2.0.1"])
def test_what_nobody_knows_is_answered_so_and_journalled(version: str) -> None:
    charger = settled(version)
    answer = charger.call("DataTransfer", vendorId="com.example", messageId="M", data="x")
    assert answer == {"status": "UnknownVendorId"}
    answer = charger.call("DataTransfer", vendorId=COSTS, messageId="M")
    assert answer == {"status": "UnknownMessageId"}
    entry = charger.journal("charger.notice")[0]
    assert entry["data"] == {"vendor_id": "com.example", "message_id": "M", "data": "x"}


def test_long_data_is_left_out_of_the_journal() -> None:
    charger = settled()
    charger.call("DataTransfer", vendorId="com.example", data="x" * 20_000)
    assert charger.journal("charger.notice")[0]["data"]["left_out_bytes"] > 20_000


def test_a_cable_that_was_taken_out_is_journalled_with_its_session() -> None:
    charger = settled()
    transaction_id = charger.start_16()
    charger.stop_16(transaction_id, 2_000)
    data = msgspec.json.encode({"transactionId": transaction_id, "timestamp": charger.at()})
    answer = charger.call(
        "DataTransfer", vendorId=COSTS, messageId="ConnectorUnplugged", data=data.decode()
    )
    assert answer == {"status": "Accepted"}
    (entry,) = charger.journal("connector.unplugged")
    assert (entry["connector_id"], entry["session_id"]) == (1, "CP1-1")
    assert entry["at_ms"] == charger.now_ms


@pytest.mark.parametrize("data", ["", "{", "[]", '{"timestamp": 1}'])
def test_data_that_makes_no_sense_is_rejected(data: str) -> None:
    charger = settled()
    answer = charger.call("DataTransfer", vendorId=COSTS, messageId="ConnectorUnplugged", data=data)
    assert answer == {"status": "Rejected"}


def test_the_running_cost_goes_with_the_register_that_was_read_last() -> None:
    charger = settled()
    transaction_id = charger.start_16(1_000)
    charger.wait(3_600_000)
    charger.meter_16(3_500, transaction_id)
    charger.execute(commands.UpdateCost(str(transaction_id), Decimal("0.88")))
    call = charger.last_call()
    said = msgspec.json.decode(call.payload["data"])
    assert (call.action, said["meterValue"], said["cost"]) == ("DataTransfer", 3_500, 0.88)
