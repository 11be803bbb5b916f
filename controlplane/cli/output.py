"""How answers are printed: tables for people, JSON for programs.

JSON holds what the messages hold, under the names of the `.proto` files. Unlike protobuf's own
mapping, 64-bit integers are numbers: no quantity here comes near 2^53."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message

__all__ = ["amperes", "echo_json", "energy", "moment", "plain", "print_json", "table", "word"]


_PIPE_WIDTH = 250


def plain(message: Message) -> dict[str, Any]:
    """A message as JSON values; fields that are absent are left out."""
    document: dict[str, Any] = {}
    for field in message.DESCRIPTOR.fields:
        value = getattr(message, field.name)
        if field.has_presence and not message.HasField(field.name):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            document[field.name] = dict(value)
        elif field.is_repeated:
            document[field.name] = [_plain_value(field, element) for element in value]
        else:
            document[field.name] = _plain_value(field, value)
    return document


def print_json(message: Message) -> None:
    """One message on several lines."""
    sys.stdout.write(json.dumps(plain(message), indent=2, ensure_ascii=False) + "\n")


def echo_json(message: Message) -> None:
    """One message on one line, at once: for streams."""
    sys.stdout.write(json.dumps(plain(message), ensure_ascii=False) + "\n")
    sys.stdout.flush()


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], *, title: str = "") -> None:
    """A table on the terminal; columns whose names begin with `#` hold numbers."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    printed = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        number = column.startswith("#")
        printed.add_column(
            column.lstrip("#"), justify="right" if number else "left", no_wrap=number
        )
    for row in rows:
        printed.add_row(*(escape(cell) for cell in row))
    # A pipe has no width: nothing is to be folded there.
    Console(width=None if sys.stdout.isatty() else _PIPE_WIDTH).print(printed)


def amperes(current_ma: int) -> str:
    return f"{current_ma / 1_000:.1f} A"


def energy(energy_wh: int) -> str:
    return f"{energy_wh / 1_000:.2f} kWh"


def moment(message: Message, field: str) -> str:
    """An instant in UTC, to the second; empty where there is none."""
    if not message.HasField(field):
        return ""
    return str(getattr(message, field).ToDatetime().strftime("%Y-%m-%d %H:%M:%S"))


def word(enum: Any, number: int) -> str:
    """An enum's value in small words, without its prefix: `suspended ev`."""
    names = enum.DESCRIPTOR.values_by_number
    if number not in names:
        return str(number)
    prefix = names[0].name.removesuffix("UNSPECIFIED")
    given = names[number].name.removeprefix(prefix)
    return "" if given == "UNSPECIFIED" else given.lower().replace("_", " ")


def _json(value: Any) -> Any:
    """A value of a Struct, which knows no integers."""
    from google.protobuf.struct_pb2 import ListValue, Struct

    match value:
        case float() if value.is_integer():
            return int(value)
        case Struct():
            return {name: _json(element) for name, element in value.items()}
        case ListValue():
            return [_json(element) for element in value]
        case _:
            return value


def _unpacked(value: Any) -> dict[str, Any]:
    """A message of any kind, with its name; the name alone where the kind is not loaded."""
    from google.protobuf.descriptor_pool import Default
    from google.protobuf.message_factory import GetMessageClass

    name = value.TypeName()
    try:
        message = GetMessageClass(Default().FindMessageTypeByName(name))()
    except KeyError:
        return {"@type": name}
    value.Unpack(message)
    return {"@type": name, **plain(message)}


def _plain_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        match field.message_type.full_name:
            case "google.protobuf.Timestamp":
                return value.ToJsonString()
            case "google.protobuf.Any":
                return _unpacked(value)
            case "google.protobuf.Struct":
                return {name: _json(element) for name, element in value.items()}
            case _:
                return plain(value)
    if field.enum_type is not None:
        named = field.enum_type.values_by_number.get(value)
        return named.name if named else value
    return value
