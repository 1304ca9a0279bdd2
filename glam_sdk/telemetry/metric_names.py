"""Check what a service's author declares: a name once, with one meaning.

Under pytest a mistake raises; in production it is logged and the instrument measures nothing, so
that a wrong declaration never stops a service.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import isfinite
from numbers import Real
from typing import Any, Final, Literal, get_args

from glam_sdk._internal.guard import report
from glam_sdk.telemetry.catalogue import MetricSpec, all_metrics
from glam_sdk.telemetry.conventions import HTTP_DURATION_BUCKETS
from glam_sdk.telemetry.prometheus_names import metric_name, sample_names

WorkerRule = Literal["sum", "max", "min", "last", "worker"]
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")
_UNIT: Final = re.compile(r"[\x20-\x7e]{0,63}")
_ANY: Final = re.compile(r"[\s\S]*")
_NOT_IN_PROMETHEUS: Final = re.compile(r"[^a-z0-9]+")
_MAX_NAMES: Final = 10_000
"""Names made of ids would grow for ever, here and in OpenTelemetry."""
_MAX_REFUSED: Final = 100


class MisuseError(ValueError):
    """A metric was declared or used in a way that cannot be measured."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """Say what a metric is; the types of an author's mistake are not those that are written here.

    Args:
        name: As it was given.
        kind: Of instrument.
        unit: In UCUM.
        description: The first that is given for a name is shown.
        workers: How gauges of several worker processes become one value.
        buckets: Of a histogram; None where it has those of an earlier declaration or the default.
    """

    name: str
    kind: str
    unit: str = ""
    description: str = ""
    workers: WorkerRule | None = None
    buckets: tuple[float, ...] | None = None

    def problem(self) -> str | None:
        """Return what is wrong with the declaration itself."""
        name, unit = self.name, self.unit
        if not _is_text(name, _NAME):
            return (
                f"{name!r} is no metric name. Use letters, digits and any of _.-/ after a "
                "letter, at most 255 of them, such as 'orders.placed'."
            )
        if not _is_text(unit, _UNIT):
            return f"{unit!r} is no unit of {name!r}. Use at most 63 ASCII characters."
        if not _is_text(self.description, _ANY):
            return f"{self.description!r} is no description of {name!r}. Use a sentence."
        if self.workers is not None and self.workers not in get_args(WorkerRule):
            rules = ", ".join(map(repr, get_args(WorkerRule)))
            return f"{self.workers!r} is no rule for the workers of {name!r}. Use one of {rules}."
        if self.buckets is not None and not _are_bounds(self.buckets):
            return (
                f"{self.buckets!r} are no buckets of {name!r}. "
                "Use finite upper bounds, each above the one before, such as [0.1, 1, 10]."
            )
        return None

    def completed(self) -> Declaration:
        """Return the same with the default buckets where none were given."""
        if self.kind != "histogram" or self.buckets is not None or self.unit != "s":
            return self
        return Declaration(
            self.name, self.kind, self.unit, self.description, None, HTTP_DURATION_BUCKETS
        )

    def samples(self) -> tuple[str, ...]:
        """Return the names of its samples in Prometheus, in lower case."""
        kind = "gauge" if self.kind == "up_down_counter" else self.kind
        return sample_names(metric_name(self.name.lower(), self.unit, kind)[0], kind)

    def conflict(self, earlier: Declaration) -> str | None:
        """Return what contradicts an earlier declaration of the same name."""
        if self.name.lower() != earlier.name.lower():
            return _one_name(self.name, earlier.name)
        for what, shown in _MEANING.items():
            mine, first = getattr(self, what), getattr(earlier, what)
            if mine != first and not (what == "buckets" and mine is None):
                return (
                    f"{self.name!r} was declared with the {shown} {first!r} and now with {mine!r}. "
                    "One name has one meaning: choose another name for the second."
                )
        return None


_MEANING: Final = {"kind": "kind", "unit": "unit", "workers": "worker rule", "buckets": "buckets"}
_declared: dict[str, Declaration] = {}
_samples: dict[str, str] = {}
"""Sample in Prometheus → the metric that has it."""
_refused: set[str] = set()


def declare(declaration: Declaration) -> tuple[Declaration, str | None]:
    """Remember a declaration.

    Names differ by more than case, as in OpenTelemetry, and by more than dots and underscores, as
    in Prometheus.

    Returns:
        What holds for the name, and the problem with what was declared, if there is one.
    """
    problem = declaration.problem()
    if problem is None:
        key = _NOT_IN_PROMETHEUS.sub("_", declaration.name.lower()).strip("_")
        earlier = _of_the_sdk().get(key) or _declared.get(key)
        if earlier is not None:
            problem = declaration.conflict(earlier)
        elif len(_declared) < _MAX_NAMES:
            problem = _clash(declaration)
            if problem is None:
                earlier = _declared.setdefault(key, declaration.completed())
        else:
            problem = f"{declaration.name!r} is one metric too many. A name holds no ids."
        if problem is None and earlier is not None:
            return earlier, None
    refuse(declaration.name, problem or "")
    return declaration, problem


def _clash(declaration: Declaration) -> str | None:
    """Return whose samples a new name would take; otherwise they are its own from now on."""
    samples = declaration.samples()
    for sample in samples:
        owner = _samples_of_the_sdk().get(sample) or _samples.get(sample)
        if owner is not None:
            return _one_name(declaration.name, owner)
    _samples.update(dict.fromkeys(samples, declaration.name))
    return None


def _one_name(name: str, earlier: str) -> str:
    return (
        f"{name!r} and the earlier {earlier!r} are one name to Prometheus. "
        "Choose another name for the second."
    )


def refuse(name: object, problem: str) -> None:
    """Raise under pytest, log otherwise: once a minute for each metric, or for the rest of many."""
    place = f"metrics.{name}"
    if place not in _refused and len(_refused) >= _MAX_REFUSED:
        place = "metrics.others"  # names made of ids are without end, and each would be a line
    _refused.add(place)
    report(place, MisuseError(problem))


def worker_rules() -> dict[str, WorkerRule]:
    """Return the rules of the gauges that have one, by lower-case name."""
    known = tuple(_declared.values())
    return {one.name.lower(): one.workers for one in known if one.workers is not None}


def bounds_of(buckets: Any) -> Any:
    """Return bounds as a tuple of numbers; what can be none is returned as it is, for a refusal."""
    try:
        return tuple(float(one) if isinstance(one, Real) else one for one in buckets)
    except (TypeError, OverflowError):
        return buckets


def _is_text(value: object, form: re.Pattern[str]) -> bool:
    return isinstance(value, str) and form.fullmatch(value) is not None


def _are_bounds(buckets: Any) -> bool:
    if not isinstance(buckets, tuple):
        return False
    if not all(isinstance(bound, float) and isfinite(bound) for bound in buckets):
        return False
    return all(low < high for low, high in pairwise(buckets))


@lru_cache(maxsize=1)
def _of_the_sdk() -> Mapping[str, Declaration]:
    """Return the metrics of the SDK, which an author may add to but not change."""
    return {_NOT_IN_PROMETHEUS.sub("_", name): _as_declared(s) for name, s in all_metrics().items()}


@lru_cache(maxsize=1)
def _samples_of_the_sdk() -> Mapping[str, str]:
    return {name: one.name for one in _of_the_sdk().values() for name in one.samples()}


def _as_declared(spec: MetricSpec) -> Declaration:
    workers = spec.workers if spec.kind == "gauge" else None
    buckets = spec.buckets if spec.kind == "histogram" else None
    return Declaration(spec.name, spec.kind, spec.unit, spec.meaning, workers, buckets)
