"""Hosts that die between any two messages of a transaction: before a commit, or after it with the
answer lost. Whatever is told again, in whatever order, it is the session that was told."""

from __future__ import annotations

import random
from typing import Any

import pytest
from charger_driver import START_MS, Charger

from controlplane.actor import Effect, Emit, Persist
from controlplane.store.records import ActorSnapshot, MeterSample, SessionRecord, SessionState
from controlplane.units import iso_from_ms

HOUR_MS = 3_600_000
CONNECTION = "connection"
REGISTERS_WH = (1_000, 3_000, 6_000, 7_000, 9_000)


class Network:
    """One charger's host and the store that outlives it."""

    def __init__(self, version: str, dice: random.Random) -> None:
        self.dice = dice
        self.version = version
        self.samples: list[MeterSample] = []
        self.sessions: dict[str, SessionRecord] = {}
        self.ended = 0
        self.snapshot: bytes | None = None
        self.host = Charger()
        self.host.settle(version)
        self._commit(self.host.all)
        self._next_host()

    def tell(self, action: str, payload: dict[str, Any]) -> dict[str, Any] | None:
        """What the station is answered; None where its host died first."""
        before = len(self.host.all)
        answer = self.host.call(action, **payload)
        fate = self.dice.random()
        if fate >= 0.25:
            self._commit(self.host.all[before:])
        if fate < 0.5:
            self._next_host()
            return None
        return answer

    def _next_host(self) -> None:
        told, now_ms = self.host.messages, self.host.now_ms + self.dice.randint(0, 5_000)
        self.host = Charger(snapshot=self.snapshot, now_ms=now_ms)
        self.host.messages = told
        self.host.actor.restore_readings(list(self.samples))
        self.host.connect(self.version, resumed=True, name=CONNECTION)
        self._commit(self.host.all)

    def _commit(self, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Emit):
                self.ended += effect.kind == "session.ended"
            elif isinstance(effect, Persist):
                match effect.record:
                    case ActorSnapshot() as snapshot:
                        self.snapshot = snapshot.state
                    case MeterSample() as sample:
                        self.samples.append(sample)
                    case SessionRecord() as session:
                        self.sessions[session.session_id] = session


def at(number: int) -> str:
    return iso_from_ms(START_MS - (5 - number) * HOUR_MS)


def event(number: int) -> dict[str, Any]:
    kind = {0: "Started", 4: "Ended"}.get(number, "Updated")
    reading = {"timestamp": at(number), "sampledValue": [{"value": REGISTERS_WH[number]}]}
    return {
        "eventType": kind,
        "timestamp": at(number),
        "triggerReason": "MeterValuePeriodic",
        "seqNo": number,
        "transactionInfo": {"transactionId": "tx"},
        "evse": {"id": 1},
        "meterValue": [reading],
    }


def message_16(number: int, transaction_id: int) -> tuple[str, dict[str, Any]]:
    wh = REGISTERS_WH[number]
    if number == 0:
        start = {"connectorId": 1, "idTag": "TAG", "meterStart": wh, "timestamp": at(number)}
        return "StartTransaction", start
    if number == 4:
        stop = {"transactionId": transaction_id, "meterStop": wh, "timestamp": at(number)}
        return "StopTransaction", stop
    values = [{"timestamp": at(number), "sampledValue": [{"value": str(wh)}]}]
    return "MeterValues", {"connectorId": 1, "transactionId": transaction_id, "meterValue": values}


def is_whole(network: Network, *, samples: int) -> bool:
    (session,) = network.sessions.values()
    begin_and_end = session.started_ms, session.ended_ms
    return (
        (session.state, session.energy_wh) == (SessionState.ENDED, 8_000)
        and begin_and_end == (START_MS - 5 * HOUR_MS, START_MS - HOUR_MS)
        and session.events_missing == 0
        and network.ended == 1
        and len(network.samples) == samples
    )


@pytest.mark.parametrize("seed", range(25))
def test_events_of_2x_in_any_order_on_dying_hosts_are_one_session(seed: int) -> None:
    dice = random.Random(seed)
    network = Network("ocpp2.0.1", dice)
    untold = [number for number in range(5) for _ in range(dice.randint(1, 3))]
    dice.shuffle(untold)
    while untold:
        if network.tell("TransactionEvent", event(untold[-1])) is not None:
            untold.pop()
    assert is_whole(network, samples=5)


@pytest.mark.parametrize("seed", range(25))
def test_messages_of_16_told_again_on_dying_hosts_are_one_session(seed: int) -> None:
    dice = random.Random(seed)
    network = Network("ocpp1.6", dice)
    transaction_id, number = 0, 0
    while number < 5:
        again = number and dice.random() < 0.3
        told = dice.randrange(number) if again else number
        answer = network.tell(*message_16(told, transaction_id))
        if answer is None:
            continue
        if told == 0:
            assert transaction_id in (0, answer["transactionId"])
            transaction_id = answer["transactionId"]
        number += not again
    assert is_whole(network, samples=3)
