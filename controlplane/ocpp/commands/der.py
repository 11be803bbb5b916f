"""How a station's inverter, or its vehicles', is told to support the grid (2.1, R01 to R04)."""

from __future__ import annotations

from controlplane.ocpp.commands.core import Command
from controlplane.ocpp.der import DerKind, DerSetting

__all__ = ["ClearDerControl", "GetDerControls", "SetDerControl"]


class SetDerControl(Command, frozen=True, tag="set_der_control"):
    """Set a control. `setting` is of the struct that `der.setting_of(kind)` names; a default has no
    begin and no duration, a scheduled curve has both."""

    control_id: str
    kind: DerKind
    is_default: bool
    setting: DerSetting


class GetDerControls(Command, frozen=True, tag="get_der_controls"):
    """Have controls reported (`der.DerReported` follows the answer); None where it does not
    matter."""

    request_id: int
    is_default: bool | None = None
    kind: DerKind | None = None
    control_id: str | None = None


class ClearDerControl(Command, frozen=True, tag="clear_der_control"):
    """Remove default or scheduled controls: one by its id, or all of a kind, or all."""

    is_default: bool
    kind: DerKind | None = None
    control_id: str | None = None
