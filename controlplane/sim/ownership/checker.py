"""What must never be, whatever fails, checked at the instant of every effect.

Each rule is stated in docs/ownership.md. A violation is recorded and the schedule goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from controlplane.runtime.placement import host_of
from controlplane.sim.ownership.parcels import ToStation

if TYPE_CHECKING:
    from controlplane.sim.ownership.database import Writes
    from controlplane.sim.ownership.gateway import Gateway
    from controlplane.sim.ownership.host import Host
    from controlplane.sim.ownership.world import World

__all__ = ["RULES", "Checker"]

RULES = {
    "one_writer": "a commit under an epoch that is not the shard's, or by another than its owner",
    "epoch_order": "an epoch that does not grow with a claim",
    "exclusion": "a shard that is claimed while its last owner still holds it to be its own",
    "gateway_order": "a gateway that delivers under a lower epoch than it has heard of",
    "stale_command": "a station that is commanded by an owner whose successor serves already",
    "acknowledged": "an event that a station has forgotten and the store or its owner never took",
    "twice": "an event that was stored twice",
    "liveness": "a shard that is not owned by whom it should be, or a station that is not served",
}


@dataclass
class Checker:
    """Watches one world. `found` holds the instant, the rule and the words of each violation."""

    world: World
    found: list[tuple[int, str, str]] = field(default_factory=list)
    commits: int = 0
    claims: int = 0
    commands: int = 0
    refused: int = 0
    """Commands that a gateway did not deliver."""
    events: int = 0
    _epochs: dict[int, int] = field(default_factory=dict)
    _serving: dict[int, int] = field(default_factory=dict)
    _heard: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)
    _acknowledged: dict[int, int] = field(default_factory=dict)
    _journalled: set[tuple[int, int]] = field(default_factory=set)

    def violated(self, rule: str, words: str) -> None:
        self.found.append((self.world.clockwork.now_ms, rule, words))

    # --- the database -----------------------------------------------------------------------------

    def claimed(self, owner: str, shards: list[int]) -> None:
        """At the instant of a claim."""
        table = self.world.database.table
        for shard in shards:
            self.claims += 1
            epoch = table.owners[shard].epoch
            if epoch <= self._epochs.get(shard, 0):
                self.violated("epoch_order", f"shard {shard}: {owner} claimed epoch {epoch}")
            self._epochs[shard] = epoch
        if not shards or self.world.clockwork.now_ms < self.world.leases_certain_ms:
            return
        for host in self.world.every_host:
            if not host.alive or host.name == host_of(owner) or not host.valid:
                continue
            held = host.served.keys() | host.writing
            for shard in sorted(held.intersection(shards)):
                self.violated("exclusion", f"shard {shard}: {owner} claimed it of {host.owner}")

    def committed(self, owner: str, epochs: Mapping[int, int], writes: Writes) -> None:
        """At the instant of a commit, before it is stored."""
        self.commits += 1
        database = self.world.database
        for shard, epoch in epochs.items():
            row = database.table.owners[shard]
            # One that gave a shard back may not write for it, either.
            if row.epoch != epoch or row.owner != owner:
                self.violated(
                    "one_writer",
                    f"shard {shard}: {owner} committed under {epoch}, {row.owner} owns {row.epoch}",
                )
        for shard, state in writes.states.items():
            before = database.stored.get(shard, 0)
            if state < before:
                self.violated(
                    "acknowledged", f"shard {shard}: {owner} stored {state} over {before}"
                )
        for shard, number, taken in writes.events:
            self.events += 1
            if number > taken + 1:
                # The station has forgotten those between.
                self.violated(
                    "acknowledged", f"shard {shard}: {owner} took event {number} after {taken}"
                )
            if (shard, number) in self._journalled:
                self.violated("twice", f"shard {shard}: {owner} stored event {number} again")
            self._journalled.add((shard, number))

    # --- hosts ------------------------------------------------------------------------------------

    def serving(self, host: Host, epochs: Mapping[int, int]) -> None:
        """From now on the host may act for these shards."""
        for shard, epoch in epochs.items():
            self._serving[shard] = max(epoch, self._serving.get(shard, 0))

    # --- gateways and stations --------------------------------------------------------------------

    def gateway_heard(self, gateway: Gateway, shard: int, epoch: int) -> None:
        heard = self._heard.setdefault((gateway.name, gateway.incarnation), {})
        if epoch > heard.get(shard, 0):
            heard[shard] = epoch

    def delivered(self, gateway: Gateway, command: ToStation, accepted: bool) -> None:
        """A gateway wrote a command to a socket; `accepted` where a station is at its end."""
        shard, epoch = command.shard, command.epoch
        self.commands += 1
        heard = self._heard.get((gateway.name, gateway.incarnation), {}).get(shard, 0)
        if epoch < heard:
            self.violated(
                "gateway_order", f"shard {shard}: {gateway.name} heard {heard}, delivers {epoch}"
            )
        self.gateway_heard(gateway, shard, epoch)
        if (
            accepted
            and epoch < self._serving.get(shard, 0)
            and self.world.clockwork.now_ms >= self.world.leases_certain_ms
        ):
            self.violated(
                "stale_command",
                f"shard {shard}: commanded under {epoch}, {self._serving[shard]} serves",
            )

    def acknowledged(self, shard: int, number: int) -> None:
        """A station heard that its event was taken."""
        self._acknowledged[shard] = number
        stored = self.world.database.stored.get(shard, 0)
        if number > stored:
            self.violated("acknowledged", f"shard {shard}: event {number}, stored is {stored}")
