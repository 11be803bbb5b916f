"""A feeder's state as a message, and what its reports look like on their way."""

from __future__ import annotations

import msgspec

from controlplane.api.grid import state_to_message
from controlplane.api.v1 import grid_pb2
from controlplane.demand_curve import plain_curve
from controlplane.feeder.messages import (
    FeederReport,
    FeederView,
    MemberShare,
    Overload,
    OverloadShare,
)
from controlplane.feeder.overload import Cause
from controlplane.ids import ActorKind, ActorRef, FeederId
from controlplane.runtime import wire


def test_who_keeps_a_feeder_above_its_capacity_is_named() -> None:
    members = [
        ActorRef(ActorKind.SITE, "depot"),
        ActorRef(ActorKind.FEEDER, "street"),
        ActorRef(ActorKind.SITE, "annex"),
        ActorRef(ActorKind.SITE, "office"),
    ]
    share = MemberShare("street", None, False, 1, 2, 3, 4)
    view = FeederView(
        feeder_id=FeederId("town"),
        config=b"{}",
        at_ms=1_000,
        limit_ma=50_000,
        cap_ma=None,
        measured_w=7,
        liability_w=8,
        sites=(),
        feeders=(share,),
        overload=Overload(
            since_ms=500,
            excess_ma=9_000,
            shares=tuple(
                OverloadShare(member, cause.value, 100)
                for member, cause in zip(members, Cause, strict=True)
            ),
        ),
        events=(),
    )
    state = state_to_message(view)
    assert not state.HasField("cap_ma")
    assert (state.measured_w, state.liability_w) == (7, 8)
    assert state.feeders[0].feeder_id == "street"
    assert not state.feeders[0].HasField("cap_ma")
    assert state.overload.excess_ma == 9_000
    assert [each.WhichOneof("member") for each in state.overload.shares] == [
        "site_id",
        "feeder_id",
        "site_id",
        "site_id",
    ]
    named = {grid_pb2.OverloadReason.Name(each.reason) for each in state.overload.shares}
    assert named == {f"OVERLOAD_REASON_{cause.name}" for cause in Cause}


def test_a_report_crosses_between_hosts_with_its_curve() -> None:
    ref = ActorRef(ActorKind.FEEDER, "street")
    report = FeederReport(FeederId("street"), 1, 2, 3, 4, 5, 6, plain_curve(0, 100), 7)
    parcel = wire.FromActor(ref, ActorRef(ActorKind.FEEDER, "town"), report)
    assert msgspec.msgpack.decode(wire.encode(parcel), type=wire.Parcel) == parcel
