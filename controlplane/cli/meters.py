"""`loadstar meters`: try out a Modbus TCP meter before a site is described with it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from controlplane.cli.connection import Json, fail
from controlplane.cli.output import amperes, table

if TYPE_CHECKING:
    from controlplane.network_power import ModbusMeterConfig

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Try out building meters.")


@app.command("read")
def read(
    host: Annotated[str, typer.Option(help="Where the meter listens.")],
    registers: Annotated[
        str,
        typer.Option(
            help="First register of the current on L1, L2 and L3, from 0: `52,54,56`. Joined by "
            "`+`, values are summed: `52+152,54+154,56+156`."
        ),
    ],
    port: Annotated[int, typer.Option(help="TCP port.")] = 502,
    unit: Annotated[int, typer.Option(help="Unit id; a gateway tells its meters apart by it.")] = 1,
    register_type: Annotated[str, typer.Option(help="input or holding.")] = "input",
    format: Annotated[
        str, typer.Option(help="int16, uint16, int32, uint32 or float32.")
    ] = "float32",
    word_order: Annotated[
        str, typer.Option(help="big: the upper half of 32 bits comes first; little: last.")
    ] = "big",
    scale: Annotated[
        float, typer.Option(help="Amperes per step; 0.001 where registers hold milliamperes.")
    ] = 1.0,
    as_json: Json = False,
) -> None:
    """Read the three currents of a Modbus TCP meter once, and show how to describe it.

    Talks to the meter itself, without a running Loadstar. Addresses count from 0: where a manual
    says 30053, the address is 52.

    \b
    loadstar meters read --host 192.0.2.17 --registers 6,8,10
    loadstar meters read --host 192.0.2.17 --registers 12,14,16 --format int32 --scale 0.001 \\
        --register-type holding --word-order little
    """
    from controlplane.errors import LoadstarError
    from controlplane.integrations.modbus.meter import ModbusMeter

    config = _config(
        kind="modbus",
        host=host,
        port=port,
        unit=unit,
        registers=_registers(registers),
        register_type=register_type,
        format=format,
        word_order=word_order,
        scale_a=scale,
    )

    async def once() -> tuple[dict[int, int], tuple[int, int, int]]:
        from controlplane.integrations.modbus.registers import currents_ma

        meter = ModbusMeter(config)
        try:
            words = await meter.registers()
            return words, currents_ma(config, words)
        finally:
            meter.close()

    try:
        words, currents = asyncio.run(once())
    except LoadstarError as error:
        fail(error.message)
    if as_json:
        found = {"l1_ma": currents[0], "l2_ma": currents[1], "l3_ma": currents[2]}
        typer.echo(json.dumps({"current": found, "registers": words}))
        return
    table(
        ["Line", "#Current", "Registers"],
        (
            [line, amperes(current_ma), _shown(addresses, words, config)]
            for line, current_ma, addresses in zip(
                ("L1", "L2", "L3"),
                currents,
                (config.registers.l1, config.registers.l2, config.registers.l3),
                strict=True,
            )
        ),
    )
    typer.echo("Described in a site as\n  building_load:\n    meter:")
    typer.echo("\n".join(f"      {line}" for line in _yaml(config)))


def _registers(text: str) -> dict[str, list[int]]:
    lines = text.split(",")
    try:
        found = [[int(address) for address in line.split("+")] for line in lines]
    except ValueError:
        found = []
    if len(found) != 3:
        raise typer.BadParameter(
            "three addresses such as 52,54,56, one for each line", param_hint="--registers"
        )
    return dict(zip(("l1", "l2", "l3"), found, strict=True))


def _config(**given: object) -> ModbusMeterConfig:
    from pydantic import ValidationError

    from controlplane.network_power import ModbusMeterConfig
    from controlplane.network_yaml import violations

    try:
        return ModbusMeterConfig.model_validate(given)
    except ValidationError as error:
        faults = "\n".join(f"  {place}: {fault}" for place, fault in violations(error))
        fail(f"No meter can be read like this:\n{faults}")


def _shown(addresses: tuple[int, ...], words: dict[int, int], config: ModbusMeterConfig) -> str:
    from controlplane.integrations.modbus.registers import registers_per_value

    width = registers_per_value(config.format)
    return "; ".join(
        f"{address}: " + " ".join(f"{words[address + offset]:04x}" for offset in range(width))
        for address in addresses
    )


def _yaml(config: ModbusMeterConfig) -> list[str]:
    import yaml

    document = config.model_dump(mode="json")
    for line, addresses in document["registers"].items():
        if len(addresses) == 1:
            document["registers"][line] = addresses[0]
    return str(yaml.safe_dump(document, sort_keys=False)).splitlines()
