"""`loadstar up`: runs a node and its gRPC server until it is told to stop.

Everything else that Loadstar can do is reached through what is started here."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from controlplane.cli.connection import fail

if TYPE_CHECKING:
    from controlplane.api.server import ApiServer
    from controlplane.config import Settings
    from controlplane.network import NetworkConfig
    from controlplane.runtime.monitor import Monitor
    from controlplane.runtime.node import Node

__all__ = ["up"]

_PROCESSES_CHECKED_S = 0.25
_EXIT_RAY_LOST = 72
_RAY_LOST_WORDS = (
    "Loadstar ends: Ray is gone from this machine, and without it nothing can be started. "
    "A service manager starts both anew."
)
_ABANDON_TIMEOUT_S = 10.0
_PLAIN_WARNING = (
    "  take care            chargers without a password or TLS may connect from other machines;\n"
    "                       see --security-profile-min and docs/security.md\n"
)


def up(
    network_file: Annotated[
        Path | None,
        typer.Option("--network", help="Bring this description into force first.", dir_okay=False),
    ] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Where data and logs are kept.")] = None,
    database_url: Annotated[
        str | None, typer.Option(help="PostgreSQL instead of SQLite in the data directory.")
    ] = None,
    ocpp_host: Annotated[str | None, typer.Option(help="Where chargers connect.")] = None,
    ocpp_port: Annotated[int | None, typer.Option(help="0 picks a free one.")] = None,
    ocpp_tls_port: Annotated[
        int | None,
        typer.Option(help="Where chargers connect over TLS (security profiles 2 and 3)."),
    ] = None,
    ocpp_plain: Annotated[
        bool | None,
        typer.Option(
            "--ocpp-plain/--no-ocpp-plain", help="Whether chargers may connect without TLS."
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM of the server's certificate chain.")
    ] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM of its key.")] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(help="PEM of authorities of client certificates, besides `loadstar ca`."),
    ] = None,
    tls_revocations: Annotated[
        Path | None, typer.Option(help="PEM of their revocation lists.")
    ] = None,
    ca_dir: Annotated[
        Path | None, typer.Option(help="Where `loadstar ca init` put the authority.")
    ] = None,
    security_profile_min: Annotated[
        int | None, typer.Option(help="The lowest security profile for chargers, 0 to 3.")
    ] = None,
    files_host: Annotated[
        str | None, typer.Option(help="Where chargers fetch firmware and bring logs.")
    ] = None,
    files_port: Annotated[
        int | None, typer.Option(help="Serve files over HTTP; 0 picks a free one.")
    ] = None,
    files_url: Annotated[
        str | None, typer.Option(help="The address of files as chargers see it.")
    ] = None,
    metrics_host: Annotated[
        str | None, typer.Option(help="Where Prometheus may scrape from.")
    ] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Serve /metrics of the whole node; 0 picks a free one.")
    ] = None,
    grpc_host: Annotated[str | None, typer.Option(help="Where programs connect.")] = None,
    grpc_port: Annotated[int | None, typer.Option(help="0 picks a free one.")] = None,
    onboarding: Annotated[
        str | None,
        typer.Option(help="A charger that nobody described: refuse, pending or allow."),
    ] = None,
    onboarding_allow: Annotated[
        list[str] | None,
        typer.Option(help="Ids that may come with allow, such as ACME-* or ACME-*=depot/main."),
    ] = None,
    hosts: Annotated[
        int | None,
        typer.Option(help="Processes that hold the state; 0 picks a number by cores.", min=0),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Join the Ray cluster there, auto or HOST:PORT; see docs/cluster.md."),
    ] = None,
    link_host: Annotated[
        str | None, typer.Option(help="This machine's address, as other nodes reach it.")
    ] = None,
    cluster_token_file: Annotated[
        Path | None, typer.Option(help="The secret that all nodes of the cluster share.")
    ] = None,
    one_process: Annotated[
        bool, typer.Option("--one-process", help="Without Ray: everything in this process.")
    ] = False,
    ready_file: Annotated[
        Path | None,
        typer.Option(help="Write ports and process ids here, as JSON, once it serves."),
    ] = None,
    clock_speed: Annotated[float | None, typer.Option(hidden=True)] = None,
    clock_start: Annotated[str | None, typer.Option(hidden=True)] = None,
    clock_origin: Annotated[float | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run Loadstar on this machine until Ctrl-C or SIGTERM; SIGHUP replaces its hosts by new
    processes.

    Needs no set-up: a private Ray, SQLite in the data directory. Every option is also a variable of
    the environment, such as LOADSTAR_OCPP_PORT.

    \b
    loadstar up
    loadstar up --network network.yaml --ocpp-host 0.0.0.0
    loadstar up --database-url postgresql://loadstar@db/loadstar
    loadstar up --address auto --cluster-token-file token --database-url postgresql://...

    Chargers prove themselves as docs/security.md says; further limits are variables, such as
    LOADSTAR_HANDSHAKE_TIMEOUT_S and LOADSTAR_CONNECTIONS_PER_ADDRESS_MAX.

    gRPC has no authentication: let it listen only where you trust whoever reaches it.
    """
    from controlplane.cli.network import described

    settings = _settings(
        data_dir=data_dir,
        database_url=database_url,
        ocpp_host=ocpp_host,
        ocpp_port=ocpp_port,
        ocpp_tls_port=ocpp_tls_port,
        ocpp_plain=ocpp_plain,
        tls_certificate=tls_certificate,
        tls_key=tls_key,
        tls_client_ca=tls_client_ca,
        tls_revocations=tls_revocations,
        ca_dir=ca_dir,
        security_profile_min=security_profile_min,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        grpc_host=grpc_host,
        grpc_port=grpc_port,
        files_host=files_host,
        files_port=files_port,
        files_url=files_url,
        hosts=hosts,
        address=address,
        link_host=link_host,
        cluster_token_file=cluster_token_file,
        onboarding=onboarding,
        onboarding_allow=tuple(onboarding_allow) if onboarding_allow else None,
        clock_speed=clock_speed,
        clock_start=clock_start,
        clock_origin_s=clock_origin,
    )
    network = described(network_file) if network_file else None
    from controlplane.errors import LoadstarError

    try:
        _run(settings, network, one_process=one_process, ready_file=ready_file)
    except LoadstarError as error:
        fail(error.message)
    except OSError as error:
        fail(f"Loadstar cannot start: {error or 'its processes took too long'}")


def _settings(**given: Any) -> Settings:
    from pydantic import ValidationError

    from controlplane.config import Settings
    from controlplane.network_yaml import violations

    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except ValidationError as error:
        faults = "\n".join(
            f"  {place} (LOADSTAR_{place.upper()}): {fault}" for place, fault in violations(error)
        )
        fail(f"Loadstar cannot start with these settings:\n{faults}")


def _run(
    settings: Settings, network: NetworkConfig | None, *, one_process: bool, ready_file: Path | None
) -> None:
    import uvloop

    from controlplane.runtime.telemetry import configure_logging

    if one_process:
        configure_logging(settings, "supervisor", to_file=True)
    uvloop.run(_serve(settings, network, one_process=one_process, ready_file=ready_file))


async def _serve(
    settings: Settings, network: NetworkConfig | None, *, one_process: bool, ready_file: Path | None
) -> None:
    from controlplane.api.server import serve
    from controlplane.integrations.modbus.polling import MeterPolling
    from controlplane.runtime.monitor import Monitor
    from controlplane.runtime.node import start_node

    stopping = asyncio.Event()
    _stop_on_signals(stopping)
    node = await start_node(settings, transport="local" if one_process else "ray")
    if not stopping.is_set():
        # Ray has put handlers of its own in the place of ours.
        _stop_on_signals(stopping)
    try:
        api = await serve(settings, node.client, node.reader, clock=node.clock, node=node)
        meters = MeterPolling(node.client, node.reader, node.clock)
        monitor = Monitor(
            settings,
            node.measured,
            replaced=lambda: node.host_restarts,
            own=[*api.meters, meters.meter],
        )
        try:
            await monitor.start()
            changes = await api.apply(network) if network else []
            meters.start()
            _greet(settings, node, api, monitor, [change.action for change in changes])
            reporter = asyncio.create_task(_report(node, api, monitor, ready_file))
            _roll_on_hangup(node)
            await _told_to_stop(stopping, node, ready_file)
            reporter.cancel()
            typer.echo("Loadstar stops.")
            await _drain(node)
        finally:
            await meters.stop()
            await monitor.stop()
            await api.stop()
    finally:
        await node.stop()


async def _told_to_stop(stopping: asyncio.Event, node: Node, ready_file: Path | None) -> None:
    """Returns when this process is told to stop. Where Ray is gone from this machine it ends here
    and now, since nothing can be ended in order any more."""
    stop, lost = asyncio.create_task(stopping.wait()), asyncio.create_task(node.lost_ray())
    await asyncio.wait((stop, lost), return_when=asyncio.FIRST_COMPLETED)
    lost.cancel()
    if not stop.done():
        typer.secho(_RAY_LOST_WORDS, err=True, fg="red")
        await _abandon(node)
        if ready_file is not None:
            ready_file.unlink(missing_ok=True)  # noqa: ASYNC240 - one entry of a folder
        os._exit(_EXIT_RAY_LOST)


async def _abandon(node: Node) -> None:
    from controlplane.errors import LoadstarError

    try:
        async with asyncio.timeout(_ABANDON_TIMEOUT_S):
            await node.abandon()
    except (LoadstarError, OSError) as error:
        typer.echo(f"Its shards are free when their lease has run out: {error}", err=True)


async def _drain(node: Node) -> None:
    from controlplane.errors import LoadstarError

    try:
        await node.drain()
    except (LoadstarError, OSError) as error:
        typer.echo(f"Not everything was handed over: {error}", err=True)


async def _roll(node: Node) -> None:
    from controlplane.errors import LoadstarError

    try:
        await node.roll()
    except (LoadstarError, OSError) as error:
        typer.echo(f"Not every host was replaced: {error}", err=True)
    else:
        typer.echo("Every host was replaced.")


def _roll_on_hangup(node: Node) -> None:
    """Have SIGHUP replace the hosts by new processes."""
    loop = asyncio.get_running_loop()
    rolling: set[asyncio.Task[None]] = set()

    def roll() -> None:
        task = loop.create_task(_roll(node))
        rolling.add(task)
        task.add_done_callback(rolling.discard)

    loop.add_signal_handler(signal.SIGHUP, roll)


def _stop_on_signals(stopping: asyncio.Event) -> None:
    """Have the first SIGINT or SIGTERM set `stopping`; the second one ends this process at once."""
    loop = asyncio.get_running_loop()

    def stop() -> None:
        stopping.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.remove_signal_handler(number)
        loop.add_signal_handler(number, stop)


def _greet(
    settings: Settings, node: Node, api: ApiServer, monitor: Monitor, actions: list[str]
) -> None:
    import controlplane

    applied = ", ".join(
        f"{actions.count(action)} {action}"
        for action in ("created", "updated", "unchanged")
        if action in actions
    )
    doors = [("ws", node.ocpp_port), ("wss", node.ocpp_tls_port)]
    urls = [f"{scheme}://{settings.ocpp_host}:{port}" for scheme, port in doors if port]
    metrics = f"http://{settings.metrics_host}:{monitor.port}/metrics"
    typer.echo(
        f"Loadstar {controlplane.__version__} is ready.\n"
        + "".join(f"  chargers connect to  {url}/ocpp/<charger id>\n" for url in urls)
        + f"  gRPC listens on      {settings.grpc_host}:{api.port}\n"
        + (f"  files are served at  {api.files_url}\n" if api.files_url else "")
        + (f"  metrics are at       {metrics}\n" if monitor.port is not None else "")
        + f"  data is kept in      {settings.data_dir.resolve()}\n"
        + (f"  network              feeders and sites: {applied}\n" if applied else "")
        + (_PLAIN_WARNING if node.ocpp_port and _open_to_all(settings) else "")
        + "Ctrl-C stops it."
    )


def _open_to_all(settings: Settings) -> bool:
    """Whether the lowest security profile is in force on more than this machine."""
    own = settings.ocpp_host == "localhost" or settings.ocpp_host.startswith(("127.", "::1"))
    return settings.security_profile_min == 0 and not own


async def _report(node: Node, api: ApiServer, monitor: Monitor, ready_file: Path | None) -> None:
    """Keep the ready file true: a host that was replaced has another process id."""
    if ready_file is None:
        return
    written = ""
    try:
        while True:
            ready = json.dumps(
                {
                    "ocpp_port": node.ocpp_port,
                    "ocpp_tls_port": node.ocpp_tls_port,
                    "grpc_port": api.port,
                    "metrics_port": monitor.port,
                    "pids": node.processes(),
                }
            )
            if ready != written:
                # Renamed into place: whoever waits for it never reads half of it.
                partial = ready_file.with_name(f".{ready_file.name}.{os.getpid()}")
                partial.write_text(ready, encoding="utf-8")
                partial.replace(ready_file)
                written = ready
            await asyncio.sleep(_PROCESSES_CHECKED_S)
    finally:
        ready_file.unlink(missing_ok=True)  # noqa: ASYNC240 - one entry of a folder
