"""What one station heard and said, kept for the audit: what was acknowledged, under which epoch it
was commanded, and since when it is served again after a fault.

Pure; it reads frames and knows nothing of Loadstar but that the ids of its CALLs begin with the
epoch. Invariants: a message counts as acknowledged only by a CALLRESULT to its id; a station is
served again only by the answer to something that it said after the fault."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from controlplane.units import ms_from_datetime

__all__ = ["Books", "Reading"]

_CALL, _RESULT, _ERROR = 2, 3, 4
_DURABLE: Final = {
    "StartTransaction",
    "StopTransaction",
    "MeterValues",
    "TransactionEvent",
}
_REGISTER: Final = "Energy.Active.Import.Register"
_WAITING_MAX: Final = 1_000


@dataclass(frozen=True, order=True)
class Reading:
    """A reading of a meter, as the station stamped it."""

    charger_id: str
    connector_id: int
    at_ms: int
    energy_wh: int


class Books:
    """Of one station."""

    def __init__(self, charger_id: str) -> None:
        self.charger_id = charger_id
        self.acknowledged = 0
        """Messages that carry energy, money or a transaction."""
        self.refused = 0
        """Those that were answered with an error."""
        self.readings: set[Reading] = set()
        """Those that were acknowledged."""
        self.commands = 0
        self.stale: list[str] = []
        """Commands under a lower epoch than one before them."""
        self._epoch = 0
        self._asked: dict[str, tuple[str, dict[str, Any], float]] = {}
        self._since_s: float | None = None
        """What is said from now on shows whether it is served again."""
        self.served_s: float | None = None

    def struck(self, now_s: float) -> None:
        """A fault strikes: is it served, and when?"""
        self._since_s, self.served_s = now_s, None

    def said(self, frame: str, now_s: float) -> None:
        """The station sends a frame."""
        told = json.loads(frame)
        if told[0] == _CALL:
            if len(self._asked) >= _WAITING_MAX:
                del self._asked[next(iter(self._asked))]
            self._asked[told[1]] = (told[2], told[3], now_s)

    def heard(self, frame: str, now_s: float) -> None:
        """The station is sent a frame."""
        told = json.loads(frame)
        if told[0] == _CALL:
            self._commanded(told[1], told[2])
        elif told[0] in {_RESULT, _ERROR}:
            asked = self._asked.pop(told[1], None)
            if asked is not None:
                self._answered(told[0] == _RESULT, *asked, now_s)

    def _answered(
        self, good: bool, action: str, payload: dict[str, Any], asked_s: float, now_s: float
    ) -> None:
        if action in _DURABLE:
            self.acknowledged += good
            self.refused += not good
            if good:
                self.readings.update(_readings(self.charger_id, payload))
        if good and self._since_s is not None and asked_s >= self._since_s:
            self.served_s, self._since_s = now_s - self._since_s, None

    def _commanded(self, message_id: str, action: str) -> None:
        self.commands += 1
        epoch = int(message_id.partition(".")[0], 16)
        if epoch < self._epoch:
            self.stale.append(f"{self.charger_id}: {action} under {epoch} after {self._epoch}")
        self._epoch = max(self._epoch, epoch)


def _readings(charger_id: str, payload: dict[str, Any]) -> list[Reading]:
    """What a message says of the register. A 1.6 value is text, a 2.x value a number."""
    connector_id = payload.get("connectorId") or payload.get("evse", {}).get("id", 0)
    found = []
    for values in payload.get("meterValue", ()):
        at_ms = ms_from_datetime(datetime.fromisoformat(values["timestamp"]))
        found += [
            Reading(charger_id, connector_id, at_ms, int(float(value["value"])))
            for value in values["sampledValue"]
            if value.get("measurand") == _REGISTER
        ]
    return found
