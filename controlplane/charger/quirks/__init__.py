"""What chargers of a make are known to do differently: one TOML file a profile, in this folder.

A profile is chosen from what a station says when it boots (vendor, model, firmware), or named for a
charger in the network's description. It says only what deviates; everything else is left to what
the charger reports of itself. Files are read once, when this module is imported, and a field that
is unknown, missing or of a wrong type stops it: a quirk that is silently ignored costs a driver a
charge.

The invariant: the same boot and the same description give the same `Quirks`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from importlib import resources
from typing import Final, Literal

import msgspec

__all__ = ["NONE", "PROFILES", "Profile", "Quirks", "quirks_of", "unknown_profiles"]

NONE: Final = "none"
"""Named in a description: no profile, whatever the station says when it boots."""


class Quirks(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How a charger deviates. None and empty: it does not, or nobody knows."""

    unit: Literal["A", "W"] | None = None
    """The only unit that it takes in charging profiles."""
    stack_level: int | None = None
    """The only level that it takes, or the one to keep away from others with."""
    profile_kind: Literal["relative", "absolute"] | None = None
    steer_by: Literal["transaction", "default"] | None = None
    """Which profile limits a running transaction: its own (TxProfile), or the default of all
    (TxDefaultProfile)."""
    clear_before_set: bool | None = None
    """A profile must be cleared before another can be set."""
    decimals: Literal[0, 1] | None = None
    """Decimals that it takes in a limit."""
    phases: Literal["stated", "left_out"] | None = None
    """Whether numberPhases is written for a connector of less than three."""
    learn: bool | None = None
    """False: a refused profile is not tried in other forms, because the refusal has another
    reason."""
    measurands: tuple[str, ...] = ()
    """Exactly what is asked for; nothing else is tried if it refuses that."""
    measurands_never: tuple[str, ...] = ()
    """What is never asked for, though it claims to have it."""
    sampling: Literal["set", "leave"] | None = None
    """`leave`: the list of measurands is never written."""
    sample_interval_min_s: int | None = None
    report: Literal["full", "none"] | None = None
    """`none`: it is never asked for all its settings."""
    settings_per_message: int | None = None
    station_faulted: Literal["fault", "safe_mode"] | None = None
    """What Faulted on connector 0 means: `safe_mode`, that it charges on with less current because
    something beside it is lost."""
    reset_answered: bool | None = None
    """False: it restarts instead of answering a Reset."""
    password_form: Literal["text", "hex"] | None = None
    """How it wants AuthorizationKey: as it is typed, or as hexadecimal digits of it."""
    register_unit: Literal["Wh", "kWh"] | None = None
    """`kWh`: registers are in kilowatt-hours, though it labels them Wh."""


class Profile(Quirks, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file. Patterns are regular expressions, looked for anywhere, in any case of letters; a
    profile without any is used only where a description names it."""

    why: str
    """What was seen, in a sentence."""
    sources: tuple[str, ...] = ()
    vendor: str = ""
    model: str = ""
    firmware: str = ""

    @property
    def patterns(self) -> tuple[str, str, str]:
        return self.vendor, self.model, self.firmware

    def matches(self, vendor: str, model: str, firmware: str) -> bool:
        """Whether a station that boots like this is meant."""
        return any(self.patterns) and all(
            not pattern or re.search(pattern, said, re.IGNORECASE)
            for pattern, said in zip(self.patterns, (vendor, model, firmware), strict=True)
        )

    def deviations(self) -> dict[str, object]:
        """What this profile says, by field of `Quirks`."""
        return {
            name: getattr(self, name)
            for name in Quirks.__struct_fields__
            if getattr(self, name) not in (None, ())
        }


def _read() -> dict[str, Profile]:
    profiles = {}
    for file in sorted(resources.files(__name__).iterdir(), key=lambda file: file.name):
        if file.name.endswith(".toml"):
            profile = msgspec.toml.decode(file.read_bytes(), type=Profile)
            for pattern in profile.patterns:
                re.compile(pattern)
            if any(profile.patterns) and not profile.sources:
                raise ValueError(f"{file.name}: what is said of a make needs a source")
            if not profile.deviations():
                raise ValueError(f"{file.name}: changes nothing")
            profiles[file.name.removesuffix(".toml")] = profile
    return profiles


PROFILES: Final = _read()
"""Every profile by its name, in order of names."""


def unknown_profiles(names: Iterable[str]) -> list[str]:
    """Those of `names` that are no profile."""
    return [name for name in names if name != NONE and name not in PROFILES]


@lru_cache(maxsize=4_096)
def quirks_of(
    vendor: str, model: str, firmware: str, *, named: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], Quirks]:
    """The profiles that hold for a charger, and what they say together. Those that a description
    names are the only ones; otherwise every one that matches, and what the more exact one says goes
    before what the others say."""
    if named:
        chosen = [name for name in named if name in PROFILES]
    else:
        chosen = sorted(
            (name for name, each in PROFILES.items() if each.matches(vendor, model, firmware)),
            key=lambda name: sum(map(bool, PROFILES[name].patterns)),
        )
    said: dict[str, object] = {}
    for name in chosen:
        said |= PROFILES[name].deviations()
    return tuple(chosen), msgspec.convert(said, Quirks)
