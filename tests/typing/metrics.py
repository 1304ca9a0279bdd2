"""Pin what type checkers know about measured functions: ``mypy --strict`` must find nothing."""

from __future__ import annotations

from typing import assert_type

from glam_sdk.telemetry import instruments
from glam_sdk.telemetry.metrics import counter, gauge, histogram, measured


@measured("typing.call.duration")
def double(number: int, *, label: str = "") -> str:
    """Return some text."""
    return label * number


@measured("typing.call.duration")
async def load(number: int) -> bytes:
    """Return some bytes."""
    return bytes(number)


assert_type(double(2, label="x"), str)
double("2")  # type: ignore[arg-type]  # the function's own parameters are kept
assert_type(counter("typing.count"), instruments.Counter)
assert_type(counter("typing.count").bind(kind="x"), instruments.BoundAdder)
assert_type(gauge("typing.level").bind({"a.b": 1}), instruments.BoundGauge)
assert_type(histogram("typing.size", buckets=[1, 2.5]).bind(), instruments.BoundRecorder)
counter("typing.count").add(1, attributes={"a.b": "c"})
counter("typing.count").add("1")  # type: ignore[arg-type]  # an amount is a number
gauge("typing.level", workers="avg")  # type: ignore[arg-type]  # no rule of ours


async def use() -> None:
    """Await the decorated coroutine function."""
    assert_type(await load(1), bytes)
