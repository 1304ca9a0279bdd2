"""Check what a service's author declares: a name once, with one kind and one unit.

Under pytest a mistake raises; in production it is logged and the instrument measures nothing, so
that a wrong declaration never stops a service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

from glam_sdk._internal.guard import report

WorkerRule = Literal["sum", "max", "min", "last", "worker"]
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_./-]{0,254}")
_UNIT: Final = re.compile(r"[\x20-\x7e]{0,63}")


class MisuseError(ValueError):
    """A metric was declared or used in a way that cannot be measured."""


@dataclass(frozen=True, slots=True)
class Declaration:
    """Say what a metric is."""

    name: str
    kind: str
    unit: str
    workers: WorkerRule | None = None
    """How gauges of several worker processes become one value."""

    def problem(self) -> str | None:
        """Return what is wrong with the declaration itself."""
        if not _NAME.fullmatch(self.name):
            return (
                f"{self.name!r} is no metric name. Use letters, digits and any of _.-/ after a "
                "letter, at most 255 of them, such as 'orders.placed'."
            )
        if not _UNIT.fullmatch(self.unit):
            return f"{self.unit!r} is no unit of {self.name!r}. Use at most 63 ASCII characters."
        return None

    def conflict(self, earlier: Declaration) -> str | None:
        """Return what contradicts an earlier declaration of the same name."""
        for what in ("kind", "unit"):
            mine, first = getattr(self, what), getattr(earlier, what)
            if mine != first:
                return (
                    f"{self.name!r} was declared with the {what} {first!r} and now with {mine!r}. "
                    "One name has one meaning: choose another name for the second."
                )
        return None


_declared: dict[str, Declaration] = {}


def declare(declaration: Declaration) -> str | None:
    """Remember a declaration; returns the problem with it, if there is one.

    Names differ by more than case, as in OpenTelemetry.
    """
    problem = declaration.problem()
    if problem is None:
        earlier = _declared.setdefault(declaration.name.lower(), declaration)
        problem = declaration.conflict(earlier)
    if problem is not None:
        refuse(declaration.name, problem)
    return problem


def refuse(name: str, problem: str) -> None:
    """Raise under pytest, log otherwise (once a minute for each metric)."""
    report(f"metrics.{name}", MisuseError(problem))


def worker_rules() -> dict[str, WorkerRule]:
    """Return the rules of the gauges that have one, by lower-case name."""
    return {name: one.workers for name, one in _declared.items() if one.workers is not None}
