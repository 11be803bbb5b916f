"""Reads series that people and markets write down: day-ahead prices and forecasts of power, as CSV
or JSON.

    start,end,price_per_mwh
    2026-05-01T00:00+02:00,2026-05-01T01:00+02:00,81.20

Without `end`, a value holds until the next start, and the last one for as long as the one before
it. Times without an offset are read on a clock that the caller names; an hour that comes twice
there must come twice in order. Invariant: what is wrong is told with its line or element, and
nothing of a file with a fault is used."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple, NoReturn

from controlplane.errors import InvalidInput
from controlplane.network_tariff import PRICE_MAX
from controlplane.planning.series import Interval, overlaps
from controlplane.planning.tariff import MICRO

__all__ = ["POWER_COLUMNS", "PRICE_COLUMNS", "Told", "micro_of", "read_series"]

PRICE_COLUMNS: Final = {"price_per_kwh": Decimal(1), "price_per_mwh": Decimal("0.001")}
"""What a value of each column is in the currency per kilowatt-hour."""

POWER_COLUMNS: Final = {"power_w": Decimal(1), "power_kw": Decimal(1_000)}
"""What a value of each column is in W."""

_POWER_MAX_W = 10**10
_ROWS_MAX = 200_000
_SECONDS_MAX = 7 * 86_400


class Told(NamedTuple):
    """One value of a file, and where it stands there."""

    place: str
    start_s: int
    """Of the Unix epoch."""
    end_s: int
    value: Decimal
    """Per kilowatt-hour, or in W."""


class _Row(NamedTuple):
    place: str
    fields: dict[str, Any]


def micro_of(price: Decimal) -> int:
    """A price in millionths, rounded.

    Raises:
        InvalidInput: not finite, or beyond `PRICE_MAX`.
    """
    if not price.is_finite() or abs(price) > PRICE_MAX:
        raise InvalidInput(f"a price of {price} is not within {PRICE_MAX}", reason="PRICE_INVALID")
    return int((price * MICRO).to_integral_value())


def read_series(
    text: str, columns: dict[str, Decimal], *, source: str, zone: tzinfo | None = None
) -> list[Told]:
    """The values of a file, in order of time.

    Args:
        text: CSV with a header, or JSON: a list of objects, or an object that has one under
            `prices` or `powers`.
        columns: the names under which a value may stand, with what one of it is.
        source: what the file is called in messages.
        zone: the clock of times without an offset; None refuses these.

    Raises:
        InvalidInput: naming the line or element.
    """
    rows = list(_json_rows(text, source) if _is_json(text) else _csv_rows(text, source))
    if not rows:
        _fault(source, "has no values")
    column = next((name for name in columns if rows[0].fields.get(name) is not None), None)
    if column is None:
        _fault(rows[0].place, f"has none of {', '.join(columns)}")
    found = list(_timed(rows, column, columns[column], zone))
    pair = overlaps([Interval(each.start_s, each.end_s - each.start_s, 0) for each in found])
    if pair is not None:
        before, after = (found[at] for at in pair)
        _fault(after.place, f"begins before {before.place.rpartition(':')[2].strip()} ends")
    return sorted(found, key=lambda each: each.start_s)


def _is_json(text: str) -> bool:
    return text.lstrip()[:1] in {"[", "{"}


def _csv_rows(text: str, source: str) -> Iterator[_Row]:
    reader = csv.DictReader(io.StringIO(text.removeprefix("\ufeff")), strict=True)
    try:
        names = [name.strip().lower() for name in reader.fieldnames or []]
        if "start" not in names:
            _fault(f"{source}: line 1", "the header must name `start` and a value")
        reader.fieldnames = names
        for fields in reader:
            place = f"{source}: line {reader.line_num}"
            if None in fields:
                _fault(place, f"has more than {len(names)} fields")
            told = {name: (value or "").strip() or None for name, value in fields.items()}
            yield _Row(place, told)
            if reader.line_num > _ROWS_MAX:
                _fault(place, f"more than {_ROWS_MAX} lines")
    except csv.Error as error:
        _fault(f"{source}: line {reader.line_num}", str(error))


def _json_rows(text: str, source: str) -> Iterator[_Row]:
    try:
        document = json.loads(text, parse_float=Decimal, parse_int=Decimal)
    except ValueError as error:
        _fault(source, f"no JSON: {error}")
    name = ""
    if isinstance(document, dict):
        name = next((each for each in ("prices", "powers") if each in document), "")
        document = document.get(name)
    if not isinstance(document, list):
        _fault(source, "must be a list of values, or an object with such a list under `prices`")
    if len(document) > _ROWS_MAX:
        _fault(source, f"more than {_ROWS_MAX} values")
    for at, fields in enumerate(document):
        place = f"{source}: {name}[{at}]"
        if not isinstance(fields, dict):
            _fault(place, "must be an object with `start` and a value")
        yield _Row(place, fields)


def _timed(rows: Sequence[_Row], column: str, unit: Decimal, zone: tzinfo | None) -> Iterator[Told]:
    """The rows with their times and values."""
    starts: list[datetime] = []
    for row in rows:
        starts.append(_instant(row, "start", zone, starts[-1] if starts else None))
    for at, row in enumerate(rows):
        if row.fields.get("end") is not None:
            end = _end(row, zone, starts[at])
        elif at + 1 < len(rows):
            end = starts[at + 1]
        elif at:
            length_s = starts[at].timestamp() - starts[at - 1].timestamp()
            end = datetime.fromtimestamp(starts[at].timestamp() + length_s, tz=UTC)
        else:
            _fault(row.place, "a single value needs an `end`")
        start_s, end_s = int(starts[at].timestamp()), int(end.timestamp())
        if not 1 <= end_s - start_s <= _SECONDS_MAX:
            words = f"lasts {end_s - start_s} s: a value lasts from a second to a week"
            _fault(row.place, words)
        yield Told(row.place, start_s, end_s, _number(row, column) * unit)


def _instant(row: _Row, name: str, zone: tzinfo | None, after: datetime | None) -> datetime:
    given = row.fields.get(name)
    if given is None:
        _fault(row.place, f"has no `{name}`")
    try:
        found = datetime.fromisoformat(str(given))
    except ValueError:
        _fault(row.place, f"{name} {given!r} is no instant such as 2026-05-01T00:00+02:00")
    if found.tzinfo is not None:
        return found
    if zone is None:
        _fault(row.place, f"{name} {given!r} has no offset: name the clock it is read on")
    found = found.replace(tzinfo=zone)
    if name == "start" and _shown(found) != found.replace(tzinfo=None):
        _fault(row.place, f"{name} {given!r} does not exist: the clock is set forward over it")
    if after is not None and found.timestamp() <= after.timestamp():
        # The second of an hour that comes twice.
        return found.replace(fold=1)
    return found


def _end(row: _Row, zone: tzinfo | None, start: datetime) -> datetime:
    """When a value ends. Of one that begins in the first of an hour that comes twice, an end by
    which the second would be part of it is one by the first."""
    found = _instant(row, "end", zone, start)
    if found.tzinfo is not zone or start.tzinfo is not zone or start.fold:
        return found
    twice = start.replace(fold=1).utcoffset() != start.utcoffset()
    shown = found.replace(tzinfo=None) - start.replace(tzinfo=None)
    if not twice or shown <= timedelta(0):
        return found
    return (start.astimezone(UTC) + shown).astimezone(zone)


def _shown(written: datetime) -> datetime:
    """What the clock really shows at an instant: what was written, unless it skips that."""
    return written.astimezone(UTC).astimezone(written.tzinfo).replace(tzinfo=None)


def _number(row: _Row, column: str) -> Decimal:
    given = row.fields.get(column)
    if given is None:
        _fault(row.place, f"has no `{column}`")
    try:
        number = Decimal(str(given))
    except InvalidOperation:
        _fault(row.place, f"{column} {given!r} is no number")
    bound = _POWER_MAX_W if column in POWER_COLUMNS else PRICE_MAX
    unit = POWER_COLUMNS.get(column) or PRICE_COLUMNS[column]
    if not number.is_finite() or abs(number * unit) > bound:
        _fault(row.place, f"{column} {given} is not within {bound / unit:f}")
    if column in POWER_COLUMNS and number < 0:
        _fault(row.place, f"{column} {given} is below 0")
    return number


def _fault(place: str, words: str) -> NoReturn:
    raise InvalidInput(f"{place}: {words}", reason="SERIES_INVALID")
