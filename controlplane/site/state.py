"""What a site must not forget: its description, its ledger, the load and the limits it was told,
and who its drivers are, and what it expects.

Invariant: a limit that left is in a snapshot of the same commit, so a host that takes over counts
at least what the lost one had sent."""

from __future__ import annotations

import msgspec

from controlplane.grid_events import GridEvents, GridWish
from controlplane.ids import ConnectorKey
from controlplane.limit_schedule import LimitWindow
from controlplane.network import SiteConfig
from controlplane.site.ledger import Entry
from controlplane.site.messages import PhaseCurrents
from controlplane.site.overrides import Overrides
from controlplane.site.power import ContractWindow

__all__ = ["BuildingLoad", "SiteState"]


class BuildingLoad(msgspec.Struct, frozen=True, array_like=True):
    """What the building drew at an instant, on the circuit its description names."""

    at_ms: int
    current_ma: PhaseCurrents

    @classmethod
    def follow(
        cls, last: BuildingLoad | None, current_ma: PhaseCurrents, *, at_ms: int, now_ms: int
    ) -> BuildingLoad | None:
        """The load after a measurement; None where a newer one is known.

        A stamp ahead of our clock counts as of now: a fast clock must not keep a silent meter
        fresh. A stamp that repeats proves no new measurement: the larger of both values counts, and
        ages from the first. A last stamp in our own future, left by a clock that was set back,
        makes way for whatever comes.
        """
        at_ms = min(at_ms, now_ms)
        if last is not None and at_ms < last.at_ms <= now_ms:
            return None
        if last is not None and at_ms == last.at_ms:
            l1, l2, l3 = (max(pair) for pair in zip(current_ma, last.current_ma, strict=True))
            current_ma = (l1, l2, l3)
        return cls(at_ms, current_ma)


class SiteState(msgspec.Struct):
    """The durable state of a site."""

    config: bytes
    """`network.SiteConfig` as JSON."""
    entries: list[tuple[ConnectorKey, Entry]] = []
    """In the order of the description."""
    limit_id: int = 0
    """The last one given out; never given out again."""
    building: BuildingLoad | None = None
    windows: tuple[LimitWindow, ...] = ()
    cap_id: int = 0
    """0 until the feeder has spoken."""
    cap_ma: int | None = None
    grid: GridEvents = msgspec.field(default_factory=GridEvents)
    round: int = 0
    violations: int = 0
    history: bytes = b""
    """`forecast.History` as it was last saved: it changes with the end of a session only, and
    snapshots are many."""
    window: ContractWindow | None = None
    """Of the contract; None where there is none."""
    alarms: dict[tuple[str, str], str] = {}
    """Those that are on, by name and subject, in words."""
    meter_fault: str = ""
    """Why the building's meter cannot be read; empty while it can, or nobody has said."""
    overrides: Overrides = msgspec.field(default_factory=Overrides)
    outlook: bytes = b""
    """`planning.outlook.Outlook` as it was last saved: it changes by the hour, and with pushes."""
    wish: GridWish | None = None
    """What the feeder wished last of the site as a whole."""

    def asked_w(self, now_ms: int) -> int | None:
        """What the grid wants the site to stay below, by its own events and by its feeder's wish;
        None: nothing."""
        if self.wish is None and not self.grid.events:
            return None
        asked = [self.grid.limit_w()]
        if self.wish is not None and self.wish.in_force(now_ms):
            asked.append(self.wish.power_w)
        return min((each for each in asked if each is not None), default=None)

    def asked_until_ms(self, now_ms: int) -> int | None:
        """Until when that lasts, `now_ms` where nothing is asked; None: there is no telling."""
        until_ms = self.grid.limited_until_ms(now_ms)
        if until_ms is None or self.wish is None or not self.wish.in_force(now_ms):
            return until_ms
        return None if self.wish.end_ms is None else max(until_ms, self.wish.end_ms)

    def describe(self, config: SiteConfig) -> None:
        """Take a new description: what stays keeps its account and its limits."""
        known = dict(self.entries)
        self.config = config.model_dump_json(exclude_defaults=True).encode()
        self.entries = []
        for key, charger, connector in config.connectors():
            entry = known.get(key) or Entry(hardware_ma=0, offline_ma=0)
            entry.hardware_ma = connector.current_max_ma
            entry.offline_ma = min(charger.offline_current_ma, connector.current_max_ma)
            self.entries.append((key, entry))
        self.overrides.keep(
            circuits=[circuit.id for circuit in config.circuits],
            connectors=[key for key, _ in self.entries],
        )

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(self)

    @classmethod
    def restore(cls, snapshot: bytes) -> SiteState:
        """Read a snapshot of a host that is gone.

        Raises:
            msgspec.ValidationError: these bytes are no site.
        """
        state = msgspec.msgpack.decode(snapshot, type=cls)
        for _, entry in state.entries:
            entry.recovered()
        return state
