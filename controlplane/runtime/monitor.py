"""One place where a node is measured: collects what its processes count, answers Prometheus and
pushes to an OpenTelemetry collector.

Invariant: a process that does not answer costs the others nothing. It is left out, in time, and
`loadstar.process.up` says so."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from controlplane.config import Settings
from controlplane.runtime import catalogue
from controlplane.runtime.exposition import otlp_data, prometheus_text
from controlplane.runtime.metrics import Meter, Reading
from controlplane.runtime.telemetry import log, resource_of
from controlplane.runtime.vital_signs import VitalSigns

if TYPE_CHECKING:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

__all__ = ["SUPERVISOR", "Measured", "Monitor"]

SUPERVISOR: Final = "supervisor"
_ANSWER_TIMEOUT_S: Final = 2.0
_PUSH_INTERVAL_S: Final = 15.0
_PUSH_TIMEOUT_S: Final = 2.0


class Measured(Protocol):
    """A process of the node, here or elsewhere."""

    async def readings(self) -> list[Reading]:
        """What it counts. Raises ConnectionError or TimeoutError where it does not answer."""


class Monitor:
    """Measures one node.

    Args:
        processes: the node's processes at this moment, by lasting names.
        replaced: how many of them were replaced so far.
        own: what else this process measures.
    """

    def __init__(
        self,
        settings: Settings,
        processes: Callable[[], Mapping[str, Measured]],
        *,
        replaced: Callable[[], int],
        own: list[Meter],
    ) -> None:
        self._settings = settings
        self._processes = processes
        self._signs = VitalSigns()
        self._own = [_about_the_node(replaced), *own]
        self._started_ns = time.time_ns()
        self._runner: web.AppRunner | None = None
        self._pushing: asyncio.Task[None] | None = None
        self.port: int | None = None
        """Where `/metrics` is served; None where it is not."""

    async def start(self) -> None:
        """Serve and push as the settings say.

        Raises:
            OSError: the port is taken.
        """
        settings = self._settings
        if settings.metrics_port is not None:
            app = web.Application()
            app.router.add_get("/metrics", self._scraped)
            self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
            await self._runner.setup()
            await web.TCPSite(self._runner, settings.metrics_host, settings.metrics_port).start()
            self.port = self._runner.addresses[0][1]
            log.info("metrics_listening", host=settings.metrics_host, port=self.port)
        if settings.otlp_endpoint:
            self._pushing = asyncio.create_task(self._push_forever())

    async def stop(self) -> None:
        """Push what is left; serve no more."""
        if self._pushing is not None:
            self._pushing.cancel()
            await asyncio.gather(self._pushing, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()
        self._signs.close()

    async def collect(self) -> dict[str, list[Reading]]:
        """The readings of every process, in at most two seconds."""
        processes = self._processes()
        answers = await asyncio.gather(*(_asked(process) for process in processes.values()))
        own = [*self._signs.read(), *(each for meter in self._own for each in meter.read())]
        node = {SUPERVISOR: [_up(True), *own]}
        for name, answer in zip(processes, answers, strict=True):
            node[name] = [_up(answer is not None), *(answer or ())]
        return node

    async def _scraped(self, request: web.Request) -> web.Response:
        accept = request.headers.get("Accept", "")
        text, content_type = prometheus_text(await self.collect(), accept)
        return web.Response(body=text, headers={"Content-Type": content_type})

    async def _push_forever(self) -> None:
        exporter = await asyncio.to_thread(_exporter, self._settings.otlp_endpoint)
        try:
            while True:
                await asyncio.sleep(_PUSH_INTERVAL_S)
                await self._push(exporter)
        finally:
            await self._push(exporter)
            await asyncio.to_thread(exporter.shutdown, _PUSH_TIMEOUT_S * 1_000)

    async def _push(self, exporter: OTLPMetricExporter) -> None:
        data = otlp_data(
            await self.collect(),
            resource_of(self._settings),
            started_ns=self._started_ns,
            now_ns=time.time_ns(),
        )
        # Says itself in the log where the collector is out of reach; the next push has all of it.
        await asyncio.to_thread(exporter.export, data)


def _about_the_node(replaced: Callable[[], int]) -> Meter:
    import controlplane  # noqa: PLC0415 - has a version once the package is imported

    meter = Meter()
    meter.watch(catalogue.BUILD_INFO, lambda: {controlplane.__version__: 1})
    meter.watch(catalogue.REPLACED, replaced)
    return meter


async def _asked(process: Measured) -> list[Reading] | None:
    try:
        async with asyncio.timeout(_ANSWER_TIMEOUT_S):
            return await process.readings()
    except Exception as error:
        # Whatever it was, it is that process' alone; one that is just being started may say
        # anything.
        log.warning("process_not_measured", error=f"{type(error).__name__}: {error}"[:255])
        return None


def _up(answered: bool) -> Reading:
    return Reading(catalogue.PROCESS_UP.name, {(): int(answered)})


def _exporter(endpoint: str) -> OTLPMetricExporter:
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import (  # noqa: PLC0415
        OTLPMetricExporter,
    )

    return OTLPMetricExporter(
        endpoint=endpoint, insecure=endpoint.startswith("http://"), timeout=_PUSH_TIMEOUT_S
    )
