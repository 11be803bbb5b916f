"""How far forecasts were off, beside what anybody would have guessed.

Powers and arrivals are judged on the last two weeks: each hour is forecast from what was known
before its day began, and so from nothing that lies in that day or after it. Stays and needs are
judged as sessions end, against what was forecast when they began. Beside each stand naive guesses:
the same hour of the day before and of the week before, or one number for all sessions.

The loss of a quantile is the pinball loss, whose mean is least for the true quantile: what came
above it costs `percent` of the distance, what came below it the rest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import msgspec

from controlplane.planning.history import DAY_H, Calendar, Hours, weighted_quantile
from controlplane.planning.series import Series
from controlplane.units import MS_PER_HOUR

__all__ = [
    "Baseline",
    "ForecastError",
    "SessionScore",
    "hours_error",
    "loss",
    "session_error",
    "told_error",
]

SCORED_DAYS: Final = 14
_MEDIAN: Final = 50
_HIGH: Final = 90

REMEMBERED: Final = 0.98
"""Of the weight of a session that ended, what is left when the next one ends: some fifty count."""


class Baseline(msgspec.Struct, frozen=True, kw_only=True):
    """A guess that needs no learning, and how far it was off at the same hours or sessions."""

    name: str
    mean_error: float
    loss: float


class ForecastError(msgspec.Struct, frozen=True, kw_only=True):
    """How far one forecast was off.

    `mean_error` is the mean distance of what came from the middle forecast, `loss` the mean pinball
    loss of the forecast at `quantile_percent`; both in `unit`, as are those of the baselines.
    """

    what: str
    unit: str
    compared_count: int
    """Hours or sessions."""
    mean_error: float
    quantile_percent: int
    loss: float
    baselines: tuple[Baseline, ...]
    words: str


class _Sums:
    """Errors of one forecaster."""

    def __init__(self) -> None:
        self.count = 0
        self.distance = 0.0
        self.lost = 0.0

    def add(self, came: float, middle: float, quantile: float, percent: int) -> None:
        self.count += 1
        self.distance += abs(came - middle)
        self.lost += loss(came, quantile, percent)

    def baseline(self, name: str) -> Baseline:
        count = max(1, self.count)
        return Baseline(
            name=name,
            mean_error=round(self.distance / count, 3),
            loss=round(self.lost / count, 3),
        )


def loss(came: float, expected: float, percent: int) -> float:
    """The pinball loss of one forecast."""
    above = came - expected
    return above * percent / 100 if above >= 0 else -above * (100 - percent) / 100


def hours_error(
    hours: Hours, *, what: str, unit: str, calendar: Calendar, percent: int = _HIGH
) -> ForecastError | None:
    """The error of what was learned of an hourly series; None where nothing can be compared yet."""
    learned, day_before, week_before = _Sums(), _Sums(), _Sums()
    first = max(hours.first, hours.end - SCORED_DAYS * DAY_H)
    for hour in range(first, hours.end):
        came = hours.at(hour)
        if came is None:
            continue
        day, hour_of_day = calendar.place(hour)
        begins = calendar.midnight(day)
        expected = hours.expected(hour, (_MEDIAN, percent), before=begins, calendar=calendar)
        guesses = [
            hours.at(calendar.midnight(day - timedelta(days=back)) + hour_of_day) for back in (1, 7)
        ]
        if expected is None or guesses[0] is None:
            continue
        # Until there is a week, the day before is the guess of that, too.
        week = guesses[0] if guesses[1] is None else guesses[1]
        middle, high = expected
        learned.add(came, middle, high, percent)
        day_before.add(came, guesses[0], guesses[0], percent)
        week_before.add(came, week, week, percent)
    return _error(
        learned,
        [
            ("the same hour of the day before", day_before),
            ("the same hour of the week before", week_before),
        ],
        what=what,
        unit=unit,
        percent=percent,
        over=f"{learned.count} hours",
    )


def told_error(hours: Hours, told: Series, *, what: str, unit: str) -> ForecastError | None:
    """The error of a forecast that others pushed, over its hours that have passed."""
    pushed, day_before = _Sums(), _Sums()
    for hour in range(hours.first, hours.end):
        came = hours.at(hour)
        before = hours.at(hour - DAY_H)
        expected = told.mean(hour * MS_PER_HOUR, (hour + 1) * MS_PER_HOUR)
        if came is not None and before is not None and expected is not None:
            pushed.add(came, expected, expected, _MEDIAN)
            day_before.add(came, before, before, _MEDIAN)
    return _error(
        pushed,
        [("the same hour of the day before", day_before)],
        what=what,
        unit=unit,
        percent=_MEDIAN,
        over=f"{pushed.count} hours",
    )


class SessionScore(msgspec.Struct, array_like=True):
    """How far a quantile that was forecast when sessions began was off; part of a durable state.
    Late sessions weigh more."""

    sessions: int = 0
    weight: float = 0.0
    distance: float = 0.0
    lost: float = 0.0
    naive_distance: float = 0.0
    naive_lost: float = 0.0

    def add(self, came: int, expected: int, seen: Sequence[int], percent: int) -> None:
        """A session ended.

        Args:
            expected: the quantile that was forecast.
            seen: what earlier sessions had, whenever they began: the naive forecast is their
                quantile.
        """
        naive = weighted_quantile([(each, 1.0) for each in seen], percent) if seen else expected
        self.sessions += 1
        self.weight = self.weight * REMEMBERED + 1
        self.distance = self.distance * REMEMBERED + abs(came - expected)
        self.lost = self.lost * REMEMBERED + loss(came, expected, percent)
        self.naive_distance = self.naive_distance * REMEMBERED + abs(came - naive)
        self.naive_lost = self.naive_lost * REMEMBERED + loss(came, naive, percent)


def session_error(
    score: SessionScore, *, what: str, unit: str, percent: int
) -> ForecastError | None:
    """The error of forecasts of sessions; None where none has ended that was forecast."""
    if not score.sessions:
        return None
    learned, naive = _Sums(), _Sums()
    learned.count = naive.count = 1
    learned.distance, learned.lost = score.distance / score.weight, score.lost / score.weight
    naive.distance = score.naive_distance / score.weight
    naive.lost = score.naive_lost / score.weight
    found = _error(
        learned,
        [("one quantile of all sessions", naive)],
        what=what,
        unit=unit,
        percent=percent,
        over=f"{score.sessions} sessions, late ones counting more",
        by_loss=True,
    )
    return found and msgspec.structs.replace(found, compared_count=score.sessions)


def _error(
    learned: _Sums,
    naive: Sequence[tuple[str, _Sums]],
    *,
    what: str,
    unit: str,
    percent: int,
    over: str,
    by_loss: bool = False,
) -> ForecastError | None:
    """The figures, and what they say: the forecast beside the best of the naive ones."""
    if not learned.count:
        return None
    baselines = tuple(sums.baseline(name) for name, sums in naive)
    own = learned.baseline("")
    best = min(baselines, key=lambda each: each.loss if by_loss else each.mean_error)
    mine, other = (own.loss, best.loss) if by_loss else (own.mean_error, best.mean_error)
    if mine == other:
        verdict = "as good as"
    elif other == 0:
        verdict = "worse than"
    else:
        verdict = f"{abs(1 - mine / other):.0%} {'better' if mine < other else 'worse'} than"
    measure = f"with a loss of {mine:,.4g}" if by_loss else f"off by {mine:,.4g}"
    beside = f"{verdict} {best.name} ({other:,.4g})"
    return ForecastError(
        what=what,
        unit=unit,
        compared_count=learned.count,
        mean_error=own.mean_error,
        quantile_percent=percent,
        loss=own.loss,
        baselines=baselines,
        words=f"{what}: {measure} {unit} on average over {over}, {beside}",
    )
