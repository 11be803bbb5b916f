"""The round against exact models that HiGHS solves: who is admitted, what the fair levels are, that
no allocation is fairer, and that none gives more to one without taking from another.

Only rows that are linear take part, since a vector row is none: those of lines, total power,
imbalance, and others whose coefficients are not below 0."""

from __future__ import annotations

import dataclasses
from typing import Any

import highspy
from allocation_cases import allocate, one_sided_coefficients, problems
from allocation_reference import Problem
from hypothesis import given, settings
from hypothesis import strategies as st

SCALE = 1_000
"""Currents are amperes in milliamperes: far above what rounding moves, far below what a solver with
floating point can tell apart."""


class Model:
    """A mixed-integer linear program over the rows of a problem."""

    def __init__(self, problem: Problem) -> None:
        self._highs: Any = highspy.Highs()
        self._highs.setOptionValue("output_flag", False)
        self._highs.setOptionValue("threads", 1)
        self._problem = problem

    def number(self, least: float = 0.0, most: float = highspy.kHighsInf) -> Any:
        return self._highs.addVariable(lb=least, ub=most)

    def yes_or_no(self, count: int) -> list[Any]:
        return [self._highs.addBinary() for _ in range(count)]

    def require(self, condition: Any) -> None:
        self._highs.addConstr(condition)

    def sum(self, terms: list[Any]) -> Any:
        return self._highs.qsum(terms)

    def keep_rows(self, current: list[Any]) -> None:
        """Every row bears these currents beside its liabilities."""
        problem = self._problem
        for row in (*problem.plain_rows, *problem.combined_rows):
            on_row = [leaf for leaf in problem.leaves_on[row] if current[leaf] is not None]
            if on_row:
                terms = [coefficient(problem, row, leaf) * current[leaf] for leaf in on_row]
                self.require(self.sum(terms) <= room(problem, row))

    def most(self, aim: Any) -> float | None:
        """The largest value of `aim`; None if nothing meets the requirements."""
        self._highs.maximize(aim)
        status = self._highs.getModelStatus()
        if status == highspy.HighsModelStatus.kInfeasible:
            return None
        assert status == highspy.HighsModelStatus.kOptimal, status
        return float(self._highs.getInfo().objective_function_value)

    def value(self, variable: Any) -> float:
        return float(self._highs.val(variable))


def coefficient(problem: Problem, row: int, leaf: int) -> int:
    if row in problem.plain_rows:
        return 1
    of_kinds = problem.combined_coefficient[row - len(problem.plain_rows)]
    return of_kinds[problem.kind_of(leaf)][0]


def room(problem: Problem, row: int) -> int:
    liable = [
        coefficient(problem, row, leaf) * max(0, problem.liability_ma[leaf])
        for leaf in problem.leaves_on[row]
    ]
    return max(0, problem.limit_of(row) - sum(liable))


def linear_problems(*features: str, leaves_max: int = 7) -> st.SearchStrategy[Problem]:
    return problems(
        features=frozenset({"combined", *features}),
        scales=(SCALE,),
        leaves_max=leaves_max,
        combined=one_sided_coefficients(),
    )


@settings(max_examples=250, deadline=None)
@given(linear_problems("keep_on", "liability", "rotation", "sets", "tiers", leaves_max=9))
def test_admission_takes_the_first_in_order_for_whom_there_is_room(problem: Problem) -> None:
    """Each counts twice as much as the next, so no number of later ones outweighs an earlier."""
    model = Model(problem)
    order = sorted(
        problem.leaves,
        key=lambda leaf: (problem.tier[leaf], not problem.keep_on[leaf], problem.rank[leaf], leaf),
    )
    runs = model.yes_or_no(len(order))
    model.keep_rows([problem.least(leaf) * runs[leaf] for leaf in problem.leaves])
    best = model.most(model.sum([2**place * runs[leaf] for place, leaf in enumerate(order[::-1])]))
    assert best is not None
    assert allocate(problem).admitted.tolist() == [model.value(one) > 0.5 for one in runs]


@settings(max_examples=120, deadline=None)
@given(linear_problems("liability", "rotation"))
def test_levels_are_those_of_repeated_linear_programs(problem: Problem) -> None:
    """Raise the least share as far as it goes, fix those it is bound to, and again: the textbook
    way to weighted max-min shares."""
    result = allocate(problem)
    fixed = {
        leaf: 0.0
        for leaf in problem.leaves
        if not result.admitted[leaf] or problem.max_ma[leaf] == 0
    }
    while len(fixed) < len(problem.leaves):
        rising = [leaf for leaf in problem.leaves if leaf not in fixed]
        model = Model(problem)
        current = [
            model.number(problem.min_ma[leaf], problem.max_ma[leaf])
            if leaf in rising
            else model.number(fixed[leaf], fixed[leaf])
            for leaf in problem.leaves
        ]
        level = model.number()
        for leaf in rising:
            model.require(current[leaf] >= problem.weight[leaf] * level)
        model.keep_rows(current)
        best = model.most(level)
        assert best is not None
        share = {leaf: max(problem.min_ma[leaf], problem.weight[leaf] * best) for leaf in rising}
        full = _full_rows(problem, fixed | share)
        stuck = {
            leaf: share[leaf]
            for leaf in rising
            if share[leaf] >= problem.max_ma[leaf] - 1e-3
            or full.intersection(problem.rows_of[leaf])
        }
        assert stuck
        fixed |= stuck
    for leaf in problem.leaves:
        assert abs(int(result.current_ma[leaf]) - fixed[leaf]) <= rounding(problem)


def _full_rows(problem: Problem, current: dict[int, float]) -> set[int]:
    return {
        row
        for row in (*problem.plain_rows, *problem.combined_rows)
        if sum(coefficient(problem, row, leaf) * current[leaf] for leaf in problem.leaves_on[row])
        >= room(problem, row) - 1e-2
    }


def rounding(problem: Problem) -> int:
    """What whole milliamperes move: of each less than one, which on a row of total power is as much
    as three of a connector on one line, and goes to anybody."""
    return 3 * len(problem.leaves)


@settings(max_examples=80, deadline=None)
@given(linear_problems("liability", "rotation", leaves_max=5))
def test_no_allocation_is_fairer(problem: Problem) -> None:
    """Shares (current / weight) sorted from the least: no other allocation is higher at some place,
    by more than rounding, and nowhere before it lower."""
    weight = [max(1, share // 300) for share in problem.weight]
    problem = dataclasses.replace(problem, weight=weight)
    result = allocate(problem)
    taking = [leaf for leaf in problem.leaves if result.admitted[leaf]]
    if not taking:
        return
    ours = sorted(int(result.current_ma[leaf]) / weight[leaf] for leaf in taking)
    places = range(len(taking))
    model = Model(problem)
    better_from = model.yes_or_no(len(taking))
    model.require(model.sum(better_from) == 1)
    floor = [
        model.sum(
            [
                (ours[first] + SCALE / 4 if first <= place else ours[place]) * better_from[first]
                for first in places
            ]
        )
        for place in places
    ]
    current: list[Any] = [None for _ in problem.leaves]
    at = {leaf: model.yes_or_no(len(taking)) for leaf in taking}
    for leaf in taking:
        current[leaf] = model.number(problem.min_ma[leaf], problem.max_ma[leaf])
        model.require(model.sum(at[leaf]) == 1)
        for place in places:
            beyond = (max(ours) + SCALE) * (1 - at[leaf][place])
            model.require(current[leaf] >= weight[leaf] * (floor[place] - beyond))
    for place in places:
        model.require(model.sum([at[leaf][place] for leaf in taking]) == 1)
    model.keep_rows(current)
    assert model.most(model.sum([current[leaf] for leaf in taking])) is None


@settings(max_examples=200, deadline=None)
@given(linear_problems("liability", "rotation", "keep_on", "tiers"), st.data())
def test_with_sets_nobody_can_have_more_unless_another_has_less(
    problem: Problem, data: st.DataObject
) -> None:
    """Whatever others take beside it: keep everyone at what it has or a higher member, and the sum
    does not grow."""
    members = st.sampled_from([[8, 16, 24, 32], [6, 10, 13], [10, 20], [1, 2, 40]])
    sets = data.draw(st.lists(members, min_size=len(problem.leaves), max_size=len(problem.leaves)))
    problem = dataclasses.replace(
        problem, setpoints_ma=[[SCALE * member for member in one] for one in sets]
    )
    result = allocate(problem)
    model = Model(problem)
    current: list[Any] = []
    for leaf in problem.leaves:
        has = int(result.current_ma[leaf])
        choices = [has, *(more for more in problem.choices(leaf) if more > has)]
        if not result.admitted[leaf]:
            choices = [0]
        takes = model.yes_or_no(len(choices))
        model.require(model.sum(takes) == 1)
        current.append(
            model.sum([take * choice for take, choice in zip(takes, choices, strict=True)])
        )
    model.keep_rows(current)
    best = model.most(model.sum(current))
    assert best is not None
    assert round(best) == sum(result.current_ma.tolist())
