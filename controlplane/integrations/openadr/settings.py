"""What the OpenADR VEN is told at its start: by the command line, or by variables of the
environment named `LOADSTAR_OPENADR_*`."""

from __future__ import annotations

import re
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from controlplane.ids import NAME_PATTERN
from controlplane.integrations.openadr.mapping import Level, read_level

__all__ = ["OpenAdrSettings", "Target"]

_TARGET = re.compile(rf"(feeder|site):({NAME_PATTERN.pattern})")
_NAME = r"^[!-~]([ -~]*[!-~])?$"


class Target(NamedTuple):
    """What of Loadstar follows the program."""

    kind: Literal["feeder", "site"]
    id: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


class OpenAdrSettings(BaseSettings):
    """Settings of one VEN: one program of one VTN, for one feeder or one site."""

    model_config = SettingsConfigDict(
        env_prefix="LOADSTAR_OPENADR_", env_file=".env", extra="ignore", frozen=True
    )

    vtn: str
    """The VTN's base URL."""
    program: Annotated[str, Field(min_length=1, max_length=128)]
    """The program's name or id."""
    target: Annotated[Target, NoDecode]
    client_id: Annotated[str, Field(min_length=1, max_length=4_096)]
    client_secret: SecretStr = SecretStr("")
    client_secret_file: Path | None = None
    token_url: str = ""
    """Empty asks the VTN."""
    scope: str = ""
    ca_file: Path | None = None
    ven_name: Annotated[str, Field(max_length=128, pattern=_NAME)] = "loadstar"
    resource_name: Annotated[str, Field(max_length=128)] = ""
    """Empty: the target, such as `feeder-north`."""
    groups: Annotated[tuple[str, ...], NoDecode] = ()
    """Further names by which events may address this VEN."""
    levels: Annotated[dict[int, Level], NoDecode] = {}
    """What SIMPLE levels 1 to 3 mean; alerts follow them."""
    prices: Literal["follow", "ignore"] = "follow"
    """Whether the program's prices are pushed to the target's sites, as far as their tariffs follow
    a market."""
    poll_s: Annotated[float, Field(ge=1, le=3_600, allow_inf_nan=False)] = 10.0
    acknowledge: Literal["requested", "always", "never"] = "requested"
    """Which events are answered with a report of what was made of them: those that ask for any
    report, all, or none."""

    @field_validator("target", mode="before")
    @classmethod
    def _target(cls, given: object) -> object:
        if not isinstance(given, str):
            return given
        match = _TARGET.fullmatch(given)
        if match is None:
            raise ValueError("feeder:ID or site:ID")
        return match.group(1), match.group(2)

    @field_validator("vtn", "token_url")
    @classmethod
    def _url(cls, url: str) -> str:
        if not url:
            return url
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
            raise ValueError("a URL such as https://vtn.example/openadr3/3.1.0")
        if parts.scheme == "http" and not _this_machine(parts.hostname):
            raise ValueError("https: the client's secret is sent there")
        return url

    @field_validator("groups", mode="before")
    @classmethod
    def _groups(cls, given: object) -> object:
        if isinstance(given, str):
            return tuple(name for part in given.split(",") if (name := part.strip()))
        return given

    @field_validator("levels", mode="before")
    @classmethod
    def _levels(cls, given: object) -> object:
        if isinstance(given, str):
            given = [part for part in given.split(",") if part.strip()]
        if not isinstance(given, list | tuple):
            return given
        found = {}
        for part in given:
            number, _, power = str(part).partition("=")
            if number.strip() not in {"1", "2", "3"}:
                raise ValueError(f"{part!r}: a level is 1, 2 or 3, such as 2=80kW")
            found[int(number)] = read_level(power)
        return found

    @model_validator(mode="after")
    def _one_secret(self) -> Self:
        if bool(self.client_secret.get_secret_value()) == (self.client_secret_file is not None):
            raise ValueError("give either client_secret or client_secret_file")
        return self

    @property
    def resource(self) -> str:
        return self.resource_name or f"{self.target.kind}-{self.target.id}"

    def secret(self) -> str:
        """The client's secret.

        Raises:
            OSError: its file cannot be read.
        """
        if self.client_secret_file is not None:
            return self.client_secret_file.read_text(encoding="utf-8").strip()
        return self.client_secret.get_secret_value()


def _this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
