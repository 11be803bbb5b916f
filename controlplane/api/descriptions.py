"""The described network between messages and `network.py`, field by field.

The messages of `network.proto` have the names and the units of the YAML document, so both ways are
one walk over the fields, and what is wrong is said once: by the models of `network.py`, with the
field's place in the request."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message
from pydantic import BaseModel, ValidationError

from controlplane.api.v1 import network_pb2
from controlplane.errors import InvalidInput
from controlplane.network import (
    ChargerConfig,
    FeederConfig,
    NetworkConfig,
    SiteConfig,
    TariffConfig,
)
from controlplane.network_yaml import violations

__all__ = [
    "charger_from_message",
    "feeder_from_message",
    "feeder_to_message",
    "network_from_message",
    "network_to_message",
    "site_from_message",
    "site_to_message",
    "tariff_from_message",
    "tariff_to_message",
]

Model = TypeVar("Model", bound=BaseModel)
Description = TypeVar("Description", bound=Message)

_ENUM_PREFIXES = {
    "AuthorisationPolicy": "AUTHORISATION_POLICY_",
    "CurrentType": "CURRENT_TYPE_",
    "LimitUnit": "LIMIT_UNIT_",
    "Measures": "MEASURES_",
    "MeterKind": "METER_KIND_",
    "Phase": "PHASE_",
    "RegisterFormat": "REGISTER_FORMAT_",
    "RegisterType": "REGISTER_TYPE_",
    "SolarMode": "SOLAR_MODE_",
    "Weekday": "WEEKDAY_",
    "WordOrder": "WORD_ORDER_",
}
_UPPER_CASE_ENUMS = frozenset({"LimitUnit", "Phase"})


def site_from_message(message: network_pb2.SiteDescription) -> SiteConfig:
    """The site that a request's field `site` describes.

    Raises:
        InvalidInput: with a violation for each fault.
    """
    return _checked(message, SiteConfig, below="site")


def charger_from_message(message: network_pb2.ChargerDescription) -> ChargerConfig:
    """The charger that a request's field `charger` describes.

    Raises:
        InvalidInput: with a violation for each fault.
    """
    return _checked(message, ChargerConfig, below="charger")


def feeder_from_message(message: network_pb2.FeederDescription) -> FeederConfig:
    """The feeder that a request's field `feeder` describes.

    Raises:
        InvalidInput: with a violation for each fault.
    """
    return _checked(message, FeederConfig, below="feeder")


def tariff_from_message(message: network_pb2.TariffDescription) -> TariffConfig:
    """The tariff that a request's field `tariff` describes.

    Raises:
        InvalidInput: with a violation for each fault.
    """
    return _checked(message, TariffConfig, below="tariff")


def network_from_message(message: network_pb2.NetworkDescription) -> NetworkConfig:
    """The network that a request's field `network` describes.

    Raises:
        InvalidInput: with a violation for each fault.
    """
    return _checked(message, NetworkConfig, below="network")


def site_to_message(config: SiteConfig) -> network_pb2.SiteDescription:
    """The description with its defaults filled in."""
    return _filled(network_pb2.SiteDescription(), config)


def tariff_to_message(config: TariffConfig) -> network_pb2.TariffDescription:
    """The description with its defaults filled in."""
    return _filled(network_pb2.TariffDescription(), config)


def feeder_to_message(config: FeederConfig) -> network_pb2.FeederDescription:
    """The description with its defaults filled in."""
    return _filled(network_pb2.FeederDescription(), config)


def network_to_message(config: NetworkConfig) -> network_pb2.NetworkDescription:
    """The description with its defaults filled in."""
    return network_pb2.NetworkDescription(
        feeders=[feeder_to_message(feeder) for feeder in config.feeders],
        sites=[site_to_message(site) for site in config.sites],
    )


def _checked(message: Message, model: type[Model], *, below: str) -> Model:
    try:
        return model.model_validate(_plain(message))
    except ValidationError as error:
        found = violations(error, below=below)
        raise InvalidInput(
            "; ".join(f"{place}: {fault}" for place, fault in found),
            reason="DESCRIPTION_INVALID",
            violations=found,
        ) from error


def _plain(message: Message) -> dict[str, Any]:
    """What is set in a message, as a document; what is not set is left to the model's defaults."""
    return {
        field.name: [_plain_value(field, element) for element in value]
        if field.is_repeated
        else _plain_value(field, value)
        for field, value in message.ListFields()
    }


def _plain_value(field: Any, value: Any) -> Any:
    if field.message_type is not None:
        return _plain(value)
    if field.enum_type is not None:
        return _word(field.enum_type, value)
    return value


def _word(enum: EnumDescriptor, number: int) -> Any:
    named = enum.values_by_number.get(number)
    if named is None:
        return number
    word = named.name.removeprefix(_ENUM_PREFIXES[enum.name])
    return word if enum.name in _UPPER_CASE_ENUMS else word.lower()


def _filled(message: Description, config: BaseModel) -> Description:
    _fill(message, config.model_dump(mode="json", exclude_none=True))
    return message


def _fill(message: Message, document: dict[str, Any]) -> None:
    for name, value in document.items():
        field = message.DESCRIPTOR.fields_by_name[name]
        if field.is_repeated:
            elements = getattr(message, name)
            for element in value:
                if field.message_type is not None:
                    _fill(elements.add(), element)
                else:
                    elements.append(_number(field, element))
        elif field.message_type is not None:
            part = getattr(message, name)
            part.SetInParent()
            _fill(part, value)
        else:
            setattr(message, name, _number(field, value))


def _number(field: Any, value: Any) -> Any:
    """The value as the message holds it: an enum's number for its word."""
    if field.enum_type is None:
        return value
    name = f"{_ENUM_PREFIXES[field.enum_type.name]}{value.upper()}"
    return field.enum_type.values_by_name[name].number
