"""How this process runs: settings from the environment (`LOADSTAR_*`), a `.env` file or the command
line.

What the network *is* stands in `network.py`.
"""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

import msgspec
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

__all__ = ["ActorSettings", "Onboarding", "Settings"]


class Onboarding(StrEnum):
    """What happens to a charger that nobody described."""

    REFUSE = "refuse"
    """HTTP 404 at the handshake, as OCPP-J 1.6 section 3.1.2 and 2.x part 4 section 3.2 want it."""
    PENDING = "pending"
    """Let in, answered Pending and listed as a candidate until an owner accepts it into a site."""
    ALLOW = "allow"
    """Like `pending` for the chargers that an entry of `onboarding_allow` names; the others are
    refused."""


class ActorSettings(msgspec.Struct, frozen=True):
    """The durations by which actors live, in milliseconds of the clock that drives them."""

    round_interval_ms: int = 1_000
    call_timeout_ms: int = 30_000
    """How long a station may take to answer a CALL: two thirds of it where that is a limit or asks
    what flows now, until the station is known to be slower."""
    heartbeat_interval_ms: int = 300_000
    meter_interval_ms: int = 30_000
    """How often stations are told to sample a running transaction."""
    ramp_ms: int = 30_000
    """How long a vehicle may take to follow a lower limit; after that a meter above it raises an
    alarm."""
    settle_ms: int = 2_000
    """How long after a boot or reconnect a charger is left in peace before it is sent its first
    command."""
    site_report_interval_ms: int = 5_000
    token_wait_ms: int = 5_000
    """How long a driver waits for a token to be looked up; then the site's policy decides."""
    plan_interval_ms: int = 300_000
    """How often a site with a tariff plans, beside when something happens."""

    def accelerated(self, speed: float) -> Self:
        """The same real-time behaviour under a clock that runs `speed` times faster than real
        time."""
        return type(self)(
            **{name: round(getattr(self, name) * speed) for name in self.__struct_fields__}
        )


class Settings(BaseSettings):
    """Settings of one Loadstar node. Every field is also an environment variable:
    `LOADSTAR_OCPP_PORT=9000`."""

    model_config = SettingsConfigDict(
        env_prefix="LOADSTAR_", env_file=".env", extra="ignore", frozen=True
    )

    data_dir: Path = Path("loadstar-data")
    database_url: str = ""
    """SQLAlchemy URL; empty means SQLite in `data_dir`."""
    address: str = ""
    """The Ray cluster to join, `auto` or HOST:PORT; empty starts a private Ray."""
    link_host: str = ""
    """The address of this machine under which other nodes reach it; empty means the one by which
    Ray knows it."""
    cluster_token_file: Path | None = None
    """The secret that all nodes of a cluster share; see docs/cluster.md."""
    drain_s: Annotated[float, Field(ge=0, le=3_600)] = 10.0
    """Over how long a gateway that goes lets go of its sockets, where other nodes take them."""
    hosts: Annotated[int, Field(ge=0, le=64)] = 0
    """How many hosts this node has: 0 means as many as cores, at most 4, and one where there are
    two cores or fewer."""
    ocpp_host: str = "127.0.0.1"
    ocpp_port: Annotated[int, Field(ge=0, le=65_535)] = 9_000
    """0 picks a free port; `loadstar up` prints it."""
    grpc_host: str = "127.0.0.1"
    grpc_port: Annotated[int, Field(ge=0, le=65_535)] = 9_090
    files_host: str = "127.0.0.1"
    files_port: Annotated[int | None, Field(ge=0, le=65_535)] = None
    """Where stations fetch firmware and bring logs over HTTP; 0 picks a free port, None serves no
    files."""
    files_url: str = ""
    """The address under which stations reach it; empty means `http://<files_host>:<files_port>`."""
    file_max_bytes: Annotated[int, Field(ge=1_024)] = 1_073_741_824
    onboarding: Onboarding = Onboarding.REFUSE
    onboarding_allow: tuple[str, ...] = ()
    """Patterns of charger ids, such as `ACME-*`; with `ACME-*=depot/main` a charger is put on that
    circuit of that site as soon as it has booted."""
    candidates_max: Annotated[int, Field(ge=0)] = 1_000
    """How many chargers that nobody described are kept for an owner to look at."""
    candidates_per_minute: Annotated[int, Field(ge=1)] = 60
    """How many of them may come new in a minute."""
    ocpp_tls_port: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """Where stations connect over TLS (security profiles 2 and 3); 0 picks a free port, None does
    not listen."""
    ocpp_plain: bool = True
    """Whether stations may connect without TLS (security profiles 0 and 1) at all."""
    tls_certificate: Path | None = None
    """PEM file with the server's certificate and the certificates above it."""
    tls_key: Path | None = None
    """PEM file with its private key; None where `tls_certificate` holds that too."""
    tls_client_ca: Path | None = None
    """PEM file with further authorities whose client certificates are believed. The local
    authority in `ca_dir` is believed wherever it exists."""
    tls_revocations: Path | None = None
    """PEM file with the certificate revocation lists of those authorities."""
    tls_client_organisation: str = ""
    """The organisation (O) that a client certificate must name; empty takes any."""
    ca_dir: Path | None = None
    """Where `loadstar ca init` keeps the local authority; None is `ca` in `data_dir`."""
    ca_days: Annotated[int, Field(ge=1, le=3_650)] = 365
    """How long a station's certificate from the local authority is valid."""
    ca_external_dir: Path | None = None
    """Where signing requests are laid out for another signer instead: it puts `NAME.pem`, or
    `NAME.refused` with a reason, beside `NAME.csr`."""
    ca_renew_days: Annotated[int, Field(ge=0, le=3_650)] = 30
    """How long before its end a station is told to ask for the next one."""
    security_profile_min: Annotated[int, Field(ge=0, le=3)] = 0
    """The lowest OCPP security profile at which a charger may connect whose description names none
    of its own."""
    frame_max_bytes: Annotated[int, Field(ge=1_024, le=16_777_216)] = 65_536
    connections_max: Annotated[int, Field(ge=1)] = 100_000
    connections_per_address_max: Annotated[int, Field(ge=1)] = 20_000
    """Many chargers may stand behind one address: that of a site's router, or of a proxy."""
    handshakes_max: Annotated[int, Field(ge=1)] = 2_000
    """How many sockets may be open that have not finished their handshake."""
    handshakes_per_s: Annotated[float, Field(gt=0)] = 2_000.0
    """How many sockets are accepted in a second; the others wait in the kernel."""
    tls_handshakes_per_s: Annotated[float, Field(gt=0)] = 400.0
    handshake_timeout_s: Annotated[float, Field(gt=0)] = 10.0
    """How long a TLS handshake, and after it an HTTP request, may take."""
    host_credits: Annotated[int, Field(ge=1, le=100_000)] = 2_048
    """How many CALLs of stations a host may have unanswered from one gateway; the others wait at
    the gateway, what matters most in front."""
    shed_after_s: Annotated[float, Field(gt=0)] = 15.0
    """How long a heartbeat or a periodic sample waits for a host that is behind before it gives
    way."""
    spare_host: bool = True
    """Whether a process waits, with everything loaded, to take the place of a host that dies: it
    saves a second or two, and costs some 100 MB of a node's memory."""
    lease_s: Annotated[float, Field(gt=0)] = 10.0
    commit_interval_ms: Annotated[int, Field(ge=0, le=1_000)] = 3
    round_interval_s: Annotated[float, Field(gt=0)] = 1.0
    call_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    meter_interval_s: Annotated[float, Field(gt=0)] = 30.0
    ramp_s: Annotated[float, Field(gt=0)] = 30.0
    """How long a vehicle may take to follow a lower limit; see `ActorSettings.ramp_ms`."""
    site_report_interval_s: Annotated[float, Field(gt=0)] = 5.0
    plan_interval_s: Annotated[float, Field(gt=0)] = 300.0
    """How often a site with a tariff plans its charging, beside when something happens."""
    clock_speed: Annotated[float, Field(ge=1, le=10_000)] = 1.0
    """Above 1 only for simulations: Loadstar's clock runs this many times faster than the
    world's."""
    clock_start: str = ""
    """RFC 3339 instant at which an accelerated clock starts; empty means now."""
    clock_origin_s: Annotated[float, Field(ge=0)] = 0.0
    """The instant of the world, in seconds since the Unix epoch, at which an accelerated clock
    showed `clock_start`; 0 means when this node starts. Processes that are given the same three
    values agree on the instant."""
    clock_offset_file: Path | None = None
    """Only for chaos: the file by which this node's clock is set wrong (`clock.SetClock`)."""
    retention_samples_days: Annotated[int, Field(ge=0)] = 400
    """How many days meter samples are kept; 0 is for ever, here and below."""
    retention_decisions_days: Annotated[int, Field(ge=0)] = 400
    """How long the limits that were given are kept, and why."""
    retention_journal_days: Annotated[int, Field(ge=0)] = 400
    retention_security_events_days: Annotated[int, Field(ge=0)] = 400
    retention_results_days: Annotated[int, Field(ge=0)] = 1
    """How long a repeated request id is given its first answer again."""
    retention_commands_days: Annotated[int, Field(ge=0)] = 30
    """Commands that ended."""
    retention_sessions_days: Annotated[int, Field(ge=0)] = 0
    """How long ended sessions are kept."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    """ISO 4217 code of the money in which drivers are told costs; chargers are to be set to the
    same."""
    log_level: str = "INFO"
    otlp_endpoint: str = ""
    """OpenTelemetry collector, such as `http://localhost:4317`; empty exports nothing."""
    otlp_service_name: str = "loadstar"
    """`service.name` of what is exported there."""
    trace_ratio: Annotated[float, Field(ge=0, le=1)] = 0.001
    """The part of stations' messages and of gRPC calls without a `traceparent` that is traced."""
    trace_chargers: tuple[str, ...] = ()
    """Patterns of charger ids, such as `ACME-*`, of which every message is traced."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int | None, Field(ge=0, le=65_535)] = None
    """Where Prometheus scrapes the whole node (`/metrics`); 0 picks a free port, None serves
    nothing."""

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'loadstar.db').resolve()}"

    @property
    def host_count(self) -> int:
        """How many hosts this node has."""
        cores = len(os.sched_getaffinity(0))
        return self.hosts or (1 if cores <= 2 else min(cores, 4))

    @property
    def ca(self) -> Path:
        """The folder of the local authority."""
        return self.ca_dir or self.data_dir / "ca"

    @property
    def actors(self) -> ActorSettings:
        """What actors are given, already in the time of their clock."""
        return ActorSettings(
            round_interval_ms=round(self.round_interval_s * 1_000),
            call_timeout_ms=round(self.call_timeout_s * 1_000),
            meter_interval_ms=round(self.meter_interval_s * 1_000),
            ramp_ms=round(self.ramp_s * 1_000),
            site_report_interval_ms=round(self.site_report_interval_s * 1_000),
            plan_interval_ms=round(self.plan_interval_s * 1_000),
        ).accelerated(self.clock_speed)
