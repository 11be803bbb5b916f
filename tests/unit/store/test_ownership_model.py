"""The lease table of the simulation changes as the real one does under the same statements."""

from __future__ import annotations

from random import Random

from sqlalchemy import text

from controlplane.runtime.members import forget_member
from controlplane.runtime.ownership import Ownership
from controlplane.sim.ownership.database import LeaseTable
from controlplane.sim.ownership.rules import Rules
from controlplane.store.engine import migrate, open_engine

SHARDS = range(12)
LEASE_S = 3_600.0


def test_the_model_of_the_lease_table_does_what_the_sql_does(database_url: str) -> None:
    """Claims, renewals and give-backs of two incarnations of one host and one of another, which are
    struck now and then, and leases that end, in an order drawn from a seed. The clock of the model
    stands still: a lease runs, or it has ended."""
    migrate(database_url)
    engine = open_engine(database_url, writer=True)
    random = Random(7)
    table = LeaseTable(SHARDS, Rules())
    names = [("a", "1"), ("a", "2"), ("ab", "1")]
    owners = {
        f"{host}/{incarnation}": Ownership(
            engine, host=host, incarnation=incarnation, lease_s=LEASE_S
        )
        for host, incarnation in names
    }
    for _ in range(120):
        name, owner = random.choice(list(owners.items()))
        shards = random.sample(SHARDS, 3)
        match random.randrange(5):
            case 0 | 1:
                owner.tenure.epochs = table.owned(name)
                owner.member.entered = False
                table.renew(name, 1)
                table.claim(name, shards, now_ms=1, until_ms=1)
                assert owner.claim(shards) == table.owned(name)
            case 2:
                held = table.owned(name)
                owner.tenure.epochs = held
                table.give_back(name, {s: held[s] for s in shards if s in held})
                owner.give_back(shards)
            case 3:
                host, incarnation = owner.host, owner.incarnation
                with engine.begin() as connection:
                    forget_member(connection, host, incarnation)
                table.forget(host, incarnation)
            case _:
                with engine.begin() as connection:
                    connection.execute(
                        text("UPDATE shard_owner SET lease_until_ms = 0 WHERE shard = :shard"),
                        {"shard": shards[0]},
                    )
                table.owners[shards[0]].lease_until_ms = 0
        with engine.connect() as connection:
            rows = connection.execute(
                text("SELECT shard, owner, epoch, lease_until_ms > 0 FROM shard_owner")
            ).all()
        real = {shard: (owner, epoch, bool(runs)) for shard, owner, epoch, runs in rows}
        for shard, row in table.owners.items():
            assert (row.owner, row.epoch, row.lease_until_ms > 0) == real[shard]
