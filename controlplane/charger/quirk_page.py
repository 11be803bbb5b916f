"""What is known of makes, as a page: `docs/quirks.md`, made from the files in `quirks/`.

`python -m controlplane.charger.quirk_page` writes it; a contract test holds the committed page to
what this module says."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from controlplane.charger.quirks import PROFILES, Profile

__all__ = ["page"]

_INTRODUCTION: Final = """\
# What makes do differently

This page is generated from the files in `controlplane/charger/quirks`:
`python -m controlplane.charger.quirk_page`.

Each file is a profile of quirks: what a make, a model or a firmware does that the specification
would not lead one to expect. A profile is chosen by what a charger says when it boots: its patterns
are regular expressions, looked for anywhere in vendor, model and firmware, in any case of letters.
Where several match, what the one with more patterns says goes before what the others say. A network
description may name profiles for a charger instead:

```yaml
chargers:
  - {id: CP-1, circuit: supply, quirks: [whole-amperes, reset-unanswered]}
  - {id: CP-2, circuit: supply, quirks: [none]}   # none at all, whatever it says when it boots
```

A file that has a field nobody knows, or one of a wrong type, stops Loadstar from starting. What is
said of a make has a source in public; to add one, add a file, and run the command above.

Which profiles hold for a charger, and what it taught by itself, `loadstar chargers get` shows. How
the sources of a decision are weighed stands in [device-model.md](device-model.md).
"""

_FIELDS: Final = """\
## Fields

| field | what it changes |
| --- | --- |
| `unit` | `A` or `W`: the unit of limits |
| `stack_level` | the level of every profile; never above what the charger reports as its highest |
| `profile_kind` | `relative`, or `absolute` from an hour ago, so that it is in force at once |
| `steer_by` | `default`: a transaction is limited by the default profile, put back at its end |
| `clear_before_set` | the old profile is cleared before the new one is set |
| `decimals` | `0`: limits are whole amperes, rounded down |
| `phases` | `left_out`: no `numberPhases` |
| `learn` | `false`: a refused profile is not tried in other forms |
| `measurands` | exactly these are asked for, and nothing else is tried |
| `measurands_never` | these are never asked for |
| `sampling` | `leave`: the list of measurands is never written |
| `sample_interval_min_s` | it is not asked to sample more often |
| `report` | `none`: it is never asked for all its settings |
| `settings_per_message` | how many settings go in one question or change |
| `station_faulted` | `safe_mode`: connector 0 Faulted is no fault that a reset would heal |
| `reset_answered` | `false`: a restart is the answer to a Reset |
| `password_form` | `hex`: `AuthorizationKey` is written as hexadecimal digits of the password |
| `register_unit` | `kWh`: registers labelled Wh are kilowatt-hours |
"""


def page() -> str:
    """The whole page as Markdown."""
    makes = {name: each for name, each in PROFILES.items() if any(each.patterns)}
    others = {name: each for name, each in PROFILES.items() if not any(each.patterns)}
    return "\n".join(
        [
            _INTRODUCTION,
            "## Makes\n",
            "| profile | vendor | model | firmware | changes | why | sources |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *(_make(name, profile) for name, profile in makes.items()),
            "",
            "## By name only\n",
            "| profile | changes | for |",
            "| --- | --- | --- |",
            *(f"| `{name}` | {_changes(each)} | {each.why} |" for name, each in others.items()),
            "",
            _FIELDS,
        ]
    )


def _make(name: str, profile: Profile) -> str:
    patterns = " | ".join(_code(pattern) for pattern in profile.patterns)
    sources = ", ".join(
        f"[{number}]({source})" for number, source in enumerate(profile.sources, start=1)
    )
    return f"| `{name}` | {patterns} | {_changes(profile)} | {profile.why} | {sources} |"


def _changes(profile: Profile) -> str:
    return ", ".join(f"`{name}` {_value(said)}" for name, said in profile.deviations().items())


def _value(said: object) -> str:
    if isinstance(said, tuple):
        return ", ".join(map(str, said))
    return str(said).lower() if isinstance(said, bool) else str(said)


def _code(pattern: str) -> str:
    """A pattern in a table, where a bar would end the cell."""
    return f"`{pattern}`".replace("|", "\\|") if pattern else ""


if __name__ == "__main__":
    Path(sys.argv[1] if len(sys.argv) > 1 else "docs/quirks.md").write_text(
        page(), encoding="utf-8"
    )
