"""`loadstar up` in a process of its own, and the other commands as its clients."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from grpc_stations import Station16, connected
from typer.testing import CliRunner, Result

from controlplane.cli import app

EXAMPLE = Path(__file__).parents[2] / "deploy/examples/network.yaml"
START_TIMEOUT_S = 60.0


class Up(NamedTuple):
    process: subprocess.Popen[str]
    ready_file: Path
    ready: dict[str, Any]

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.ready['grpc_port']}"


def start(folder: Path, *options: str) -> Up:
    """Run `loadstar up` until it is ready."""
    ready_file = folder / "ready.json"
    process = subprocess.Popen(
        [
            *(sys.executable, "-m", "controlplane.cli", "up", "--one-process"),
            *("--data-dir", str(folder / "data"), "--ocpp-port", "0", "--grpc-port", "0"),
            *("--ready-file", str(ready_file), *options),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("LOADSTAR_")},
    )
    until_s = time.monotonic() + START_TIMEOUT_S
    while not ready_file.exists():
        if process.poll() is not None or time.monotonic() > until_s:
            process.kill()
            pytest.fail(f"not ready: {process.communicate()[0]}")
        time.sleep(0.05)
    return Up(process, ready_file, json.loads(ready_file.read_text()))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    running = start(tmp_path_factory.mktemp("up"), "--network", str(EXAMPLE))
    yield running
    running.process.terminate()
    assert running.process.wait(30) == 0
    assert not running.ready_file.exists()


def loadstar(up: Up, *words: str, status: int = 0, told: str | None = None) -> Result:
    result = CliRunner().invoke(app, [*words, "--address", up.address], input=told)
    assert result.exit_code == status, result.output
    return result


def answer(up: Up, *words: str) -> Any:
    return json.loads(loadstar(up, *words, "--json").stdout)


def test_up_says_where_it_listens_and_stops_when_told(tmp_path: Path) -> None:
    running = start(tmp_path)
    assert running.ready["pids"]["supervisor"] == [running.process.pid]
    running.process.send_signal(signal.SIGINT)
    output, _ = running.process.communicate(timeout=30)
    assert running.process.returncode == 0, output
    assert f"ws://127.0.0.1:{running.ready['ocpp_port']}/ocpp/<charger id>" in output
    assert running.address in output
    assert not running.ready_file.exists()


def test_up_refuses_a_network_with_faults_before_it_starts(tmp_path: Path) -> None:
    file = tmp_path / "network.yaml"
    file.write_text("sites: [{id: depot, circuits: []}]")
    result = CliRunner().invoke(
        app, ["up", "--network", str(file), "--data-dir", str(tmp_path / "data")]
    )
    assert result.exit_code == 1
    assert "sites[0] (depot)" in result.output
    assert not (tmp_path / "data").exists()


def test_up_refuses_settings_that_cannot_be(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["up", "--data-dir", str(tmp_path), "--ocpp-port", "99999"])
    assert result.exit_code == 1
    assert "LOADSTAR_OCPP_PORT" in result.output


def test_up_refuses_a_taken_port(up: Up, tmp_path: Path) -> None:
    port = str(up.ready["grpc_port"])
    result = subprocess.run(
        [
            *(sys.executable, "-m", "controlplane.cli", "up", "--one-process"),
            *("--data-dir", str(tmp_path), "--ocpp-port", "0", "--grpc-port", port),
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 1
    assert f"cannot listen for gRPC on 127.0.0.1:{port}" in result.stderr


def test_status(up: Up) -> None:
    found = answer(up, "status")
    assert found["serving"] is True
    assert (found["feeder_count"], found["site_count"]) == (1, 2)
    assert "Serving" in loadstar(up, "status").output


def test_nobody_listens() -> None:
    result = CliRunner().invoke(app, ["status", "--address", "127.0.0.1:1"])
    assert result.exit_code == 1
    assert "Nobody answers for gRPC at 127.0.0.1:1" in result.output
    assert "loadstar up" in result.output


def test_the_address_comes_from_the_environment(up: Up) -> None:
    result = CliRunner(env={"LOADSTAR_ADDRESS": up.address}).invoke(app, ["sites", "list"])
    assert result.exit_code == 0
    assert "kiosk" in result.output


def test_network_export_is_what_was_applied(up: Up, tmp_path: Path) -> None:
    exported = loadstar(up, "network", "export").stdout
    assert {site["id"] for site in yaml.safe_load(exported)["sites"]} >= {"depot", "kiosk"}
    as_json = loadstar(up, "network", "export", "--json").stdout
    assert json.loads(as_json) == yaml.safe_load(exported)
    for name, text in (("network.yaml", exported), ("network.json", as_json)):
        file = tmp_path / name
        file.write_text(text)
        applied = answer(up, "network", "apply", str(file))
        assert {change["action"] for change in applied["changes"]} == {
            "NETWORK_CHANGE_ACTION_UNCHANGED"
        }


def test_network_validate_needs_no_server() -> None:
    result = CliRunner().invoke(app, ["network", "validate", str(EXAMPLE)])
    assert result.exit_code == 0
    assert "1 feeders, 2 sites, 6 chargers" in result.output


def test_a_site_is_created_shown_changed_limited_and_deleted(up: Up, tmp_path: Path) -> None:
    text = "{id: annex, circuits: [{id: supply, rating_a: 32}], building_load: {circuit: supply}}"
    loadstar(up, "sites", "create", "-", told=text)
    again = loadstar(up, "sites", "create", "-", told=text, status=1)
    assert "annex" in again.output
    file = tmp_path / "annex.yaml"
    file.write_text(loadstar(up, "sites", "get", "annex").stdout.replace("32.0", "16.0"))
    loadstar(up, "sites", "update", str(file))
    found = answer(up, "sites", "get", "annex")
    assert found["description"]["circuits"] == [{"id": "supply", "parent": "", "rating_a": 16.0}]

    limited = answer(up, "sites", "limit", "annex", "--current", "10.5")
    assert limited["limit_ma"] == 10_500
    assert "limit_ma" not in answer(up, "sites", "limit", "annex", "--clear")
    held = answer(up, "sites", "limit", "annex", "--circuit", "supply", "--current", "8")
    assert held["circuits"][0]["limit_ma"] == 8_000
    assert "8.0" in loadstar(up, "sites", "allocation", "annex").output
    held = answer(up, "sites", "limit", "annex", "--circuit", "supply", "--clear")
    assert "limit_ma" not in held["circuits"][0]
    cellar = ("--circuit", "cellar", "--clear")
    assert (
        "no circuit 'cellar'" in loadstar(up, "sites", "limit", "annex", *cellar, status=1).output
    )
    reported = answer(up, "sites", "report-load", "annex", "1.5", "2", "0")
    assert reported["building_load_stale"] is False
    assert "supply" in loadstar(up, "sites", "allocation", "annex").output
    loadstar(up, "sites", "delete", "annex")
    assert "there is no site 'annex'" in loadstar(up, "sites", "get", "annex", status=1).output


def test_a_description_with_faults_is_not_sent(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text("{id: bad, circuits: [{id: supply, rating_a: -1}]}")
    told = loadstar(up, "sites", "create", str(file), status=1).output
    assert "circuits[0] (supply).rating_a" in told


def test_feeders_are_shown_and_limited(up: Up) -> None:
    assert answer(up, "feeders", "list")["feeders"][0]["description"]["power_max_w"] == 90_000
    assert answer(up, "feeders", "limit", "north", "--power", "69")["limit_ma"] == 100_000
    later = ("--from", "2100-01-01T00:00Z", "--until", "2100-01-02T00:00Z")
    assert answer(up, "feeders", "limit", "north", "--clear")["limit_ma"] > 100_000
    assert answer(up, "feeders", "limit", "north", "--power", "1", *later)["limit_ma"] > 100_000
    assert "depot" in loadstar(up, "feeders", "get", "north").output


def test_grid_events_from_the_command_line(up: Up) -> None:
    asked = ("--feeder", "north", "--limit", "10", "--source", "utility", "--id", "evening")
    assert answer(up, "grid-events", "create", *asked)["response"]["limit_w"] == 10_000
    assert "evening" in loadstar(up, "grid-events", "list", "--feeder", "north", "--open").output
    told = loadstar(up, "grid-events", "get", "evening").output
    assert "limit 10 kW" in told
    assert "baseline" in told
    loadstar(up, "grid-events", "create", "--site", "depot", "--reduce-by", "5", "--id", "less")
    assert answer(up, "grid-events", "cancel", "less")["state"] == "GRID_EVENT_STATE_ENDED"
    loadstar(up, "grid-events", "create", "--feeder", "north", "--restore")
    ended = answer(up, "grid-events", "get", "evening")
    assert ended["state"] == "GRID_EVENT_STATE_ENDED"


@pytest.mark.parametrize(
    "words",
    [
        ("feeders", "limit", "north"),
        ("grid-events", "create", "--feeder", "north"),
        ("grid-events", "create", "--limit", "5"),
        ("sites", "limit", "depot", "--current", "1", "--clear"),
        ("sites", "limit", "depot", "--current", "1", "--from", "tomorrow"),
        ("sites", "limit", "depot", "--clear", "--circuit", "panel", "--connector", "DEPOT-1"),
        ("sites", "limit", "depot", "--clear", "--connector", "DEPOT-1/left"),
        ("sessions", "need", "S-1"),
        ("events", "--after", "-1"),
        ("chargers", "stop", "DEPOT-1"),
        ("chargers", "settings", "DEPOT-1", "--set", "no-equals-sign"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_explained(up: Up, words: tuple[str, ...]) -> None:
    assert "Usage:" in loadstar(up, *words, status=2).output


async def test_a_session_from_the_command_line(up: Up) -> None:
    def run(*words: str, status: int = 0) -> Result:
        return loadstar(up, *words, status=status)

    async with connected(Station16, "DEPOT-1", up.ready["ocpp_port"]) as station:
        until_s = time.monotonic() + 20
        charger: dict[str, Any] = {}
        while charger.get("presence") != "CHARGER_PRESENCE_ONLINE":
            assert time.monotonic() < until_s
            charger = await asyncio.to_thread(answer, up, "chargers", "get", "DEPOT-1")
        assert charger["model"] == "Sixteen"
        assert "online" in (await asyncio.to_thread(run, "chargers", "list")).output
        started = await asyncio.to_thread(
            run, "chargers", "start", "DEPOT-1", "--token", "TAG-1", "--connector", "1"
        )
        assert started.output.strip() == "accepted"
        sessions: list[Any] = []
        while not sessions:
            assert time.monotonic() < until_s
            found = await asyncio.to_thread(answer, up, "sessions", "list", "--active")
            sessions = found["sessions"]
        session_id = sessions[0]["session_id"]
        wish = ("--energy", "12.5", "--departure", "2100-01-01T08:00:00+02:00")
        need = await asyncio.to_thread(answer, up, "sessions", "need", session_id, *wish)
        assert (need["need_wh"], need["departure_time"]) == (12_500, "2100-01-01T06:00:00Z")
        boost = ("sessions", "need", session_id, "--boost")
        boosted = await asyncio.to_thread(answer, up, *boost, "9")
        assert boosted["need_wh"] == 12_500, "what was not given stays as it is"
        assert "boost_until_time" in boosted
        ended = await asyncio.to_thread(answer, up, *boost, "0")
        assert "boost_until_time" not in ended
        limit = ("sites", "limit", "depot", "--connector", "DEPOT-1/1")
        held = await asyncio.to_thread(answer, up, *limit, "--current", "0")
        assert held["connectors"][0]["operator_limit_ma"] == 0
        held = await asyncio.to_thread(answer, up, *limit, "--clear")
        assert "operator_limit_ma" not in held["connectors"][0]
        await station.meter(2_000)
        shown = await asyncio.to_thread(run, "sessions", "get", session_id, "--samples", "5")
        assert "1.00 kWh" in shown.output

        explained: dict[str, Any] = {"decisions": []}
        while not explained["decisions"]:
            assert time.monotonic() < until_s
            explained = await asyncio.to_thread(answer, up, "why", "DEPOT-1/1")
        assert explained["site_id"] == "depot"
        assert explained["decisions"][0]["reason"]
        assert any(factor["kind"] == "circuit" for factor in explained["factors"])
        why = (await asyncio.to_thread(run, "why", "DEPOT-1/1")).output
        assert "What bounds it" in why
        assert "leaves 2100-01-01 06:00:00 UTC (driver), could wait" in why
        past = await asyncio.to_thread(run, "why", "DEPOT-1/1", "--at", "2020-01-01T00:00:00Z")
        assert "had been given no limit" in past.output

        settings = await asyncio.to_thread(run, "chargers", "settings", "DEPOT-1", "Colour")
        assert "UnknownKey" in settings.output
        stored = await asyncio.to_thread(
            run, "chargers", "settings", "DEPOT-1", "--refresh", "--filter", "heartbeat"
        )
        assert "HeartbeatInterval" in stored.output
        assert "MeterValueSampleInterval" not in stored.output
        refused = await asyncio.to_thread(
            lambda: run("chargers", "settings", "DEPOT-1", "--set", "Colour=red", status=1)
        )
        assert "NotSupported" in refused.output
        schedule = await asyncio.to_thread(run, "chargers", "schedule", "DEPOT-1")
        assert "8.5 A" in schedule.output
        called = await asyncio.to_thread(
            run, "chargers", "call", "DEPOT-1", "DataTransfer", '{"vendorId": "maker"}'
        )
        assert json.loads(called.stdout)["data"] == "hello maker"
        await asyncio.to_thread(run, "chargers", "stop", "DEPOT-1", "--session", session_id)
        await asyncio.to_thread(run, "chargers", "reset", "DEPOT-1")
        assert {"start", "stop", "reset Soft"} <= set(station.told)
        unlock = json.dumps({"charger_id": "DEPOT-1", "connector_id": 1})
        taken = await asyncio.to_thread(answer, up, "command", "create", "UnlockConnector", unlock)
        watched = await asyncio.to_thread(run, "command", "watch", taken["command_id"])
        assert watched.output.splitlines()[-1].endswith("Unlocked")
        kept = await asyncio.to_thread(answer, up, "command", "show", taken["command_id"])
        assert kept["request"]["connector_id"] == 1
        assert kept["response"]["outcome"]["status"] == "Unlocked"
        words = ("command", "send", "DEPOT-1", "unlockconnector", '{"connector_id": 1}')
        sent = await asyncio.to_thread(answer, up, *words)
        assert sent["response"]["outcome"]["status"] == "Unlocked"
        unknown = await asyncio.to_thread(
            lambda: run("command", "send", "DEPOT-1", "GetTariffs", '{"connector_id": 1}', status=1)
        )
        assert "GetTariffs" in unknown.output
        other = await asyncio.to_thread(
            lambda: run(*words[:4], '{"charger_id": "KIOSK-1"}', status=2)
        )
        assert "KIOSK-1" in other.output
        listed = await asyncio.to_thread(run, "command", "list", "--charger", "DEPOT-1")
        assert "RemoteStart" in listed.output
        late = await asyncio.to_thread(
            lambda: run("command", "cancel", taken["command_id"], status=1)
        )
        assert "has ended" in late.output
    offline = await asyncio.to_thread(
        lambda: loadstar(up, "chargers", "unlock", "KIOSK-1", "1", status=1)
    )
    assert "offline" in offline.output


def test_watching_prints_lines_until_interrupted(up: Up) -> None:
    for words in (
        ("chargers", "watch", "--site", "kiosk"),
        ("sites", "watch", "depot"),
        ("events", "--after", "0"),
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "controlplane.cli", *words, "--json", "--address", up.address],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        assert first
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "Traceback" not in complaint


def test_tokens_come_from_a_file_and_are_blocked_and_forgotten(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    file.write_text(
        "id_token,type,state,valid_until,group_id,driver,concurrent_max,sites\n"
        "04A2B3,iso15693,accepted,2031-01-01T00:00:00+01:00,FLEET,Anna,1,depot kiosk\n"
        "DE-8AA-1,emaid,,,FLEET,,,\n",
        encoding="utf-8",
    )
    assert "2 tokens stored" in loadstar(up, "tokens", "import", str(file)).stdout
    first, second = answer(up, "tokens", "list", "--group", "fleet")["tokens"]
    assert first["type"] == "TOKEN_TYPE_ISO15693" and first["concurrent_max"] == 1
    assert (first["site_ids"], first["driver"]) == (["depot", "kiosk"], "Anna")
    assert first["valid_until_time"].startswith("2030-12-31T23:00:00")
    assert second["type"] == "TOKEN_TYPE_EMAID" and "valid_until_time" not in second
    loadstar(up, "tokens", "block", "04a2b3")
    blocked = answer(up, "tokens", "list")["tokens"][0]
    assert blocked["state"] == "TOKEN_STATE_BLOCKED"
    assert blocked["driver"] == "Anna"
    loadstar(up, "tokens", "unblock", "04a2b3")
    loadstar(up, "tokens", "delete", "04A2B3", "DE-8AA-1")
    assert answer(up, "tokens", "list")["tokens"] == []
    assert "no token" in loadstar(up, "tokens", "block", "04A2B3", status=1).output


def test_a_faulty_file_of_tokens_is_refused_with_its_line(up: Up, tmp_path: Path) -> None:
    file = tmp_path / "fleet.csv"
    for text, fault in (
        ("token\nX\n", "no id_token"),
        ("id_token,colour\nX,red\n", "colour"),
        ("id_token,type\nX,iso14443\nY,paper\n", "line 3"),
        ("id_token,valid_until\nX,soon\n", "line 2"),
        ("id_token\n", "no tokens"),
    ):
        file.write_text(text, encoding="utf-8")
        assert fault in loadstar(up, "tokens", "import", str(file), status=1).output
    assert answer(up, "tokens", "list")["tokens"] == []


def test_reservations_are_told_of(up: Up) -> None:
    assert answer(up, "reservations", "list", "--open")["reservations"] == []
    words = ("reservations", "reserve", "DEPOT-1", "--token", "X")
    assert "offline" in loadstar(up, *words, status=1).output
    assert "no reservation" in loadstar(up, "reservations", "get", "R1", status=1).output
