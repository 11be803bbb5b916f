"""Stations of a chaos run that have no line charge on, under what they hold."""

from __future__ import annotations

import asyncio

from controlplane.chaos.network import make_network
from controlplane.chaos.stations import Stations
from controlplane.sim.profiles import Period, Profile, Purpose

DEFAULT = Profile(
    id=1,
    stack_level=0,
    purpose=Purpose.DEFAULT,
    connector_id=1,
    unit="A",
    periods=(Period(0, 6.0),),
)
"""A schedule without a begin counts from the start of charging (OCPP 1.6 7.13)."""


async def test_a_vehicle_that_comes_meanwhile_is_offered_the_default_from_the_first_moment() -> (
    None
):
    stations = Stations(make_network(100), ["ws://127.0.0.1:1/ocpp"], seed=1)
    for driven in stations.all.values():
        driven.station.book.install(DEFAULT)
    stations.start()
    async with asyncio.timeout(10):
        while not all(driven.outlet.transaction for driven in stations.all.values()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert {driven.outlet.offered_a for driven in stations.all.values()} == {6.0}
    await stations.stop()
    assert stations.rows.over == 0
    assert stations.rows.judged > 0
