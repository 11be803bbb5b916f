"""Tariffs and costs of a 2.1 station: I07 to I12."""

from __future__ import annotations

from typing import Any, Final

from controlplane.charging_tariff import (
    Conditions,
    EnergyPrice,
    EvseKind,
    FixedPrice,
    Price,
    Tariff,
    TaxRate,
    Text,
    TimePrice,
    tariff_fault,
)
from controlplane.ocpp import commands
from controlplane.ocpp.commands import CommandResult, CommandState
from controlplane.ocpp.costs import CostDetails, CostKind, TotalCost, Usage
from controlplane.ocpp.dialect import Block, TokenAnswer
from controlplane.ocpp.framing import Fault
from controlplane.ocpp.shapes import (
    INSTANT,
    MONEY,
    NUMBER,
    PLAIN,
    WHOLE,
    Codec,
    Shape,
    kind,
    many,
    one,
)
from controlplane.ocpp.v201.authorization import AUTHORIZATION as AUTHORIZATION_201

__all__ = ["COST_DETAILS", "TARIFFS", "write_tariff"]

_TAX_RATES: Final = many(
    one(
        Shape(
            TaxRate,
            name=("type", PLAIN),
            percent=("tax", MONEY),
            stack=("stack", WHOLE),
        )
    )
)
_PRICE: Final = one(
    Shape(
        Price,
        excluding_tax=("exclTax", MONEY),
        including_tax=("inclTax", MONEY),
        tax_rates=("taxRates", _TAX_RATES),
    )
)
_CONDITIONS: Final = one(
    Shape(
        Conditions,
        start_time=("startTimeOfDay", PLAIN),
        end_time=("endTimeOfDay", PLAIN),
        days=("dayOfWeek", many(PLAIN)),
        from_date=("validFromDate", PLAIN),
        to_date=("validToDate", PLAIN),
        evse_kind=("evseKind", kind(EvseKind)),
        min_energy_wh=("minEnergy", NUMBER),
        max_energy_wh=("maxEnergy", NUMBER),
        min_current_a=("minCurrent", NUMBER),
        max_current_a=("maxCurrent", NUMBER),
        min_power_w=("minPower", NUMBER),
        max_power_w=("maxPower", NUMBER),
        min_time_s=("minTime", WHOLE),
        max_time_s=("maxTime", WHOLE),
        min_charging_time_s=("minChargingTime", WHOLE),
        max_charging_time_s=("maxChargingTime", WHOLE),
        min_idle_time_s=("minIdleTime", WHOLE),
        max_idle_time_s=("maxIdleTime", WHOLE),
        payment_brand=("paymentBrand", PLAIN),
        payment_recognition=("paymentRecognition", PLAIN),
    )
)
_ENERGY: Final = one(
    Shape(EnergyPrice, per_kwh=("priceKwh", MONEY), conditions=("conditions", _CONDITIONS))
)
_TIME: Final = one(
    Shape(TimePrice, per_minute=("priceMinute", MONEY), conditions=("conditions", _CONDITIONS))
)
_FIXED: Final = one(
    Shape(FixedPrice, price=("priceFixed", MONEY), conditions=("conditions", _CONDITIONS))
)
_TEXT: Final = one(
    Shape(
        Text,
        content=("content", PLAIN),
        format=("format", PLAIN),
        language=("language", PLAIN),
    )
)
_COMPONENTS: Final[tuple[tuple[str, str, Codec], ...]] = (
    ("energy", "energy", many(_ENERGY)),
    ("charging_time", "chargingTime", many(_TIME)),
    ("idle_time", "idleTime", many(_TIME)),
    ("fixed_fee", "fixedFee", many(_FIXED)),
    ("reservation_time", "reservationTime", many(_TIME)),
    ("reservation_fixed", "reservationFixed", many(_FIXED)),
)
COST_DETAILS: Final = one(
    Shape(
        CostDetails,
        cost=(
            "totalCost",
            one(
                Shape(
                    TotalCost,
                    currency=("currency", PLAIN),
                    kind=("typeOfCost", kind(CostKind)),
                    total=("total", _PRICE),
                    energy=("energy", _PRICE),
                    charging_time=("chargingTime", _PRICE),
                    idle_time=("idleTime", _PRICE),
                    fixed=("fixed", _PRICE),
                    reservation_time=("reservationTime", _PRICE),
                    reservation_fixed=("reservationFixed", _PRICE),
                )
            ),
        ),
        usage=(
            "totalUsage",
            one(
                Shape(
                    Usage,
                    energy_wh=("energy", WHOLE),
                    duration_s=("chargingTime", WHOLE),
                    idle_s=("idleTime", WHOLE),
                    reservation_s=("reservationTime", WHOLE),
                )
            ),
        ),
        failure=("failureReason", PLAIN),
    )
)


def write_tariff(tariff: Tariff) -> dict[str, Any]:
    """TariffType; every component carries the tax rates."""
    written: dict[str, Any] = {"tariffId": tariff.tariff_id, "currency": tariff.currency}
    if tariff.description:
        written["description"] = many(_TEXT).write(tariff.description)
    if tariff.valid_from_ms is not None:
        written["validFrom"] = INSTANT.write(tariff.valid_from_ms)
    for attribute, name, codec in _COMPONENTS:
        prices = getattr(tariff, attribute)
        if prices:
            written[name] = {"prices": codec.write(prices)}
            if tariff.tax_rates:
                written[name]["taxRates"] = _TAX_RATES.write(tariff.tax_rates)
    if tariff.min_cost is not None:
        written["minCost"] = _PRICE.write(tariff.min_cost)
    if tariff.max_cost is not None:
        written["maxCost"] = _PRICE.write(tariff.max_cost)
    return written


def _checked(tariff: Tariff, payload: dict[str, Any]) -> dict[str, Any] | Fault:
    fault = tariff_fault(tariff)
    if fault is not None:
        return Fault("PropertyConstraintViolation", f"tariff: {fault}"[:255])
    return {**payload, "tariff": write_tariff(tariff)}


def _set_default_tariff(command: commands.SetDefaultTariff, _: int) -> dict[str, Any] | Fault:
    return _checked(command.tariff, {"evseId": command.connector_id})


def _change_transaction_tariff(
    command: commands.ChangeTransactionTariff, _: int
) -> dict[str, Any] | Fault:
    return _checked(command.tariff, {"transactionId": command.transaction_id})


def _get_tariffs(command: commands.GetTariffs, _: int) -> dict[str, Any]:
    return {"evseId": command.connector_id}


def _tariffs_got(_: commands.GetTariffs, payload: dict[str, Any]) -> CommandResult:
    """NoTariff is an answer too: there is none."""
    status = str(payload["status"])
    taken = status in ("Accepted", "NoTariff")
    return CommandResult(CommandState.ACCEPTED if taken else CommandState.REJECTED, status, payload)


def _clear_tariffs(command: commands.ClearTariffs, _: int) -> dict[str, Any]:
    payload: dict[str, Any] = {}
    if command.tariff_ids:
        payload["tariffIds"] = list(command.tariff_ids)
    if command.connector_id is not None:
        payload["evseId"] = command.connector_id
    return payload


def _tariffs_cleared(_: commands.ClearTariffs, payload: dict[str, Any]) -> CommandResult:
    """Accepted if none is left: NoTariff says that there was none, which is what was wanted."""
    statuses = [str(result["status"]) for result in payload["clearTariffsResult"]]
    refused = next((each for each in statuses if each == "Rejected"), None)
    state = CommandState.ACCEPTED if refused is None else CommandState.REJECTED
    return CommandResult(state, refused or statuses[0], payload)


_write_token_answer_201: Final = AUTHORIZATION_201.replies[TokenAnswer]


def _token_reply(answer: TokenAnswer) -> dict[str, Any]:
    """I08: a driver's own tariff comes with the authorisation."""
    payload = _write_token_answer_201(answer)
    if answer.tariff is not None:
        payload["tariff"] = write_tariff(answer.tariff)
    return payload


TARIFFS = Block(
    replies={TokenAnswer: _token_reply},
    writers={
        commands.ChangeTransactionTariff: ("ChangeTransactionTariff", _change_transaction_tariff),
        commands.ClearTariffs: ("ClearTariffs", _clear_tariffs),
        commands.GetTariffs: ("GetTariffs", _get_tariffs),
        commands.SetDefaultTariff: ("SetDefaultTariff", _set_default_tariff),
    },
    results={
        commands.ClearTariffs: _tariffs_cleared,
        commands.GetTariffs: _tariffs_got,
    },
)
