"""Opening hours and rules for groups of drivers, as the owner of a site writes them.

Everything is checked here; what follows from it at an instant is worked out in `site/policy.py`.
Times of day are those of the site's own clock, written `HH:MM`."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from controlplane.ids import NAME_PATTERN
from controlplane.units import ma_from_a

__all__ = ["RULES_MAX", "HoursConfig", "RuleConfig", "TimeOfDay", "Weekday", "minutes_of_day"]

RULES_MAX = 100
_TOKENS_MAX = 10_000
_HOURS_MAX = 50

_TIME_OF_DAY = re.compile(r"(?:[01]?[0-9]|2[0-3]):[0-5][0-9]|24:00")


def _time_of_day(text: str) -> str:
    if not _TIME_OF_DAY.fullmatch(text):
        raise ValueError(f"{text!r} is no time of day, such as 07:30, up to 24:00")
    return text


TimeOfDay = Annotated[str, AfterValidator(_time_of_day)]


class Weekday(StrEnum):
    MON = "mon"
    TUE = "tue"
    WED = "wed"
    THU = "thu"
    FRI = "fri"
    SAT = "sat"
    SUN = "sun"


class _Model(BaseModel):
    # `from` is a word of the language, so the document's names are aliases.
    model_config = ConfigDict(
        extra="forbid", frozen=True, str_strip_whitespace=True, serialize_by_alias=True
    )


class HoursConfig(_Model):
    """From one time of day to another on some days of the week. Hours that end no later than they
    begin run into the next day; `days` are those on which they begin."""

    days: tuple[Weekday, ...] = tuple(Weekday)
    opens: TimeOfDay = Field(alias="from")
    closes: TimeOfDay = Field(alias="to")

    @field_validator("days")
    @classmethod
    def _days_once(cls, days: tuple[Weekday, ...]) -> tuple[Weekday, ...]:
        if not days or len(set(days)) != len(days):
            raise ValueError("one or more different days; leave `days` out for every day")
        return days

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.opens == "24:00":
            raise ValueError("hours do not begin at 24:00; write 00:00 and the next day")
        if self.opens_minute == self.closes_minute:
            raise ValueError("`from` and `to` are the same; the whole day is 00:00 to 24:00")
        return self

    @property
    def opens_minute(self) -> int:
        """Minutes after midnight of each of `days`, 0 to 1,439."""
        return minutes_of_day(self.opens)

    @property
    def closes_minute(self) -> int:
        """The same, 0 to 1,440; not above `opens_minute` where it lies on the next day."""
        return minutes_of_day(self.closes)


class RuleConfig(_Model):
    """What holds for a group of drivers. The first rule of a site that names a session's token and
    whose hours hold decides; what it leaves out is as if there were no rule."""

    id: Annotated[str, Field(pattern=f"^{NAME_PATTERN.pattern}$")]
    id_tokens: Annotated[tuple[str, ...], Field(min_length=1, max_length=_TOKENS_MAX)]
    """As drivers identify themselves, in upper or lower case alike (OCPP 2.0.1 part 2 IdTokenType).
    One that ends in `*` stands for all that begin so; `*` alone is everybody, known or not."""
    priority: Annotated[int, Field(ge=0, le=9)] | None = None
    weight: Annotated[int, Field(ge=1, le=1_000)] | None = None
    guaranteed_a: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] | None = None
    """What its sessions are given per phase before anybody else is given anything, while that is
    electrically possible."""
    hours: Annotated[tuple[HoursConfig, ...], Field(max_length=_HOURS_MAX)] = ()
    """When the rule holds; always where there are none."""
    outside_hours: bool = False
    """Its sessions are served while the site is closed, too."""

    @field_validator("id_tokens")
    @classmethod
    def _tokens(cls, id_tokens: tuple[str, ...]) -> tuple[str, ...]:
        for id_token in id_tokens:
            if not 1 <= len(id_token) <= 256:
                raise ValueError(f"id token {id_token[:40]!r}: 1 to 256 characters")
            if "*" in id_token[:-1]:
                raise ValueError(f"id token {id_token!r}: `*` stands at the end only")
        return id_tokens

    @property
    def guaranteed_ma(self) -> int:
        """0 where nothing is guaranteed."""
        return 0 if self.guaranteed_a is None else ma_from_a(self.guaranteed_a)


def minutes_of_day(time_of_day: str) -> int:
    """Minutes after midnight of a `TimeOfDay`."""
    hours, minutes = time_of_day.split(":")
    return int(hours) * 60 + int(minutes)
