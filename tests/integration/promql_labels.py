"""Which series a PromQL query asks for, and which labels its answer has: enough to say before any
operator does that a panel would stay empty or an alert never come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import promql_parser as promql

__all__ = ["Exported", "labels_of"]

Exported = Mapping[str, Mapping[str, frozenset[str]]]
"""Series by name; of each the labels with the values that are known."""

_SAME = {"rate", "increase", "irate", "delta", "max_over_time", "avg_over_time"}


def labels_of(query: str, exported: Exported) -> frozenset[str]:
    """The labels of the query's answer.

    Raises:
        ValueError: it asks for a series, a label or a label's value that is not exported, or joins
            vectors whose labels cannot match.
    """
    return _labels(promql.parse(query), exported)


def _labels(expression: Any, exported: Exported) -> frozenset[str]:
    match expression:
        case promql.VectorSelector():
            return _selected(expression, exported)
        case promql.MatrixSelector():
            return _selected(expression.vector_selector, exported)
        case promql.NumberLiteral():
            return frozenset()
        case promql.ParenExpr():
            return _labels(expression.expr, exported)
        case promql.AggregateExpr():
            return _aggregated(expression, exported)
        case promql.BinaryExpr():
            return _joined(expression, exported)
        case promql.Call():
            labels = [_labels(argument, exported) for argument in expression.args]
            if expression.func.name == "histogram_quantile":
                if "le" not in labels[1]:
                    raise ValueError(f"no buckets in {expression}")
                return labels[1] - {"le"}
            if expression.func.name in _SAME:
                return labels[0]
    raise ValueError(f"nobody checks such a query: {expression}")


def _selected(selector: Any, exported: Exported) -> frozenset[str]:
    if selector.name not in exported:
        raise ValueError(f"{selector.name} is not exported")
    known = exported[selector.name]
    for matcher in selector.matchers.matchers:
        if matcher.name not in known:
            raise ValueError(f"{selector.name} has no label {matcher.name}")
        values = known[matcher.name]
        # Alternatives are the only regular expressions over labels whose values are known.
        asked = set(matcher.value.split("|")) if values else set()
        if not asked <= values and not any("." in value for value in asked):
            raise ValueError(f"{selector.name} has no {matcher.name} {asked - values}")
    return frozenset(known)


def _aggregated(expression: Any, exported: Exported) -> frozenset[str]:
    labels = _labels(expression.expr, exported)
    if expression.modifier is None:
        return frozenset()
    kept = frozenset(expression.modifier.labels)
    if expression.modifier.type != promql.AggModifierType.By or not kept <= labels:
        raise ValueError(f"{kept - labels} cannot be kept in {expression}")
    return kept


def _joined(expression: Any, exported: Exported) -> frozenset[str]:
    left, right = _labels(expression.lhs, exported), _labels(expression.rhs, exported)
    if isinstance(expression.rhs, promql.NumberLiteral):
        return left
    if isinstance(expression.lhs, promql.NumberLiteral):
        return right
    if left != right:
        raise ValueError(f"{left} and {right} never match in {expression}")
    return left
