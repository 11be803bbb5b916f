"""Who may charge, end to end: a real channel, a real node, and stations on the `ocpp` package."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2
from grpc_node import serving
from grpc_stations import Station16, Station201, connected, now
from grpc_status import rpc_status
from ocpp.routing import on
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from ocpp.v201 import call as call201
from ocpp.v201 import call_result as result201

from controlplane.api.v1 import (
    chargers_pb2,
    chargers_pb2_grpc,
    journal_pb2,
    journal_pb2_grpc,
    reservations_pb2,
    reservations_pb2_grpc,
    sessions_pb2,
    sessions_pb2_grpc,
    tokens_pb2,
    tokens_pb2_grpc,
)
from controlplane.config import Settings
from controlplane.runtime.node import Node

SPEED = 120.0
NETWORK = """
version: 1
sites:
- id: depot
  circuits: [{id: supply, rating_a: 100}]
  authorisation: {policy: known, local_list: true}
  chargers:
  - {id: CP-16, circuit: supply}
  - {id: CP-201, circuit: supply}
- id: elsewhere
  circuits: [{id: supply, rating_a: 100}]
"""


class Listing16(Station16):
    """A 1.6 station with a list of tokens and reservations."""

    def __init__(self, id: str, connection: Any) -> None:
        super().__init__(id, connection)
        self.settings |= {
            "SendLocalListMaxLength": "2",
            "LocalAuthListMaxLength": "500",
            "LocalAuthListEnabled": "false",
            "LocalAuthorizeOffline": "false",
            "AllowOfflineTxForUnknownId": "true",
        }
        self.version = 0
        self.list: dict[str, str] = {}
        self.updates: list[str] = []
        self.limits_a: list[float] = []
        self.reserved: dict[int, str] = {}

    @on("GetLocalListVersion")
    def on_version(self) -> Any:
        return result16.GetLocalListVersion(list_version=self.version)

    @on("SendLocalList")
    def on_list(
        self, list_version: int, update_type: str, local_authorization_list: list[Any]
    ) -> Any:
        self.updates.append(update_type)
        if update_type == "Full":
            self.list = {}
        elif list_version <= self.version:
            return result16.SendLocalList(status="VersionMismatch")
        for entry in local_authorization_list:
            if "id_tag_info" in entry:
                self.list[entry["id_tag"]] = entry["id_tag_info"]["status"]
            else:
                self.list.pop(entry["id_tag"], None)
        self.version = list_version
        return result16.SendLocalList(status="Accepted")

    @on("SetChargingProfile")
    def on_profile(self, connector_id: int, cs_charging_profiles: Any) -> Any:
        (period,) = cs_charging_profiles["charging_schedule"]["charging_schedule_period"]
        if cs_charging_profiles["charging_profile_purpose"] == "TxProfile":
            self.limits_a.append(period["limit"])
        return result16.SetChargingProfile(status="Accepted")

    @on("ReserveNow")
    def on_reserve(self, connector_id: int, id_tag: str, reservation_id: int, **_: Any) -> Any:
        self.reserved[reservation_id] = id_tag
        return result16.ReserveNow(status="Accepted")

    @on("CancelReservation")
    def on_cancel(self, reservation_id: int) -> Any:
        known = self.reserved.pop(reservation_id, None)
        return result16.CancelReservation(status="Accepted" if known else "Rejected")

    async def status_of(self, id_tag: str) -> Any:
        return (await self.call(call16.Authorize(id_tag=id_tag))).id_tag_info

    async def try_start(self, id_tag: str) -> Any:
        answer = await self.call(
            call16.StartTransaction(
                connector_id=1, id_tag=id_tag, meter_start=self.register_wh, timestamp=now()
            )
        )
        self.transaction_id = answer.transaction_id
        return answer.id_tag_info


class Listing201(Station201):
    """A 2.0.1 station that keeps no list."""

    @on("GetLocalListVersion")
    def on_version(self) -> Any:
        return result201.GetLocalListVersion(version_number=0)

    @on("SendLocalList")
    def on_list(self, **_: Any) -> Any:
        return result201.SendLocalList(status="Failed")

    async def status_of(self, id_token: str) -> Any:
        token = {"id_token": id_token, "type": "ISO14443"}
        return (await self.call(call201.Authorize(id_token=token))).id_token_info


class Loadstar(NamedTuple):
    """A running Loadstar and a client's stubs."""

    node: Node
    tokens: tokens_pb2_grpc.TokensServiceAsyncStub
    reservations: reservations_pb2_grpc.ReservationsServiceAsyncStub
    chargers: chargers_pb2_grpc.ChargersServiceAsyncStub
    sessions: sessions_pb2_grpc.SessionsServiceAsyncStub
    journal: journal_pb2_grpc.JournalServiceAsyncStub

    def instant(self, ahead_ms: int) -> Timestamp:
        stamp = Timestamp()
        stamp.FromMilliseconds(self.node.clock.now_ms() + ahead_ms)
        return stamp

    async def write(self, *tokens: tokens_pb2.Token, request_id: str = "") -> int:
        request = tokens_pb2.UpsertTokensRequest(tokens=tokens, request_id=request_id)
        return (await self.tokens.UpsertTokens(request)).version

    async def session(self, session_id: str) -> sessions_pb2.Session:
        request = sessions_pb2.GetSessionRequest(session_id=session_id)
        return (await self.sessions.GetSession(request)).session

    async def reservation(self, reservation_id: str) -> reservations_pb2.Reservation:
        request = reservations_pb2.GetReservationRequest(reservation_id=reservation_id)
        return (await self.reservations.GetReservation(request)).reservation

    async def list_state(self, charger_id: str) -> str:
        request = chargers_pb2.GetChargerRequest(charger_id=charger_id)
        return (await self.chargers.GetCharger(request)).charger.local_list.state


@pytest.fixture
async def loadstar(tmp_path: Path) -> AsyncIterator[Loadstar]:
    settings = Settings(
        data_dir=tmp_path, ocpp_port=0, grpc_port=0, clock_speed=SPEED, round_interval_s=0.05
    )
    async with serving(settings, NETWORK) as (node, _, channel):
        yield Loadstar(
            node,
            tokens_pb2_grpc.TokensServiceStub(channel),
            reservations_pb2_grpc.ReservationsServiceStub(channel),
            chargers_pb2_grpc.ChargersServiceStub(channel),
            sessions_pb2_grpc.SessionsServiceStub(channel),
            journal_pb2_grpc.JournalServiceStub(channel),
        )


async def until(check: Callable[[], Awaitable[Any]]) -> Any:
    """The first truthy result of `check`."""
    async with asyncio.timeout(20):
        while not (found := await check()):  # noqa: ASYNC110 - a poll over gRPC has no event
            await asyncio.sleep(0.02)
    return found


async def reason(call: Awaitable[Any]) -> str:
    """Why a call was refused."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status = rpc_status.from_call(caught.value)  # type: ignore[arg-type]
    assert status is not None, caught.value
    info = error_details_pb2.ErrorInfo()
    assert any(detail.Unpack(info) for detail in status.details)
    return str(info.reason)


async def test_tokens_are_answered_as_they_were_written(loadstar: Loadstar) -> None:
    await loadstar.write(
        tokens_pb2.Token(id_token="Anna", group_id="FLEET", message="Hello Anna", language="en"),
        tokens_pb2.Token(id_token="BEN", state=tokens_pb2.TOKEN_STATE_BLOCKED),
        tokens_pb2.Token(id_token="CARL", valid_until_time=loadstar.instant(-1_000)),
        tokens_pb2.Token(id_token="DORA", site_ids=["elsewhere"]),
        tokens_pb2.Token(id_token="EMIL", state=tokens_pb2.TOKEN_STATE_NO_CREDIT),
    )
    async with connected(Listing16, "CP-16", loadstar.node.ocpp_port) as old:
        said = {tag: (await old.status_of(tag))["status"] for tag in ("ANNA", "BEN", "CARL")}
        assert said == {"ANNA": "Accepted", "BEN": "Blocked", "CARL": "Expired"}
        assert (await old.status_of("anna"))["parent_id_tag"] == "FLEET"
        assert (await old.status_of("DORA"))["status"] == "Blocked"
        assert (await old.status_of("NOBODY"))["status"] == "Invalid"
    async with connected(Listing201, "CP-201", loadstar.node.ocpp_port) as new:
        anna = await new.status_of("ANNA")
        assert anna["group_id_token"] == {"id_token": "FLEET", "type": "Central"}
        assert anna["personal_message"]["content"] == "Hello Anna"
        for token, status in {
            "DORA": "NotAtThisLocation",
            "EMIL": "NoCredit",
            "NOBODY": "Unknown",
            "CARL": "Expired",
        }.items():
            assert (await new.status_of(token))["status"] == status


async def test_a_token_blocked_in_its_session_is_given_no_power(loadstar: Loadstar) -> None:
    await loadstar.write(tokens_pb2.Token(id_token="ANNA"))
    async with connected(Listing16, "CP-16", loadstar.node.ocpp_port) as station:
        await station.begin("ANNA")
        session_id = f"CP-16-{station.transaction_id}"
        await station.meter(1_002)

        async def charging() -> bool:
            return any(limit_a > 0 for limit_a in station.limits_a)

        await until(charging)
        assert (await loadstar.session(session_id)).token_status == "Accepted"
        await loadstar.write(
            tokens_pb2.Token(id_token="ANNA", state=tokens_pb2.TOKEN_STATE_BLOCKED)
        )

        async def held() -> bool:
            return bool(station.limits_a[-1] == 0)

        await until(held)
        assert (await loadstar.session(session_id)).token_status == "Blocked"
        request = chargers_pb2.RemoteStartRequest(charger_id="CP-16", id_token="ANNA")
        assert await reason(loadstar.chargers.RemoteStart(request)) == "TOKEN_REFUSED"
        assert "start" not in station.told
        await loadstar.write(tokens_pb2.Token(id_token="ANNA"))

        async def again() -> bool:
            return bool(station.limits_a[-1] > 0)

        await until(again)
        await station.meter(1_004)
        await station.end()
        ended = await loadstar.session(session_id)
        assert (ended.state, ended.energy_wh) == (sessions_pb2.SESSION_STATE_ENDED, 4)


async def test_local_lists_follow_the_tokens(loadstar: Loadstar) -> None:
    await loadstar.write(*(tokens_pb2.Token(id_token=f"T{n}") for n in range(5)))
    async with connected(Listing16, "CP-16", loadstar.node.ocpp_port) as station:

        async def in_step() -> bool:
            return await loadstar.list_state("CP-16") == "in_step"

        await until(in_step)
        assert station.list == {f"T{n}": "Accepted" for n in range(5)}
        # The station takes two entries at a time.
        assert station.updates == ["Full", "Differential", "Differential"]
        assert station.settings["LocalAuthListEnabled"] == "true"
        assert station.settings["AllowOfflineTxForUnknownId"] == "false"
        version = station.version
        await loadstar.write(tokens_pb2.Token(id_token="T1", state=tokens_pb2.TOKEN_STATE_BLOCKED))
        await loadstar.tokens.DeleteTokens(tokens_pb2.DeleteTokensRequest(id_tokens=["t2", "no"]))
        wanted = {"T0": "Accepted", "T1": "Blocked", "T3": "Accepted", "T4": "Accepted"}

        async def followed() -> bool:
            return bool(station.list == wanted)

        await until(followed)
        assert "Full" not in station.updates[3:] and station.version > version
        sends = tokens_pb2.SendLocalListRequest(charger_id="CP-16", version=9, full=True)
        assert await reason(loadstar.tokens.SendLocalList(sends)) == "LIST_KEPT_BY_SITE"


async def test_a_list_that_is_another_one_is_sent_whole(loadstar: Loadstar) -> None:
    await loadstar.write(tokens_pb2.Token(id_token="T0"))
    async with connected(Listing16, "CP-16", loadstar.node.ocpp_port) as station:
        station.version, station.list = 77, {"STRANGER": "Accepted"}

        async def replaced() -> bool:
            return bool(station.list == {"T0": "Accepted"})

        await until(replaced)
        assert station.version > 77


async def test_a_reservation_is_kept_used_and_expires(loadstar: Loadstar) -> None:
    await loadstar.write(tokens_pb2.Token(id_token="ANNA"), tokens_pb2.Token(id_token="BEN"))
    async with connected(Listing16, "CP-16", loadstar.node.ocpp_port) as station:

        async def settled() -> bool:
            return await loadstar.list_state("CP-16") != "off"

        await until(settled)
        request = reservations_pb2.ReserveRequest(
            charger_id="CP-16",
            connector_id=1,
            id_token="ANNA",
            expiry_time=loadstar.instant(3_600_000),
            request_id="once",
        )
        kept = (await loadstar.reservations.Reserve(request)).reservation
        assert kept.state == reservations_pb2.RESERVATION_STATE_ACTIVE
        assert station.reserved == {1: "ANNA"}
        assert (await loadstar.reservations.Reserve(request)).reservation == kept
        assert (await station.try_start("BEN"))["status"] == "Blocked"
        await station.end()
        assert (await station.try_start("ANNA"))["status"] == "Accepted"
        used = await loadstar.reservation(kept.reservation_id)
        assert (used.end_reason, used.session_id) == ("used", f"CP-16-{station.transaction_id}")
        await station.end()

        request.expiry_time.CopyFrom(loadstar.instant(60_000))
        request.request_id = "twice"
        second = (await loadstar.reservations.Reserve(request)).reservation

        async def expired() -> bool:
            return (await loadstar.reservation(second.reservation_id)).end_reason == "expired"

        await until(expired)
        request.expiry_time.CopyFrom(loadstar.instant(3_600_000))
        request.request_id = "thrice"
        third = (await loadstar.reservations.Reserve(request)).reservation
        answer = await loadstar.reservations.Cancel(
            reservations_pb2.CancelRequest(reservation_id=third.reservation_id)
        )
        assert answer.reservation.end_reason == "cancelled"
        assert third.reservation_id not in station.reserved


async def test_tokens_are_written_all_or_none_and_once(loadstar: Loadstar) -> None:
    many = [tokens_pb2.Token(id_token=f"T{n:05d}", group_id="G") for n in range(10_000)]
    version = await loadstar.write(*many, request_id="fleet")
    assert await loadstar.write(*many, request_id="fleet") == version
    stream: Any = loadstar.journal.WatchEvents(
        journal_pb2.WatchEventsRequest(
            after_cursor=0, filter=journal_pb2.EventFilter(kinds=["tokens.*"])
        )
    )
    told = (await stream.read()).event
    assert (told.actor_kind, told.kind) == (journal_pb2.ACTOR_KIND_TOKENS, "tokens.changed")
    stream.cancel()
    page = await loadstar.tokens.ListTokens(
        tokens_pb2.ListTokensRequest(group_id="g", page_size=1_000)
    )
    assert [token.id_token for token in page.tokens] == [f"T{n:05d}" for n in range(1_000)]
    faulty = [tokens_pb2.Token(id_token="FINE"), tokens_pb2.Token(id_token="")]
    assert await reason(loadstar.write(*faulty)) == "TOKEN_INVALID"
    unknown = tokens_pb2.GetTokenRequest(id_token="fine")
    assert await reason(loadstar.tokens.GetToken(unknown)) == "TOKEN_UNKNOWN"
