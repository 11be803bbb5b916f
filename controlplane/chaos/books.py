"""What one station heard and said, kept for the audit: what was acknowledged, under which epoch it
was commanded, and how long it waited for answers.

Pure; it reads frames and knows nothing of Loadstar but that the ids of its CALLs begin with the
epoch. Invariants: a message counts as acknowledged only by a CALLRESULT to its id; a station that
asked waits until something is answered, over however many connections."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from controlplane.units import ms_from_datetime

__all__ = ["Books", "Epochs", "Reading"]

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


class Epochs:
    """The epochs under which the stations of a site were commanded: they have one owner, so none
    may be sent a command under an epoch that has ended for another.

    What was sent in time may be read late: it waits in the network while a node is cut off. But a
    line keeps order. What follows the answer to a question was sent after the question."""

    def __init__(self) -> None:
        self._begun_s: dict[int, float] = {}
        """When each was heard first."""

    def heard(self, epoch: int, *, after_s: float, now_s: float) -> int | None:
        """A station is commanded, by a message that was sent after `after_s`; the epoch that had
        begun by then, if it is another."""
        self._begun_s.setdefault(epoch, now_s)
        latest = max(self._begun_s)
        return latest if epoch < latest and after_s > self._begun_s[latest] else None


class Books:
    """Of one station.

    Args:
        epochs: of its site, shared by all stations there.
    """

    def __init__(self, charger_id: str, epochs: Epochs | None = None) -> None:
        self.charger_id = charger_id
        self._epochs = Epochs() if epochs is None else epochs
        self.acknowledged = 0
        """Messages that carry energy, money or a transaction."""
        self.refused = 0
        """Those that were answered with an error."""
        self.readings: set[Reading] = set()
        """Those that were acknowledged."""
        self.told: Counter[str] = Counter()
        """Commands that came, by their action."""
        self.stale: list[str] = []
        """Commands under a lower epoch than one before them, or sent after another station of the
        site was commanded under a higher one."""
        self._epoch = 0
        self._asked: dict[str, tuple[str, dict[str, Any], float]] = {}
        self.served_s = 0.0
        """When it said what was answered last, or anything before that."""
        self.waited_max_s = 0.0
        """The longest that it waited for an answer since `struck`."""
        self._struck_s = 0.0
        self._waits_since_s: float | None = None

    @property
    def waits(self) -> bool:
        """Whether it has wanted to say something and has heard no answer to anything since."""
        return self._waits_since_s is not None

    def struck(self, now_s: float) -> None:
        """A fault strikes: from now on it counts how long is waited for an answer."""
        self._struck_s, self.waited_max_s = now_s, 0.0

    def wants(self, now_s: float) -> None:
        """The station has something to say, whether or not it has a line to say it on."""
        if self._waits_since_s is None:
            self._waits_since_s = now_s

    def said(self, frame: str, now_s: float) -> None:
        """The station sends a frame."""
        told = json.loads(frame)
        if told[0] == _CALL:
            if len(self._asked) >= _WAITING_MAX:
                del self._asked[next(iter(self._asked))]
            # When it is said again under its id, the answer may still be to the first time.
            _, _, first_s = self._asked.get(told[1], ("", {}, now_s))
            self._asked[told[1]] = (told[2], told[3], first_s)
            self.wants(now_s)

    def heard(self, frame: str, now_s: float) -> None:
        """The station is sent a frame."""
        told = json.loads(frame)
        if told[0] == _CALL:
            self._commanded(told[1], told[2], now_s)
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
        if good:
            self.served_s = max(self.served_s, asked_s)
            if self._waits_since_s is not None:
                waited_s = now_s - max(self._waits_since_s, self._struck_s)
                self.waited_max_s = max(self.waited_max_s, waited_s)
                self._waits_since_s = None

    def _commanded(self, message_id: str, action: str, now_s: float) -> None:
        self.told[action] += 1
        epoch = int(message_id.partition(".")[0], 16)
        latest = self._epochs.heard(epoch, after_s=self.served_s, now_s=now_s)
        if epoch < self._epoch:
            self.stale.append(f"{self.charger_id}: {action} under {epoch} after {self._epoch}")
        elif latest is not None:
            line = f"{self.charger_id}: {action} under {epoch} when its site was under {latest}"
            self.stale.append(line)
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
