"""What a checker found. A checker only records; the world goes on, so that one run shows all that
is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.units import iso_from_ms

__all__ = ["Violation", "Violations"]


@dataclass(frozen=True)
class Violation:
    """One thing that must not be."""

    at_ms: int
    rule: str
    detail: str

    def __str__(self) -> str:
        return f"{iso_from_ms(self.at_ms)} {self.rule}: {self.detail}"


@dataclass
class Violations:
    """What was found; a condition that lasts counts once until it has ended."""

    found: list[Violation] = field(default_factory=list)
    _lasting: dict[str, set[str]] = field(default_factory=dict)

    def record(self, at_ms: int, rule: str, detail: str) -> None:
        self.found.append(Violation(at_ms, rule, detail))

    def lasting_all(self, at_ms: int, rule: str, present: Mapping[str, str]) -> None:
        """The subjects that break `rule` at this instant, each with the words for it."""
        before = self._lasting.get(rule)
        if not present and not before:
            return
        for subject, detail in present.items():
            if before is None or subject not in before:
                self.record(at_ms, rule, f"{subject}: {detail}")
        self._lasting[rule] = set(present)
