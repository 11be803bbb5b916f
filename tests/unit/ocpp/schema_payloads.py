"""Payloads made from the schemas of OCPP: the smallest and the largest, and anything in between."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import orjson
from hypothesis import strategies as st

from controlplane.ocpp.schemas import VERSIONS

__all__ = ["anything", "largest", "request_schema", "response_schema", "smallest"]

Schema = dict[str, Any]

_INTEGER = (-(2**63), 2**63 - 1)
_AT = "2024-01-01T00:00:00Z"


@cache
def request_schema(version: str, action: str) -> Schema:
    folder = resources.files("ocpp") / VERSIONS[version] / "schemas"
    file = folder / f"{action}Request.json"
    return _schema(file if file.is_file() else folder / f"{action}.json")


@cache
def response_schema(version: str, action: str) -> Schema:
    return _schema(
        resources.files("ocpp") / VERSIONS[version] / "schemas" / f"{action}Response.json"
    )


def _schema(file: Any) -> Schema:
    schema: Schema = orjson.loads(file.read_bytes())
    return schema


def smallest(schema: Schema) -> Any:
    """Only what is required, as short as it may be."""
    return _fixed(schema, schema.get("definitions", {}), full=False, turn=0)


def largest(schema: Schema, turn: int = 0) -> Any:
    """Everything there is; of words and lengths another with every `turn`."""
    return _fixed(schema, schema.get("definitions", {}), full=True, turn=turn)


def _resolved(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    reference = schema.get("$ref")
    return schema if reference is None else definitions[reference.rsplit("/", 1)[-1]]


def _fixed(schema: Schema, definitions: dict[str, Schema], *, full: bool, turn: int) -> Any:
    schema = _resolved(schema, definitions)
    if "enum" in schema:
        return schema["enum"][turn % len(schema["enum"])]
    match schema.get("type"):
        case "object":
            required = schema.get("required", [])
            return {
                name: _fixed(each, definitions, full=full, turn=turn)
                for name, each in schema.get("properties", {}).items()
                if full or name in required
            }
        case "array":
            least = max(1 if full else 0, schema.get("minItems", 0))
            count = min(least + (turn % 3 if full else 0), schema.get("maxItems", 3))
            return [
                _fixed(schema["items"], definitions, full=full, turn=turn + index)
                for index in range(count)
            ]
        case "string":
            if schema.get("format") == "date-time":
                return _AT
            return "x" * min(schema.get("maxLength", 64), 1_000 if full else 1)
        case "integer":
            return schema.get("maximum" if full else "minimum", turn)
        case "number":
            return schema.get("maximum", 1.1) if full else schema.get("minimum", 0)
        case "boolean":
            return bool(turn % 2)
        case _:
            return {"anything": [1, None]} if full else None


def anything(schema: Schema) -> st.SearchStrategy[Any]:
    """Any payload that the schema lets through, extremes above all."""
    return _drawn(schema, schema.get("definitions", {}))


def _drawn(schema: Schema, definitions: dict[str, Schema]) -> st.SearchStrategy[Any]:
    schema = _resolved(schema, definitions)
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema.get("type"):
        case "object":
            properties = {
                name: _drawn(each, definitions)
                for name, each in schema.get("properties", {}).items()
                if name != "customData"
            }
            required = set(schema.get("required", []))
            return st.fixed_dictionaries(
                {name: each for name, each in properties.items() if name in required},
                optional={name: each for name, each in properties.items() if name not in required},
            )
        case "array":
            least = schema.get("minItems", 0)
            most = min(schema.get("maxItems", 3), least + 2)
            return st.lists(_drawn(schema["items"], definitions), min_size=least, max_size=most)
        case "string":
            texts = st.text(max_size=min(schema.get("maxLength", 64), 64))
            if schema.get("format") == "date-time":
                return st.sampled_from([_AT, "0001-01-01T00:00:00+14:00", "9999-12-31", ""]) | texts
            return texts
        case "integer":
            least, most = schema.get("minimum", _INTEGER[0]), schema.get("maximum", _INTEGER[1])
            return st.integers(int(least), int(most)) | st.integers(
                int(max(least, 0)), int(min(most, 3))
            )
        case "number":
            return st.floats(
                schema.get("minimum"), schema.get("maximum"), allow_nan=False, allow_infinity=False
            ).map(lambda value: round(value, 1) if abs(value) < 1e6 else value)
        case "boolean":
            return st.booleans()
        case _:
            return st.recursive(
                st.none() | st.booleans() | st.integers(*_INTEGER) | st.text(max_size=8),
                lambda children: (
                    st.lists(children, max_size=2)
                    | st.dictionaries(st.text(max_size=4), children, max_size=2)
                ),
                max_leaves=4,
            )
