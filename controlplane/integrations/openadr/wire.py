"""The parts of the OpenADR 3 schema that a VEN reads, of 3.0.1 and of 3.1.

Invariant: an object is taken whole or not at all. Lists are read one element at a time, so that one
malformed event never hides the others. Fields that we do not read are ignored: the schema grows."""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

__all__ = [
    "Event",
    "Interval",
    "IntervalPeriod",
    "Malformed",
    "NamedObject",
    "PayloadDescriptor",
    "Program",
    "Report",
    "ReportDescriptor",
    "ValuesMap",
    "read_objects",
]

_INTERVALS_MAX = 10_000

ObjectId = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[a-zA-Z0-9_-]+$")]
Word = Annotated[str, Field(min_length=1, max_length=128)]


class _Wire(BaseModel):
    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True
    )


class IntervalPeriod(_Wire):
    """When an interval is, as text: `timing` reads it. `start` is missing in 3.1 where only the
    duration differs from the event's."""

    start: str | None = None
    duration: str | None = None
    randomize_start: str | None = None


class ValuesMap(_Wire):
    type: Word
    values: Annotated[list[Any], Field(max_length=_INTERVALS_MAX)]


class Interval(_Wire):
    id: int
    interval_period: IntervalPeriod | None = None
    payloads: Annotated[list[ValuesMap], Field(max_length=100)] = []


class PayloadDescriptor(_Wire):
    payload_type: Word
    units: str | None = None
    currency: str | None = None


class ReportDescriptor(_Wire):
    """Which report is wanted, and when: OpenADR 3.1 user guide, section 7.5."""

    payload_type: Word
    reading_type: str | None = None
    units: str | None = None
    start_interval: int = -1
    num_intervals: int = -1
    historical: bool = True
    frequency: int = -1
    repeat: int = 1


class Program(_Wire):
    id: ObjectId
    program_name: Word
    interval_period: IntervalPeriod | None = None
    payload_descriptors: list[PayloadDescriptor] | None = None


class Event(_Wire):
    """`targets` are pairs of type and values in 3.0 and plain words in 3.1."""

    id: ObjectId
    program_id: Annotated[ObjectId, Field(alias="programID")]
    event_name: str | None = None
    created_date_time: str | None = None
    modification_date_time: str | None = None
    priority: Annotated[int, Field(ge=0)] | None = None
    targets: list[ValuesMap | str] | None = None
    report_descriptors: Annotated[list[ReportDescriptor], Field(max_length=100)] | None = None
    payload_descriptors: list[PayloadDescriptor] | None = None
    interval_period: IntervalPeriod | None = None
    duration: str | None = None
    intervals: Annotated[list[Interval], Field(max_length=_INTERVALS_MAX)] | None = None


class NamedObject(_Wire):
    """A VEN or a resource, as far as we need it."""

    id: ObjectId
    ven_name: str = ""
    resource_name: str = ""
    targets: list[ValuesMap | str] | None = None


class Report(_Wire):
    """One of our reports, as the VTN keeps it."""

    id: ObjectId
    event_id: Annotated[ObjectId, Field(alias="eventID")]
    report_name: str | None = None
    client_name: str = ""
    resources: list[Any] = []


class Malformed(NamedTuple):
    """An object that could not be read. `id` is empty where not even that could be."""

    id: str
    fault: str


Model = TypeVar("Model", bound=_Wire)


def read_objects(raws: list[Any], model: type[Model]) -> tuple[list[Model], list[Malformed]]:
    """What can be read of a list, and what cannot."""
    found, malformed = [], []
    for raw in raws:
        try:
            found.append(model.model_validate(raw))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in first["loc"])
            named = raw.get("id", "") if isinstance(raw, dict) else ""
            malformed.append(Malformed(str(named)[:128], f"{place}: {first['msg']}"))
    return found, malformed
