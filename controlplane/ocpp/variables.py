"""The settings of a station, free of any version: a 2.x variable, or a 1.6 configuration key.

Every setting has one name in text, its key, by which it is stored, asked for, set and filtered:

    HeartbeatInterval                               a 1.6 configuration key
    OCPPCommCtrlr.HeartbeatInterval                 a variable of the station
    DeviceDataCtrlr.ItemsPerMessage[GetReport]      an instance of a variable
    TokenReader[front].Enabled                      an instance of a component
    EVSE{1}.Power                                   of EVSE 1
    Connector{1.2}.AvailabilityState                of its second connector
    EVSE{1}.Power/MaxSet                            another attribute than Actual

The invariant: what `parse_key` reads from `VariableName.key` is the name again. A dot within the
name of a component is written %2E, a per cent sign %25."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

__all__ = [
    "Attribute",
    "Characteristics",
    "Mutability",
    "ReportedAttribute",
    "ReportedVariable",
    "VariableName",
    "parse_key",
    "split_key",
]


class Attribute(StrEnum):
    """Which of a variable's values (2.x AttributeEnumType)."""

    ACTUAL = "Actual"
    TARGET = "Target"
    MIN_SET = "MinSet"
    MAX_SET = "MaxSet"


class Mutability(StrEnum):
    """Who may do what with a value (2.x MutabilityEnumType)."""

    READ_ONLY = "ReadOnly"
    WRITE_ONLY = "WriteOnly"
    READ_WRITE = "ReadWrite"


class VariableName(msgspec.Struct, frozen=True):
    """The name of a variable; `component` is empty for a 1.6 configuration key. `evse_id` 0 is the
    station as a whole, `connector_id` 0 the EVSE as a whole."""

    component: str
    variable: str
    component_instance: str = ""
    variable_instance: str = ""
    evse_id: int = 0
    connector_id: int = 0

    @property
    def key(self) -> str:
        """The name in text."""
        if not self.component:
            return self.variable
        place = ""
        if self.evse_id:
            connector = f".{self.connector_id}" if self.connector_id else ""
            place = f"{{{self.evse_id}{connector}}}"
        component = self.component.replace("%", "%25").replace(".", "%2E")
        return (
            component
            + (f"[{self.component_instance}]" if self.component_instance else "")
            + place
            + "."
            + self.variable
            + (f"[{self.variable_instance}]" if self.variable_instance else "")
        )


class ReportedAttribute(msgspec.Struct, frozen=True):
    """One value of a variable. None: the station does not tell it, or it has none."""

    attribute: Attribute = Attribute.ACTUAL
    value: str | None = None
    mutability: Mutability = Mutability.READ_WRITE
    persistent: bool = False
    constant: bool = False


class Characteristics(msgspec.Struct, frozen=True):
    """What values a variable may have (2.x VariableCharacteristicsType). `values` is the list of
    those it can be set to, as the station wrote it, separated by commas."""

    data_type: str = ""
    unit: str = ""
    limit_min: float | None = None
    limit_max: float | None = None
    values: str = ""
    supports_monitoring: bool = False


class ReportedVariable(msgspec.Struct, frozen=True):
    """A variable as a report tells it."""

    name: VariableName
    attributes: tuple[ReportedAttribute, ...]
    characteristics: Characteristics | None = None


_INSTANCE: Final = r"(?:\[([^\]]*)\])?"
_VARIABLE: Final = re.compile(
    r"([^.\[\]{}]+)" + _INSTANCE + r"(?:\{(\d{1,9})(?:\.(\d{1,9}))?\})?\.([^\[\]{}]+)" + _INSTANCE
)
_ATTRIBUTES: Final = {attribute.value: attribute for attribute in Attribute}


def split_key(key: str) -> tuple[str, Attribute]:
    """The name's text and the attribute that follows it, `Actual` where none does."""
    name, slash, word = key.rpartition("/")
    attribute = _ATTRIBUTES.get(word) if slash else None
    return (key, Attribute.ACTUAL) if attribute is None else (name, attribute)


def parse_key(key: str) -> tuple[VariableName, Attribute] | None:
    """The 2.x variable that a key names, and which of its values; None where it is not of the form
    `Component.Variable`."""
    text, attribute = split_key(key)
    found = _VARIABLE.fullmatch(text)
    if found is None:
        return None
    component, instance, evse_id, connector_id, variable, variable_instance = found.groups()
    name = VariableName(
        component=component.replace("%2E", ".").replace("%25", "%"),
        component_instance=instance or "",
        evse_id=int(evse_id or 0),
        connector_id=int(connector_id or 0),
        variable=variable,
        variable_instance=variable_instance or "",
    )
    return name, attribute
