"""Make every number of a collection one that OTLP and Prometheus can carry.

Python's integers have no end, OTLP's have 64 bits: one sum beyond them would cost the whole push.
It becomes a float, as Prometheus has it anyway. What is no number at all (an instrument of the
plain API takes a ``Decimal``) becomes one or is left out, with one warning for the metric.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final

from opentelemetry.sdk.metrics.export import Metric, MetricsData

_FIELDS: Final = ("value", "sum", "min", "max")
_END: Final = 2**63
_log = logging.getLogger("glam_sdk.telemetry")
_told: set[str] = set()


def carried(data: MetricsData) -> MetricsData:
    """Return the data with numbers that fit; the very same where all of them did."""
    resources, is_same = [], True
    for resource in data.resource_metrics:
        scopes = []
        for scope in resource.scope_metrics:
            metrics = [_metric(metric) for metric in scope.metrics]
            if any(new is not old for new, old in zip(metrics, scope.metrics, strict=True)):
                left = [metric for metric in metrics if metric is not None]
                scope, is_same = replace(scope, metrics=left), False  # noqa: PLW2901
            scopes.append(scope)
        resources.append(replace(resource, scope_metrics=scopes))
    return data if is_same else MetricsData(resource_metrics=resources)


def _metric(metric: Metric) -> Metric | None:
    """Return a metric with numbers that fit, or None where none of them can."""
    data: Any = metric.data
    points = data.data_points
    if all(_fits(point) for point in points):
        return metric
    found = []
    for point in points:
        try:
            found.append(point if _fits(point) else _changed(point))
        except (TypeError, ValueError, OverflowError):
            if metric.name not in _told:
                _told.add(metric.name)
                _log.warning("metrics.number_left_out", extra={"metric": metric.name})
    return replace(metric, data=replace(data, data_points=found)) if found else None


def _fits(point: Any) -> bool:
    numbers: Sequence[Any] = (
        (point.value,) if hasattr(point, "value") else (point.sum, point.min, point.max)
    )
    if not all(map(_is_carried, numbers)):
        return False
    return not point.exemplars or all(_is_carried(each.value) for each in point.exemplars)


def _is_carried(number: Any) -> bool:
    kind = type(number)
    return kind is float or (kind is int and -_END <= number < _END) or number is None


def _changed(point: Any) -> Any:
    fields: dict[str, Any] = {
        name: _number(getattr(point, name)) for name in _FIELDS if hasattr(point, name)
    }
    exemplars = [replace(each, value=_number(each.value)) for each in point.exemplars or ()]
    return replace(point, exemplars=exemplars, **fields)


def _number(value: Any) -> Any:
    return value if _is_carried(value) else float(value)
