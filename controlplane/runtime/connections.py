"""The stations that are connected to a gateway, and what is written to them.

Invariant: a charger has one connection here, the newest authenticated one; whatever comes late on
an older one, its close among it, disturbs nothing."""

from __future__ import annotations

from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any, Final

from controlplane.runtime.gateway_meter import GatewayMeter
from controlplane.runtime.station import Station
from controlplane.runtime.telemetry import log

__all__ = ["Connections"]

_UNREAD_MAX_BYTES: Final = 1_048_576
"""What a station may leave unread of what it is told before its socket is closed."""


class Connections:
    """Stations by their connection and by their charger.

    Args:
        background: runs what has to wait for something.
    """

    def __init__(
        self, meter: GatewayMeter, background: Callable[[Coroutine[Any, Any, None]], None]
    ) -> None:
        self.of_charger: dict[str, Station] = {}
        self._by_name: dict[str, Station] = {}
        self._meter = meter
        self._background = background

    def __len__(self) -> int:
        return len(self._by_name)

    def __iter__(self) -> Iterator[Station]:
        return iter(list(self._by_name.values()))

    def __contains__(self, station: Station) -> bool:
        return station.connection in self._by_name

    def get(self, connection: str) -> Station | None:
        """The station whose connection this is, unless it has ended."""
        return self._by_name.get(connection)

    def named(self, charger_ids: Collection[str]) -> list[Station]:
        """Those of these chargers that are connected here."""
        of_charger = self.of_charger
        return [of_charger[each] for each in charger_ids if each in of_charger]

    def newest(self, station: Station) -> bool:
        """Whether this is the charger's connection."""
        return self.of_charger.get(station.charger_id) is station

    def adopt(self, station: Station) -> None:
        """The newest socket wins, at once."""
        older = self.of_charger.get(station.charger_id)
        self._by_name[station.connection] = station
        self.of_charger[station.charger_id] = station
        if older is not None:
            log.warning(
                "connection_replaced",
                charger=station.charger_id,
                remote=station.remote,
                older=older.remote,
            )
            self.close(older, 1008, "replaced by a newer connection")

    def release(self, station: Station) -> bool:
        """The socket has closed; whether that leaves the charger without one."""
        self._by_name.pop(station.connection, None)
        station.socket = None
        if not self.newest(station):
            return False
        del self.of_charger[station.charger_id]
        return True

    def write(self, station: Station, text: str) -> None:
        """Without waiting: what a station has unanswered bounds what can pile up here."""
        socket = station.socket
        if socket is None:
            return
        if socket.transport.get_write_buffer_size() > _UNREAD_MAX_BYTES:
            # It asks and does not read the answers; it may dial again.
            self._meter.unread += 1
            log.warning("answers_not_read", connection=station.connection)
            socket.transport.abort()
            return
        self._meter.frames_out += 1
        socket.write_text(text)

    def close(self, station: Station, code: int, reason: str) -> None:
        """Close the socket with a closing handshake."""
        if station.socket is not None:
            self._background(station.socket.close(code, reason))

    def abort(self, station: Station) -> None:
        """Close the socket without a word: some stations take a closing handshake for good and
        never dial again, while all of them do after a connection that was lost."""
        if station.socket is not None:
            station.socket.transport.abort()
