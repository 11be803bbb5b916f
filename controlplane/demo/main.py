"""Runs the demonstration: Loadstar, two sites in processes of their own, the view, the verdict.

Invariant: whatever happens, nothing that was started here outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console
from rich.live import Live

from controlplane.demo import children
from controlplane.demo.audit import Audit, StoredSession
from controlplane.demo.children import Child
from controlplane.demo.link import Link
from controlplane.demo.reports import SessionReport, SiteReport
from controlplane.demo.scenario import Scenario, make_scenario
from controlplane.demo.summary import Summary
from controlplane.demo.view import Scene, line, picture, render, render_summary
from controlplane.errors import LoadstarError, TimedOut
from controlplane.network_yaml import dump_network
from controlplane.runtime.clock import AcceleratedClock
from controlplane.units import iso_from_ms

__all__ = ["run_demo"]

READY_TIMEOUT_S = 90.0
COMMISSIONING_S = 4.0
"""What the stations need to connect and to be given their default limits."""
CLOSE_TIMEOUT_S = 60.0
"""From the end of the day until every site has said all it had to say."""
BOOKS_TIMEOUT_S = 20.0
LOADSTAR_SETTINGS = {
    "LOADSTAR_LOG_LEVEL": "WARNING",
    # Real seconds. Meters report, vehicles obey and sites tell their feeder within a second here,
    # so Loadstar need not be as patient as with the field's half minutes.
    "LOADSTAR_METER_INTERVAL_S": "1",
    "LOADSTAR_RAMP_S": "1",
    "LOADSTAR_SITE_REPORT_INTERVAL_S": "1",
}
FRAME_S, LINE_S = 0.25, 5.0
PICTURE_AT = 0.16
"""The part of the day at which the recorded picture is taken."""
PICTURE_SIZE = (100, 36)


@dataclass(frozen=True)
class Options:
    """How to run the demonstration; see `run_demo`."""

    duration_s: float
    headless: bool
    json_path: str | None
    kill_host_every_s: float | None
    seed: int
    record_svg: str | None


def run_demo(
    *,
    duration_s: float = 180,
    headless: bool = False,
    json_path: str | None = None,
    kill_host_every_s: float | None = None,
    seed: int = 1,
    record_svg: str | None = None,
) -> int:
    """Run the demonstration and return the exit code: 0 where nothing was violated, 1 where
    something was, 2 where it could not run, 130 after Ctrl-C.

    Args:
        duration_s: real seconds that the day takes, 10 to 86,400.
        headless: no live view.
        json_path: where the summary goes as JSON; `-` is standard output, which then carries
            nothing else.
        kill_host_every_s: kill Loadstar's host with SIGKILL at this interval.
        seed: of the vehicles, and of who parks where.
        record_svg: where a picture of the view goes.
    """
    options = Options(duration_s, headless, json_path, kill_host_every_s, seed, record_svg)
    console = Console(stderr=json_path == "-")
    try:
        summary = asyncio.run(_run(options, console))
    except (KeyboardInterrupt, asyncio.CancelledError):
        console.print("stopped")
        return 130
    except LoadstarError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 2
    console.print(render_summary(summary))
    if json_path is not None:
        document = json.dumps(msgspec.to_builtins(summary), indent=2)
        if json_path == "-":
            sys.stdout.write(document + "\n")
        else:
            Path(json_path).write_text(document + "\n", encoding="utf-8")
    return 1 if summary.violations else 0


async def _run(options: Options, console: Console) -> Summary:
    task = asyncio.current_task()
    assert task is not None
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, task.cancel)
    scenario = make_scenario(duration_s=options.duration_s, seed=options.seed)
    folder = Path(tempfile.mkdtemp(prefix="loadstar-demo-"))
    demo = Demo(options, scenario, console, folder)
    clean = False
    try:
        summary = await demo.run()
        clean = not summary.violations
    except asyncio.CancelledError:
        clean = True
        raise
    else:
        return summary
    finally:
        await asyncio.shield(demo.stop())
        if not clean:
            console.print(f"Logs and data are kept in {folder}", highlight=False, soft_wrap=True)
        else:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Demo:
    """One demonstration."""

    options: Options
    scenario: Scenario
    console: Console
    folder: Path
    started_s: float = field(default_factory=time.time)
    first_power_s: float = -1.0

    def __post_init__(self) -> None:
        self.clock = AcceleratedClock(
            start_ms=self.scenario.clock_start_ms,
            speed=self.scenario.speed,
            origin_s=self.started_s,
        )
        self.scene = Scene(self.scenario, Audit(self.scenario), now_ms=self.clock.now_ms())
        self.ready_file = self.folder / "ready.json"
        self._children: list[Child] = []
        self._recorded = False
        self._late_ms = 0

    # --- processes --------------------------------------------------------------------------------

    async def run(self) -> Summary:
        """The whole day.

        Raises:
            LoadstarError: a process did not start, or ended before its time.
        """
        self.scene.note = "Loadstar starts"
        async with self._showing() as view:
            loadstar = await self._start_loadstar()
            ready = await self._ready(loadstar)
            self._put_off()
            sites = [
                await self._start_site(site.id, ready["ocpp_port"])
                for site in self.scenario.network.sites
            ]
            address = f"127.0.0.1:{ready['grpc_port']}"
            async with Link(address, self.scenario, self.clock) as link:
                await self._day(loadstar, sites, link, view)
                return self._summary(await self._books(link), link)

    async def _start_loadstar(self) -> Child:
        network_file = self.folder / "network.yaml"
        network_file.write_text(dump_network(self.scenario.network), encoding="utf-8")
        command = [
            *(sys.executable, "-m", "controlplane.cli", "up"),
            *("--network", str(network_file)),
            *("--data-dir", str(self.folder / "data")),
            *("--ocpp-port", "0", "--grpc-port", "0"),
            *("--ready-file", str(self.ready_file)),
            *("--clock-speed", repr(self.scenario.speed)),
            *("--clock-start", iso_from_ms(self.scenario.clock_start_ms)),
            *("--clock-origin", repr(self.started_s)),
        ]
        # Whatever is set for a real Loadstar on this machine must not reach this one.
        child = await children.start(
            "loadstar up",
            command,
            log=self.folder / "loadstar.log",
            folder=self.folder,
            without="LOADSTAR_",
            environment=LOADSTAR_SETTINGS,
        )
        self._children.append(child)
        return child

    async def _ready(self, loadstar: Child) -> dict[str, Any]:
        """What the ready file says, as soon as it is there."""
        deadline_s = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline_s:
            if not loadstar.running:
                raise loadstar.failure(f"ended with code {loadstar.process.returncode}")
            if (ready := self._read_ready()) is not None:
                return ready
            await asyncio.sleep(0.1)
        raise loadstar.failure(f"was not ready after {READY_TIMEOUT_S:g} s")

    def _put_off(self) -> None:
        """Begin the day later where Loadstar took longer to start than it was given."""
        commissioning_ms = round(COMMISSIONING_S * self.scenario.speed * 1_000)
        late_ms = self.clock.now_ms() + commissioning_ms - self.scenario.start_ms
        self._late_ms = max(0, late_ms)
        self.scenario = make_scenario(
            duration_s=self.options.duration_s, seed=self.options.seed, late_ms=self._late_ms
        )
        self.scene = Scene(self.scenario, Audit(self.scenario), now_ms=self.clock.now_ms())

    def _read_ready(self) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError):
            ready = json.loads(self.ready_file.read_text(encoding="utf-8"))
            if isinstance(ready, dict):
                return ready
        return None

    async def _start_site(self, site_id: str, ocpp_port: int) -> Child:
        command = [
            *(sys.executable, "-m", "controlplane.demo.grounds"),
            *("--site", site_id),
            *("--url", f"ws://127.0.0.1:{ocpp_port}/ocpp"),
            *("--duration", repr(self.options.duration_s)),
            *("--seed", str(self.options.seed)),
            *("--late-ms", str(self._late_ms)),
            *("--origin", repr(self.started_s)),
        ]
        log = self.folder / f"{site_id}.log"
        child = await children.start(f"site {site_id}", command, log=log, reports=True)
        self._children.append(child)
        return child

    async def stop(self) -> None:
        """End every process, the sites first."""
        for child in reversed(self._children):
            await child.stop()
        self._children.clear()

    # --- the day ----------------------------------------------------------------------------------

    async def _day(
        self, loadstar: Child, sites: list[Child], link: Link, view: asyncio.Task[None]
    ) -> None:
        """Watch until every site is done."""
        companions: list[asyncio.Future[Any]] = [
            asyncio.create_task(link.report_buildings()),
            asyncio.create_task(link.tell_needs(self._sessions)),
            asyncio.create_task(self._kill_hosts()),
            asyncio.create_task(_fails_when_ended(loadstar)),
        ]
        watch: asyncio.Future[Any] = asyncio.gather(*(self._watch(site) for site in sites))
        left_s = (self.scenario.end_ms - self.clock.now_ms()) / 1_000 / self.scenario.speed
        try:
            done, _ = await asyncio.wait(
                {watch, view, *companions},
                timeout=max(0.0, left_s) + CLOSE_TIMEOUT_S,
                return_when=asyncio.FIRST_COMPLETED,
            )
            if not done:
                raise TimedOut("the sites did not come to an end", reason="DEMO_TIMED_OUT")
            for task in done:
                await task
        finally:
            for task in (watch, *companions):
                task.cancel()
            await asyncio.gather(watch, *companions, return_exceptions=True)

    async def _watch(self, site: Child) -> None:
        """Take in a site's reports until its last."""
        assert site.process.stdout is not None
        decoder = msgspec.json.Decoder(SiteReport)
        while row := await site.process.stdout.readline():
            report = decoder.decode(row)
            self.scene.reports[report.site_id] = report
            self.scene.audit.observe(report)
            flows = any(current_a > 0 for outlet in report.outlets for current_a in outlet.lines_a)
            if self.first_power_s < 0 and flows:
                self.first_power_s = time.time() - self.started_s
            if report.done:
                return
        await site.process.wait()
        raise site.failure(f"ended early, with code {site.process.returncode}")

    def _sessions(self) -> list[SessionReport]:
        return [session for report in self.scene.reports.values() for session in report.sessions]

    async def _kill_hosts(self) -> None:
        """Kill Loadstar's hosts now and then, if that is wanted; return never."""
        interval_s = self.options.kill_host_every_s
        if interval_s is None:
            await asyncio.Event().wait()
            return
        while True:
            await asyncio.sleep(interval_s)
            ready = self._read_ready() or {}
            for pid in ready.get("pids", {}).get("host", []):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.scene.host_kills += 1

    async def _books(self, link: Link) -> list[StoredSession] | None:
        """Loadstar's books once they agree with the stations', or as they stand when time is up;
        None where they could not be read."""
        self.scene.note = "comparing the books"
        stored: list[StoredSession] | None = None
        deadline_s = time.monotonic() + BOOKS_TIMEOUT_S
        while time.monotonic() < deadline_s:
            newest = await link.stored_sessions()
            if newest is not None:
                stored = newest
                if not Audit.reconcile(self._sessions(), stored):
                    break
            await asyncio.sleep(0.5)
        return stored

    def _summary(self, stored: list[StoredSession] | None, link: Link) -> Summary:
        audit, sessions = self.scene.audit, self._sessions()
        verdicts = audit.verdicts(sessions)
        counted = [verdict for verdict in verdicts if verdict.visit.leaves_in_time]
        unread = [f"Loadstar's books were not read: {link.last_failure}"] * (stored is None)
        stored = stored or []
        differences = unread or Audit.reconcile(sessions, stored)
        refused = sum(report.refused for report in self.scene.reports.values())
        backlog = sum(report.backlog for report in self.scene.reports.values())
        unsaid = [f"{refused} messages refused"] * bool(refused)
        unsaid += [f"{backlog} messages never answered"] * bool(backlog)
        held_wh = {
            (session.charger_id, session.transaction_id): session.energy_wh for session in stored
        }
        seen = {session.id_token for session in sessions}
        return Summary(
            delivered_wh=sum(session.delivered_wh for session in sessions),
            requested_wh=sum(v.visit.requested_wh for v in verdicts if v.visit.id_token in seen),
            deadlines_met=sum(verdict.met for verdict in counted),
            deadlines_total=len(counted),
            sessions=len(sessions),
            max_row_utilisation=round(audit.max_row_utilisation, 4),
            violations=audit.overloads + len(differences) + refused + backlog,
            messages=self.scene.messages,
            worst_row=audit.worst,
            overload_ticks=audit.overloads,
            audit_ticks=audit.ticks,
            unaccounted_wh=sum(
                abs(
                    session.delivered_wh
                    - held_wh.get((session.charger_id, session.transaction_id or ""), 0)
                )
                for session in sessions
            ),
            first_power_s=round(self.first_power_s, 1),
            host_kills=self.scene.host_kills,
            connections=sum(report.connections for report in self.scene.reports.values()),
            duration_s=self.options.duration_s,
            clock_speed=self.scenario.speed,
            seed=self.options.seed,
            missed=tuple(
                f"{verdict.visit.id_token} {verdict.delivered_wh / 1e3:.1f} of "
                f"{min(verdict.visit.requested_wh, verdict.visit.could_take_wh) / 1e3:.1f} kWh"
                for verdict in counted
                if not verdict.met
            ),
            faults=(*differences, *unsaid, *audit.faults),
        )

    # --- the view ---------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _showing(self) -> AsyncIterator[asyncio.Task[None]]:
        """Keep the view fresh while the body runs."""
        live = self.console.is_terminal and not self.options.headless
        task = asyncio.create_task(self._show_live() if live else self._show_lines())
        try:
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _show_live(self) -> None:
        with Live(console=self.console, screen=True, auto_refresh=False) as live:
            while True:
                self._advance()
                size = self.console.size
                live.update(render(self.scene, width=size.width, height=size.height), refresh=True)
                await asyncio.sleep(FRAME_S)

    async def _show_lines(self) -> None:
        last_s = 0.0
        while True:
            self._advance()
            if time.monotonic() - last_s >= LINE_S:
                last_s = time.monotonic()
                self.console.print(line(self.scene), highlight=False, soft_wrap=True)
            await asyncio.sleep(FRAME_S)

    def _advance(self) -> None:
        self.scene.now_ms = min(self.clock.now_ms(), self.scenario.end_ms)
        if not self.options.record_svg or self._recorded:
            return
        # Before the sites report, the day may yet be put off.
        if self.scene.reports and self.scene.progress >= PICTURE_AT:
            self._recorded = True
            width, height = PICTURE_SIZE
            drawn = picture(self.scene, width=width, height=height)
            Path(self.options.record_svg).write_text(drawn, encoding="utf-8")


async def _fails_when_ended(loadstar: Child) -> None:
    code = await loadstar.process.wait()
    raise loadstar.failure(f"ended early, with code {code}")
