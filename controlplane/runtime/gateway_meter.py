"""What a gateway measures of its stations and links."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Final

from controlplane.ocpp.framing import ERROR_CODES
from controlplane.runtime import catalogue
from controlplane.runtime.admission import Admission
from controlplane.runtime.credits import Credits
from controlplane.runtime.door import Turnstile
from controlplane.runtime.metrics import Meter
from controlplane.runtime.notices import Notices
from controlplane.runtime.station import Station
from controlplane.runtime.transport import Link
from controlplane.runtime.wire import ToStation

__all__ = ["GatewayMeter"]

OTHER: Final = "other"


class GatewayMeter:
    """Of one gateway. What is added to on the way of every frame is a plain number or dict."""

    def __init__(self) -> None:
        self.frames_in = 0
        self.frames_out = 0
        self.stale = 0
        self.unread = 0
        self.meter = meter = Meter()
        self.call_s = meter.histogram(catalogue.CALL_DURATION).series()
        self._calls: dict[str, defaultdict[str, int]] = {}
        self._shed = meter.counter(catalogue.SHED)
        self._held = meter.counter(catalogue.READS_HELD)
        self._refused = meter.counter(catalogue.FRAMES_REFUSED)
        self._commands = meter.counter(catalogue.COMMANDS)
        self._command_s = meter.histogram(catalogue.COMMAND_DURATION)
        meter.watch(
            catalogue.CALLS,
            lambda: {
                (version, action): count
                for version, calls in self._calls.items()
                for action, count in calls.items()
            },
        )
        meter.watch(catalogue.FRAMES_RECEIVED, lambda: self.frames_in)
        meter.watch(catalogue.FRAMES_SENT, lambda: self.frames_out)
        meter.watch(catalogue.COMMANDS_STALE, lambda: self.stale)
        meter.watch(catalogue.SOCKETS_UNREAD, lambda: self.unread)

    def calls_of(self, version: str) -> defaultdict[str, int]:
        """Where the CALLs of stations of this version are counted, by action. What has passed its
        schema has one of few."""
        return self._calls.setdefault(version, defaultdict(int))

    def refused(self, version: str, code: str) -> None:
        """A frame that breaks the rules."""
        self._refused.add(version, code if code in ERROR_CODES else OTHER)

    def held(self, *, flood: bool, crowded: bool) -> None:
        """A socket is left unread, for this reason or because its host is behind."""
        self._held.add("flood" if flood else "crowded" if crowded else "behind")

    def shed(self, kind: str) -> None:
        """A heartbeat or a sample gives way."""
        self._shed.add(kind)

    def commanded(self, command: ToStation, result: str, seconds: float | None = None) -> None:
        """A CALL to a station is over; `seconds` is how long it took to answer, if it did."""
        self._commands.add(command.action, result)
        if seconds is not None:
            self._command_s.record(seconds, command.action)

    def watch(
        self,
        *,
        stations: Mapping[str, Station],
        links: Mapping[str, Link],
        turnstile: Turnstile,
        admission: Admission,
        notices: Notices,
        credits: Credits,
        now_s: Callable[[], float],
    ) -> None:
        """Export what these count."""
        meter = self.meter
        meter.watch(catalogue.CONNECTIONS, lambda: Counter(s.version for s in stations.values()))
        meter.watch(catalogue.CALLS_PENDING, lambda: _pending(stations.values()))
        meter.watch(catalogue.CALLS_AHEAD, lambda: sum(s.ahead for s in stations.values()))
        meter.watch(catalogue.CALL_OLDEST, lambda: _oldest_s(stations.values(), now_s()))
        meter.watch(catalogue.CREDITS_USED, lambda: credits.under_way)
        meter.watch(catalogue.CREDITS_WAITING, lambda: credits.waiting)
        meter.watch(catalogue.LINKS, lambda: len(links))
        meter.watch(catalogue.LINKS_FULL, lambda: sum(link.full for link in links.values()))
        meter.watch(catalogue.HANDSHAKES_OPEN, lambda: turnstile.waiting)
        meter.watch(catalogue.SOCKETS, lambda: turnstile.accepted)
        meter.watch(catalogue.PASSWORDS, lambda: admission.passwords.checks)
        meter.watch(catalogue.NOTICES_LEFT_OUT, lambda: notices.left_out)
        meter.watch(
            catalogue.HANDSHAKES,
            lambda: {
                "unauthorised": admission.refused,
                "address": turnstile.refused,
                "tls": turnstile.tls_failed,
                "malformed": turnstile.failed,
                "timed_out": turnstile.timed_out,
                "dropped": turnstile.dropped,
            },
        )


def _pending(stations: Collection[Station]) -> int:
    return sum(station.pending is not None for station in stations)


def _oldest_s(stations: Collection[Station], now_s: float) -> float:
    waiting = (now_s - s.called_at_s for s in stations if s.pending is not None)
    return max(waiting, default=0.0)
