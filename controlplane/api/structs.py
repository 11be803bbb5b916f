"""Structs of the domain to and from messages of the contract, field by field.

The invariant: a message has a field for each of a struct's, of the same name, so that what is in
one is in the other. Names differ in one thing: an instant in milliseconds, `start_ms`, is a
Timestamp, `start_time`. Words of an enumeration have the same names, `Decimal` is text, a union is
a oneof whose fields are called by the tags, and a pair is a message of two fields."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from enum import Enum
from functools import cache
from typing import Any, TypeVar

import msgspec
from google.protobuf.message import Message
from msgspec import inspect

from controlplane.api.backend import instant_ms, invalid, timestamp

__all__ = ["message_of", "struct_of", "word_of"]

StructType = TypeVar("StructType", bound=msgspec.Struct)
Word = TypeVar("Word", bound=Enum)


def struct_of(type: type[StructType], message: Message, path: str = "") -> StructType:
    """The struct that a message stands for; what the message leaves out has its default.

    Args:
        path: where the message stands in the request, for what is said of a fault.

    Raises:
        InvalidInput: a word was not given, or a number cannot be read.
    """
    values: dict[str, Any] = {}
    for field in _fields(type):
        name = f"{path}.{_name(field.name)}" if path else _name(field.name)
        if _is_union(field.type):
            values[field.name] = _chosen(field, message, name)
            continue
        descriptor = message.DESCRIPTOR.fields_by_name[_name(field.name)]
        if descriptor.has_presence and not message.HasField(descriptor.name):
            if field.required:
                raise invalid(name, "must be given")
            continue
        if descriptor.name != field.name:
            values[field.name] = instant_ms(message, descriptor.name)
            continue
        given = getattr(message, descriptor.name)
        if descriptor.enum_type is not None and not descriptor.is_repeated and not given:
            if field.required:
                raise invalid(name, "must be given")
            continue
        values[field.name] = _value(_plain(field.type), descriptor, given, name)
    return type(**values)


def message_of(struct: msgspec.Struct, message: type[Message]) -> Any:
    """The message that a struct stands for."""
    written = message()
    for field in _fields(type(struct)):
        value = getattr(struct, field.name)
        if value is None:
            continue
        if _is_union(field.type):
            tag = str(value.__struct_config__.tag)
            inner = getattr(written, tag)
            inner.CopyFrom(message_of(value, type(inner)))
            continue
        name = _name(field.name)
        descriptor = written.DESCRIPTOR.fields_by_name[name]
        if name != field.name:
            getattr(written, name).CopyFrom(timestamp(value))
        elif descriptor.is_repeated:
            given = getattr(written, name)
            for element in value:
                if descriptor.message_type is None:
                    given.append(_scalar(descriptor, element))
                else:
                    _fill(given.add(), element)
        elif descriptor.message_type is not None:
            _fill(getattr(written, name), value)
            getattr(written, name).SetInParent()
        else:
            setattr(written, name, _scalar(descriptor, value))
    return written


def word_of(type: type[Word], descriptor: Any, number: int, path: str) -> Word:
    """The word of an enumeration.

    Raises:
        InvalidInput: it was not given, or is none of the contract's.
    """
    value = descriptor.values_by_number.get(number)
    if value is None or number == 0:
        raise invalid(path, "must be one of " + ", ".join(sorted(_words(descriptor))))
    word: Word = type[str(value.name).removeprefix(_prefix(descriptor))]
    return word


def _fill(message: Message, value: Any) -> None:
    if isinstance(value, tuple):
        parts: Any = message.DESCRIPTOR.fields
        for descriptor, part in zip(parts, value, strict=True):
            setattr(message, descriptor.name, part)
    else:
        message.CopyFrom(message_of(value, type(message)))


def _scalar(descriptor: Any, value: Any) -> Any:
    if isinstance(value, Enum) and descriptor.enum_type is not None:
        return descriptor.enum_type.values_by_name[
            _prefix(descriptor.enum_type) + value.name
        ].number
    return str(value) if isinstance(value, Decimal) else value


def _value(type: inspect.Type, descriptor: Any, given: Any, path: str) -> Any:
    match type:
        case inspect.VarTupleType(item_type=item):
            return tuple(
                _value(_plain(item), descriptor, element, f"{path}[{index}]")
                for index, element in enumerate(given)
            )
        case inspect.StructType(cls=cls):
            return struct_of(cls, given, path)
        case inspect.TupleType():
            return tuple(getattr(given, part.name) for part in given.DESCRIPTOR.fields)
        case inspect.EnumType(cls=cls):
            return word_of(cls, descriptor.enum_type, given, path)
        case inspect.DecimalType():
            return _decimal(given, path)
        case inspect.LiteralType(values=words) if given not in words:
            raise invalid(path, "must be one of " + ", ".join(map(str, words)))
        case _:
            return given


def _decimal(text: str, path: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation as error:
        raise invalid(path, "a decimal number, such as 0.39") from error
    if not number.is_finite():
        raise invalid(path, "a finite number")
    return number


def _chosen(field: inspect.Field, message: Message, path: str) -> Any:
    """The struct of a oneof that was given."""
    assert isinstance(field.type, inspect.UnionType)
    for each in field.type.types:
        if isinstance(each, inspect.StructType) and message.HasField(str(each.tag)):
            return struct_of(each.cls, getattr(message, str(each.tag)), f"{path}.{each.tag}")
    raise invalid(path, "must be given")


def _is_union(type: inspect.Type) -> bool:
    """Whether it is one of several structs."""
    return (
        isinstance(type, inspect.UnionType)
        and sum(isinstance(each, inspect.StructType) for each in type.types) > 1
    )


def _plain(type: inspect.Type) -> inspect.Type:
    """The type without None."""
    if isinstance(type, inspect.UnionType):
        return next(each for each in type.types if not isinstance(each, inspect.NoneType))
    return type


def _name(attribute: str) -> str:
    return attribute.removesuffix("_ms") + "_time" if attribute.endswith("_ms") else attribute


def _prefix(descriptor: Any) -> str:
    return str(descriptor.values_by_number[0].name).removesuffix("UNSPECIFIED")


def _words(descriptor: Any) -> list[str]:
    return [value.name for value in descriptor.values if value.number]


@cache
def _fields(type: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(type)
    assert isinstance(info, inspect.StructType)
    return info.fields
