"""Security events that a gateway sees, on their way to the charger they are about.

Whoever attacks decides how often they happen, so their rate is bounded: of one kind and charger one
a minute, which says how many it stands for, and of all together some in a second. What is left out
is counted."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from controlplane.charger.messages import SecurityNoticed
from controlplane.ids import ChargerId

__all__ = ["Notices"]

_AGAIN_S: Final = 60.0
_PER_S: Final = 20.0
_BURST: Final = 100.0
_KEPT_MAX: Final = 10_000


class Notices:
    """One gateway's.

    Args:
        send: brings a notice to the charger.
    """

    def __init__(self, send: Callable[[ChargerId, SecurityNoticed], None]) -> None:
        self.left_out = 0
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._latest: OrderedDict[tuple[ChargerId, str], tuple[float, int]] = OrderedDict()
        """When a kind of notice was sent last, and how many came since."""
        self._budget = _BURST
        self._budget_at_s = self._loop.time()

    def note(self, charger_id: ChargerId, notice: SecurityNoticed) -> None:
        """Send it, or keep count of it."""
        now_s = self._loop.time()
        key = charger_id, notice.kind
        sent_s, since = self._latest.pop(key, (float("-inf"), 0))
        self._budget = min(_BURST, self._budget + (now_s - self._budget_at_s) * _PER_S)
        self._budget_at_s = now_s
        if now_s - sent_s < _AGAIN_S or self._budget < 1.0:
            self.left_out += 1
            self._latest[key] = sent_s, since + 1
        else:
            self._budget -= 1.0
            self._latest[key] = now_s, 0
            self._send(charger_id, msgspec.structs.replace(notice, count=since + 1))
        if len(self._latest) > _KEPT_MAX:
            self._latest.popitem(last=False)
