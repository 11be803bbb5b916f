"""Stations that nobody here wrote connect to Loadstar, charge within a limit, and stop.

The clients, none of which shares code with another or with Loadstar, and their licences:

- `ocpp` (Python; MIT) checks every answer against the official JSON schemas;
- `ocpp-client` (Rust; MIT or Apache-2.0) reads them into its own types; cargo builds
  tests/clients/ocpp_client, whose lock file says with what;
- `ocpp-rpc` (JavaScript; MIT) in its strict mode checks every frame in both directions; it needs
  node and npm, which Loadstar itself does not;
- `ocppsim` (Rust; MIT), a station at a terminal, checks what it gets against the schemas. Its build
  is long, so that it is asked only where it is installed."""

# mypy: allow-untyped-decorators

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from grpc_stations import Station16, Station201, connected
from ocpp.charge_point import snake_to_camel_case as camel_case
from ocpp.routing import on
from ocpp.v16 import call as call16
from ocpp.v16 import call_result as result16
from ocpp.v201 import call as call201
from ocpp.v201 import call_result as result201

from controlplane.charger.messages import ChargerView, GetCharger
from controlplane.config import Settings
from controlplane.ids import ActorKind, ActorRef, SiteId
from controlplane.network_yaml import parse_network
from controlplane.runtime.node import Node, start_node
from controlplane.site.messages import ConfigureSite, SiteConfigured
from controlplane.store.records import SessionState

NETWORK = """
sites:
  - id: S1
    circuits: [{id: supply, rating_a: 20}]
    chargers: [{id: STATION, circuit: supply}]
"""
CLIENTS = Path(__file__).parents[1] / "clients"
TARGET = Path(__file__).parents[2] / "target" / "clients"


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    settings = Settings(data_dir=tmp_path, ocpp_port=0, grpc_port=0, round_interval_s=0.05)
    node = await start_node(settings, transport="local")
    (site,) = parse_network(NETWORK).sites
    request = ConfigureSite(site.model_dump_json().encode())
    await node.client.ask(ActorRef(ActorKind.SITE, "S1"), request, SiteConfigured)
    yield node
    await node.stop()


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def run(
    *command: str, cwd: Path | None = None, timeout_s: float = 60, **environment: str
) -> str:
    """What `command` wrote; fails with its complaint where it ended in error."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(timeout_s):
            wrote, complained = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{command[0]}: {complained.decode()}"
    return wrote.decode()


async def check(node: Node, schedule: dict[str, Any], vendor: str) -> None:
    """The client's transaction was given what the supply carries, and stands as it was told."""
    limits = [period["limit"] for period in schedule["chargingSchedulePeriod"]]
    assert schedule["chargingRateUnit"] == "A"
    assert 6 <= max(limits) <= 20
    page, _ = await node.reader.sessions(site_id=SiteId("S1"))
    (session,) = page
    assert session.state is SessionState.ENDED
    assert session.id_token == "ALICE"
    assert (session.meter_start_wh, session.meter_stop_wh) == (1_000, 1_750)
    assert session.energy_wh == 750
    view = await node.client.ask(ActorRef(ActorKind.CHARGER, "STATION"), GetCharger(), ChargerView)
    assert view.vendor == vendor
    assert view.connectors[0].session_id is None


class Limited(Station16):
    """The station of the `ocpp` package that keeps what its transaction was limited to."""

    def __init__(self, id: str, connection: Any) -> None:
        super().__init__(id, connection)
        self.schedules: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    @on("SetChargingProfile")
    def on_profile(self, connector_id: int, cs_charging_profiles: Any) -> Any:
        if cs_charging_profiles["charging_profile_purpose"] == "TxProfile":
            self.schedules.put_nowait(camel_case(cs_charging_profiles["charging_schedule"]))
        return result16.SetChargingProfile(status="Accepted")


async def test_the_ocpp_package_charges(node: Node) -> None:
    async with connected(Limited, "STATION", node.ocpp_port) as station:
        card = await station.call(call16.Authorize(id_tag="ALICE"))
        assert card.id_tag_info["status"] == "Accepted"
        await station.begin("ALICE")
        async with asyncio.timeout(20):
            schedule = await station.schedules.get()
        await station.meter(1_400)
        station.register_wh = 1_750
        await station.end()
        await check(node, schedule, "Maker")


class Limited201(Station201):
    """The 2.0.1 station of the `ocpp` package, likewise."""

    def __init__(self, id: str, connection: Any) -> None:
        super().__init__(id, connection)
        self.schedules: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sequence = 0

    @on("SetChargingProfile")
    def on_profile(self, charging_profile: Any, **_: Any) -> Any:
        if charging_profile["charging_profile_purpose"] == "TxProfile":
            self.schedules.put_nowait(camel_case(charging_profile["charging_schedule"][0]))
        return result201.SetChargingProfile(status="Accepted")

    async def tell(self, event: str, trigger: str, register_wh: int) -> Any:
        self.sequence += 1
        return await self.call(
            call201.TransactionEvent(
                event_type=event,
                timestamp=now(),
                trigger_reason=trigger,
                seq_no=self.sequence,
                transaction_info={"transaction_id": "T-1", "charging_state": "Charging"},
                evse={"id": 1, "connector_id": 1},
                id_token={"id_token": "ALICE", "type": "ISO14443"} if event == "Started" else None,
                meter_value=[{"timestamp": now(), "sampled_value": [{"value": register_wh}]}],
            )
        )


async def test_the_ocpp_package_charges_with_2_0_1(node: Node) -> None:
    async with connected(Limited201, "STATION", node.ocpp_port) as station:
        begun = await station.tell("Started", "Authorized", 1_000)
        assert begun.id_token_info["status"] == "Accepted"
        async with asyncio.timeout(20):
            schedule = await station.schedules.get()
        await station.tell("Updated", "MeterValuePeriodic", 1_400)
        await station.tell("Ended", "StopAuthorized", 1_750)
        await check(node, schedule, "Maker")


async def test_the_ocpp_client_crate_charges(node: Node) -> None:
    manifest = CLIENTS / "ocpp_client" / "Cargo.toml"
    await run(
        *("cargo", "build", "--quiet", "--locked", "--manifest-path", str(manifest)),
        timeout_s=600,
        CARGO_TARGET_DIR=str(TARGET),
    )
    station = TARGET / "debug" / "ocpp-client-station"
    wrote = await run(str(station), f"ws://127.0.0.1:{node.ocpp_port}/ocpp/STATION", now())
    schedule = json.loads(wrote)["csChargingProfiles"]["chargingSchedule"]
    await check(node, schedule, "Flowion")


@pytest.mark.skipif(
    shutil.which("node") is None or shutil.which("npm") is None,
    reason="ocpp-rpc is a JavaScript library: node and npm are not on this machine",
)
async def test_the_ocpp_rpc_package_charges(node: Node) -> None:
    folder = TARGET / "ocpp_rpc"
    folder.mkdir(parents=True, exist_ok=True)
    for source in (CLIENTS / "ocpp_rpc").iterdir():
        shutil.copy(source, folder)
    if not (folder / "node_modules" / ".package-lock.json").exists():
        await run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", cwd=folder)
    wrote = await run(
        "node", "station.js", f"ws://127.0.0.1:{node.ocpp_port}/ocpp", "STATION", cwd=folder
    )
    schedule = json.loads(wrote)["csChargingProfiles"]["chargingSchedule"]
    await check(node, schedule, "ocpp-rpc")


class Terminal:
    """`ocppsim` at a terminal of its own; what it does stands in its log."""

    def __init__(self, keyboard: int, log: Path) -> None:
        self.keyboard = keyboard
        self.log = log

    def say(self, words: str) -> None:
        os.write(self.keyboard, f"{words}\r".encode())

    async def until(self, pattern: str) -> str:
        """The line of the log that first shows `pattern`."""
        async with asyncio.timeout(20):
            while True:
                told = self.log.read_text() if self.log.exists() else ""
                if found := re.search(rf"^.*(?:{pattern}).*\n", told, re.MULTILINE):
                    return found[0]
                await asyncio.sleep(0.05)


@asynccontextmanager
async def at_a_terminal(log: Path, *arguments: str) -> AsyncIterator[Terminal]:
    keyboard, screen = pty.openpty()
    loop = asyncio.get_running_loop()
    process = await asyncio.create_subprocess_exec(
        *("ocppsim", "--strict", "--trace-frames", "--log-path", str(log), *arguments),
        stdin=screen,
        stdout=screen,
        stderr=screen,
        env={**os.environ, "TERM": "xterm"},
    )
    loop.add_reader(
        keyboard, os.read, keyboard, 65_536
    )  # else the screen fills and it stands still
    try:
        yield Terminal(keyboard, log)
    finally:
        loop.remove_reader(keyboard)
        if process.returncode is None:
            process.kill()
        await process.wait()
        os.close(screen)
        os.close(keyboard)


@pytest.mark.skipif(
    shutil.which("ocppsim") is None,
    reason="ocppsim is not installed: cargo install ocppsim --version 0.3.0 --locked",
)
@pytest.mark.parametrize(
    ("version", "begin", "meter"),
    [
        ("1.6", '"StartTransaction"', '"MeterValues"'),
        ("2.0.1", '"eventType":"Started"', '"eventType":"Updated"'),
    ],
    ids=["1.6", "2.0.1"],
)
async def test_the_ocppsim_station_charges(
    node: Node, tmp_path: Path, version: str, begin: str, meter: str
) -> None:
    url = f"ws://127.0.0.1:{node.ocpp_port}/ocpp"
    arguments = ("--ws-url", url, "--cp-id", "STATION", "--protocol", version)
    async with at_a_terminal(tmp_path / "ocppsim.log", *arguments) as station:
        await station.until("Simulator ready")
        station.say("connect")
        await station.until("BootNotification response status=Accepted")
        station.say("authorize ALICE")
        await station.until("Authorize .* status=Accepted")
        station.say("meter 1 1000")
        station.say("start 1 ALICE")
        await station.until(begin)
        given = await station.until(r'\[RX\] \[2,.*"TxProfile"')
        station.say("meter 1 1400")
        station.say("send-meter 1")
        await station.until(meter)
        station.say("meter 1 1750")
        station.say("stop 1 Local")
        ended = await station.until(r'"StopTransaction"|"eventType":"Ended"')
        message_id = json.loads(ended.partition("[TX] ")[2])[1]
        await station.until(rf'\[RX\] \[3,"{message_id}"')
        told = station.log.read_text()
    assert not re.search(r"\[(ERROR|WARN)\]|\[[RT]X\] \[4,", told)
    profile = json.loads(given.partition("[RX] ")[2])[3]
    schedule = (
        profile["csChargingProfiles"]["chargingSchedule"]
        if version == "1.6"
        else profile["chargingProfile"]["chargingSchedule"][0]
    )
    await check(node, schedule, "ocppsim")
