"""How this process runs: settings from the environment (`LOADSTAR_*`), a `.env` file or the command
line.

What the network *is* stands in `network.py`.
"""

from __future__ import annotations

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
    """Accepted and answered Pending until an owner assigns it to a site."""


class ActorSettings(msgspec.Struct, frozen=True):
    """The durations by which actors live, in milliseconds of the clock that drives them."""

    round_interval_ms: int = 1_000
    call_timeout_ms: int = 30_000
    """How long a station may take to answer a CALL."""
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
    frame_max_bytes: Annotated[int, Field(ge=1_024, le=16_777_216)] = 65_536
    connections_max: Annotated[int, Field(ge=1)] = 100_000
    lease_s: Annotated[float, Field(gt=0)] = 10.0
    commit_interval_ms: Annotated[int, Field(ge=0, le=1_000)] = 3
    round_interval_s: Annotated[float, Field(gt=0)] = 1.0
    call_timeout_s: Annotated[float, Field(gt=0)] = 30.0
    meter_interval_s: Annotated[float, Field(gt=0)] = 30.0
    ramp_s: Annotated[float, Field(gt=0)] = 30.0
    """How long a vehicle may take to follow a lower limit; see `ActorSettings.ramp_ms`."""
    site_report_interval_s: Annotated[float, Field(gt=0)] = 5.0
    clock_speed: Annotated[float, Field(ge=1, le=10_000)] = 1.0
    """Above 1 only for simulations: Loadstar's clock runs this many times faster than the
    world's."""
    clock_start: str = ""
    """RFC 3339 instant at which an accelerated clock starts; empty means now."""
    clock_origin_s: Annotated[float, Field(ge=0)] = 0.0
    """The instant of the world, in seconds since the Unix epoch, at which an accelerated clock
    showed `clock_start`; 0 means when this node starts. Processes that are given the same three
    values agree on the instant."""
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")] = "EUR"
    """ISO 4217 code of the money in which drivers are told costs; chargers are to be set to the
    same."""
    log_level: str = "INFO"
    otlp_endpoint: str = ""
    """OpenTelemetry collector, such as `http://localhost:4317`; empty exports nothing."""

    @property
    def database(self) -> str:
        """The SQLAlchemy URL in force."""
        return self.database_url or f"sqlite:///{(self.data_dir / 'loadstar.db').resolve()}"

    @property
    def actors(self) -> ActorSettings:
        """What actors are given, already in the time of their clock."""
        return ActorSettings(
            round_interval_ms=round(self.round_interval_s * 1_000),
            call_timeout_ms=round(self.call_timeout_s * 1_000),
            meter_interval_ms=round(self.meter_interval_s * 1_000),
            ramp_ms=round(self.ramp_s * 1_000),
            site_report_interval_ms=round(self.site_report_interval_s * 1_000),
        ).accelerated(self.clock_speed)
