"""What comes to a host over links, on its way to the actors.

Invariants: what a charger says reaches its actor only over the connection that was introduced last;
what comes for a shard that was claimed and is not announced yet waits, what comes for any other
that is not served here is dropped, because its sender will hear who serves it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from controlplane.charger.messages import (
    SecurityNoticed,
    StationCalled,
    StationConnected,
    StationDisconnected,
)
from controlplane.ids import ActorKind, ActorRef, ChargerId, SiteId, shard_of
from controlplane.ocpp import framing, typed
from controlplane.runtime.departures import Departures
from controlplane.runtime.homes import Homes
from controlplane.runtime.host_traces import HostTraces
from controlplane.runtime.mailbox import MAILBOX_MAX, Mailbox
from controlplane.runtime.residents import Resident, Residents
from controlplane.runtime.wire import (
    CallOfStation,
    CloseStation,
    DirectoryChanged,
    FromActor,
    FromStation,
    Parcel,
    Question,
    Traced,
)

__all__ = ["Arrivals"]

_NOBODY: Final[tuple[str, Resident | None]] = ("", None)


class Arrivals:
    """The way into one host.

    Args:
        control: takes the parcels that are for the host itself.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        residents: Residents,
        homes: Homes,
        departures: Departures,
        traces: HostTraces,
        *,
        control: Callable[[Parcel], None],
    ) -> None:
        self.strays = 0
        """Messages for shards that are not served here."""
        self._mailbox = mailbox
        self._residents = residents
        self._homes = homes
        self._departures = departures
        self._traces = traces
        self._control = control
        self._held: list[Parcel] = []
        self._connected: dict[str, tuple[str, Resident]] = {}
        """The connection of each charger that was introduced last, and who hears what comes on
        it."""

    def take(self, parcels: Sequence[Parcel]) -> None:
        """What came over a link, in order."""
        for parcel in parcels:
            if self._mailbox.claimed and self._hold(parcel):
                continue
            if type(parcel) is CallOfStation:
                self._called(parcel)
            elif type(parcel) is FromStation:
                self._from_station(parcel)
            elif type(parcel) is FromActor:
                # Its sender looked up where a charger lives; loading it finds out whether it does.
                resident = self._residents.find(parcel.to)
                self._mailbox.entries.append((resident, parcel.message, None))
            elif type(parcel) is DirectoryChanged:
                self._homes.check(parcel.charger_ids)
            elif type(parcel) is Traced and type(parcel.parcel) is not Question:
                self._take_traced(parcel)
            else:
                self._control(parcel)

    def served(self) -> None:
        """Shards that were claimed are served now: take in what waited for that."""
        held, self._held = self._held, []
        self.take(held)

    def forget(self, charger_id: str) -> None:
        """The charger's actor was thrown away: it must be introduced again."""
        self._connected.pop(charger_id, None)

    def gateway_gone(self, name: str) -> None:
        """The gateway is gone, and every socket it held."""
        for charger_id, (connection, _) in list(self._connected.items()):
            if connection.partition(":")[0] == name:
                lost = StationDisconnected(connection, "gateway lost")
                self._from_station(FromStation(ChargerId(charger_id), None, lost))

    def _take_traced(self, traced: Traced) -> None:
        before = len(self._mailbox)
        self.take([traced.parcel])
        if len(self._mailbox) > before:
            self._traces.arrived(traced, self._mailbox.entries[-1][1])

    def _hold(self, parcel: Parcel) -> bool:
        """Whether the parcel waits until its shard is served."""
        inner = parcel.parcel if type(parcel) is Traced else parcel
        if isinstance(inner, CallOfStation | FromStation):
            shard = shard_of(ActorKind.CHARGER, inner.charger_id, site_id=inner.site_id)
        elif isinstance(inner, FromActor):
            shard = shard_of(inner.to.kind, inner.to.id)
        else:
            return False
        if shard not in self._mailbox.claimed or len(self._held) >= MAILBOX_MAX:
            return False
        self._held.append(parcel)
        return True

    # --- stations ---------------------------------------------------------------------------------

    def _called(self, parcel: CallOfStation) -> None:
        charger_id = parcel.charger_id
        connection, resident = self._connected.get(charger_id, _NOBODY)
        if resident is None or connection != parcel.connection:
            return
        if resident.gone:
            ref = ActorRef(ActorKind.CHARGER, charger_id)
            resident = self._residents.find(ref, site_id=parcel.site_id)
            self._connected[charger_id] = connection, resident
        read = typed.read_payload if parcel.typed else framing.read_call
        payload = read(parcel.text)
        call = StationCalled(connection, parcel.message_id, parcel.action, payload, parcel.mended)
        self._mailbox.entries.append((resident, call, None))

    def _from_station(self, parcel: FromStation) -> None:
        """A gateway introduces a charger again after its actor was thrown away."""
        message = parcel.message
        charger_id = parcel.charger_id
        ref = ActorRef(ActorKind.CHARGER, charger_id)
        known, _ = self._connected.get(charger_id, _NOBODY)
        if isinstance(message, SecurityNoticed):
            # It is about the charger and of no connection.
            pass
        elif type(message) is not StationConnected and (not known or known != message.connection):
            return
        resident = self._served(ref, parcel.site_id)
        if resident is None:
            return
        if type(message) is StationConnected:
            if known and known != message.connection:
                self._close_replaced(resident, known)
            self._connected[charger_id] = message.connection, resident
            epoch = self._mailbox.epochs.get(resident.shard, 0)
            message = msgspec.structs.replace(message, epoch=epoch)
        elif type(message) is StationDisconnected:
            del self._connected[charger_id]
        self._mailbox.entries.append((resident, message, None))

    def _close_replaced(self, resident: Resident, connection: str) -> None:
        """A newer socket of the charger came in, perhaps at another gateway."""
        link = self._departures.gateway_of(connection)
        if link is not None:
            epoch = self._mailbox.epochs.get(resident.shard, 0)
            link.send(CloseStation(connection, resident.shard, epoch, 1008, "replaced"))

    def _served(self, ref: ActorRef, site_id: SiteId | None) -> Resident | None:
        """The resident of `ref`, None where its shard is not served here."""
        resident = self._residents.get(ref)
        if resident is not None:
            return resident
        if shard_of(ref.kind, ref.id, site_id=site_id) not in self._mailbox.epochs:
            self.strays += 1
            return None
        return self._residents.find(ref, site_id=site_id)
