"""Opening hours and rules: what is owed to a session at an instant, and until when that holds.

Hours are of the site's wall clock. Where it jumps, RFC 5545 section 3.3.5 decides: a time that
comes twice means the first, one that does not come is taken by the offset before the jump. So an
hour that does not exist is empty, and hours that end where others begin leave no gap.

Invariant: terms depend on the description, the session and the instant alone. They say who goes
first and who gets nothing; they never raise what a row may carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from controlplane.network import SiteConfig
from controlplane.rules import HoursConfig, RuleConfig, Weekday
from controlplane.units import MS_PER_S

__all__ = ["UNRULED", "Policy", "Standing", "Terms"]

_WEEKDAYS = list(Weekday)
_DAYS_AHEAD = 15
"""Hours repeat weekly, and a week may be without them where the clock jumps over them."""
_REMEMBERED_MAX = 4_096


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for a session. `priority` and `weight` are None where the connector's own count;
    `rule_id` is the rule that decided, None where none did."""

    priority: int | None = None
    weight: int | None = None
    guaranteed_ma: int = 0
    may_charge: bool = True
    rule_id: str | None = None
    outside_hours: bool = False
    """It is served while the site is closed, too."""


UNRULED = Terms()


@dataclass(frozen=True, slots=True)
class Standing:
    """What holds on a site from `from_ms` up to, not including, `until_ms` (None: for ever)."""

    open: bool
    opens_ms: int | None
    """When it opens next; None where it is open."""
    in_force: frozenset[int]
    """The rules whose hours hold, by position."""
    from_ms: int
    until_ms: int | None


class Policy:
    """The opening hours and rules of one site."""

    def __init__(self, config: SiteConfig) -> None:
        self.zone = ZoneInfo(config.time_zone)
        self._opening = config.opening_hours
        self._rules = config.rules
        self._exact: dict[str, list[int]] = {}
        self._prefixes: list[tuple[str, int]] = []
        for position, rule in enumerate(config.rules):
            for id_token in rule.id_tokens:
                if id_token.endswith("*"):
                    self._prefixes.append((id_token[:-1].lower(), position))
                else:
                    self._exact.setdefault(id_token.lower(), []).append(position)
        self._standing = Standing(True, None, frozenset(), 0, 0)
        self._remembered: dict[str | None, Terms] = {}
        self._instants_ms: dict[tuple[date, int], int] = {}

    def standing(self, now_ms: int) -> Standing:
        """What holds now, and until when."""
        known = self._standing
        if known.from_ms <= now_ms and (known.until_ms is None or now_ms < known.until_ms):
            return known
        self._standing = self._stand(now_ms)
        self._remembered.clear()
        return self._standing

    def opens(self, now_ms: int) -> str:
        """When the site opens next, by its own clock, such as `Mon 07:00`; empty where it is
        open."""
        opens_ms = self.standing(now_ms).opens_ms
        if opens_ms is None:
            return ""
        return datetime.fromtimestamp(opens_ms // MS_PER_S, self.zone).strftime("%a %H:%M")

    def closes_ms(self, at_ms: int) -> int | None:
        """When the opening that holds at an instant ends; None where the site never closes."""
        if not self._opening:
            return None
        spans = self._spans(self._opening, at_ms)
        end_ms = at_ms
        # Hours may end where others begin.
        while later := [end for begin, end in spans if begin <= end_ms < end]:
            end_ms = max(later)
        return end_ms

    def terms(self, id_token: str | None, now_ms: int) -> Terms:
        """What is owed to a session that was begun with `id_token` (None: with none)."""
        standing = self.standing(now_ms)
        if standing.open and not self._rules:
            return UNRULED
        terms = self._remembered.get(id_token)
        if terms is None:
            if len(self._remembered) >= _REMEMBERED_MAX:
                self._remembered.clear()
            terms = self._remembered[id_token] = self._terms(id_token, standing)
        return terms

    def _terms(self, id_token: str | None, standing: Standing) -> Terms:
        rule = self._rule(id_token, standing)
        if rule is None:
            return Terms(may_charge=standing.open)
        return Terms(
            priority=rule.priority,
            weight=rule.weight,
            guaranteed_ma=rule.guaranteed_ma,
            may_charge=standing.open or rule.outside_hours,
            rule_id=rule.id,
            outside_hours=rule.outside_hours,
        )

    def _rule(self, id_token: str | None, standing: Standing) -> RuleConfig | None:
        token = (id_token or "").lower()
        matching = list(self._exact.get(token, ())) if token else []
        matching += [position for prefix, position in self._prefixes if token.startswith(prefix)]
        first = min((each for each in matching if each in standing.in_force), default=None)
        return None if first is None else self._rules[first]

    def _stand(self, now_ms: int) -> Standing:
        edges_ms: list[int] = []
        self._instants_ms.clear()

        def holds(hours: Sequence[HoursConfig]) -> bool:
            if not hours:
                return True
            spans = self._spans(hours, now_ms)
            edges_ms.extend(edge for span in spans for edge in span)
            return any(begin_ms <= now_ms < end_ms for begin_ms, end_ms in spans)

        in_force = frozenset(
            position for position, rule in enumerate(self._rules) if holds(rule.hours)
        )
        is_open = holds(self._opening)
        opens_ms = None
        if not is_open:
            begins_ms = [begin_ms for begin_ms, _ in self._spans(self._opening, now_ms)]
            opens_ms = min((each for each in begins_ms if each > now_ms), default=None)
        return Standing(
            open=is_open,
            opens_ms=opens_ms,
            in_force=in_force,
            from_ms=max(
                (each for each in edges_ms if each <= now_ms), default=now_ms if edges_ms else 0
            ),
            until_ms=min((each for each in edges_ms if each > now_ms), default=None),
        )

    def _spans(self, hours: Sequence[HoursConfig], now_ms: int) -> list[tuple[int, int]]:
        """Begin and end of every stretch of `hours` around an instant, from the day before to more
        than a week ahead."""
        today = datetime.fromtimestamp(now_ms / MS_PER_S, self.zone).date()
        spans = []
        for ahead in range(-1, _DAYS_AHEAD):
            day = today + timedelta(days=ahead)
            for each in hours:
                if _WEEKDAYS[day.weekday()] not in each.days:
                    continue
                over_midnight = each.closes_minute <= each.opens_minute
                begin_ms = self._instant_ms(day, each.opens_minute)
                end_day = day + timedelta(days=1) if over_midnight else day
                end_ms = self._instant_ms(end_day, each.closes_minute)
                if begin_ms < end_ms:
                    spans.append((begin_ms, end_ms))
        return spans

    def _instant_ms(self, day: date, minute: int) -> int:
        """A minute of a day of the site's clock, as an instant."""
        known = self._instants_ms.get((day, minute))
        if known is None:
            midnight = datetime.combine(day, time(), tzinfo=self.zone)
            # Adding to a time of a zone moves its wall clock.
            instant = (midnight + timedelta(minutes=minute)).astimezone(UTC)
            known = self._instants_ms[day, minute] = int(instant.timestamp()) * MS_PER_S
        return known
