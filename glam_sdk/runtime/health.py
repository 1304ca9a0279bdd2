"""Ask every component how it is, each within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from glam_sdk._internal.guard import guarded
from glam_sdk.lifecycle import Check, Component
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.metrics import get_meter

if TYPE_CHECKING:
    from glam_sdk.telemetry.pipeline import Pipeline

CHECK_TIMEOUT_S: Final = 2.0


class Exports:
    """Be the component that reports on the exporters; it starts and stops with the telemetry."""

    name: Final = "exports"

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline

    async def start(self) -> None:
        """Do nothing: exporters run from ``init`` on."""

    async def check(self) -> Check:
        """Look whether exports succeed."""
        return await self._pipeline.check()

    async def stop(self) -> None:
        """Do nothing: exporters outlive the components, whose last spans they send."""


class HealthGauge:
    """Show in the metrics what readiness last said of each component."""

    def __init__(self) -> None:
        self._healthy = get_meter("glam_sdk.runtime").create_gauge(
            conv.GLAM_COMPONENT_HEALTHY,
            unit="{state}",
            description="Whether a part of the service was well when readiness was last asked for.",
        )

    def show(self, checks: Mapping[str, Check]) -> None:
        """Take over the outcome of each component's check."""
        with guarded("runtime.health_gauge"):
            for name, check in checks.items():
                self._healthy.set(int(check.healthy), {conv.GLAM_COMPONENT: name})


async def check_components(
    components: Sequence[Component],
    *,
    timeout_s: float = CHECK_TIMEOUT_S,
    gauge: HealthGauge | None = None,
) -> tuple[bool, dict[str, Any]]:
    """Check all components side by side.

    Args:
        components: Each has a name of its own.
        timeout_s: Seconds that each may take; later it counts as unhealthy.
        gauge: Shows the outcome in the metrics.

    Returns:
        Whether no critical component is unhealthy, and a report: ``status`` (``ready``,
        ``degraded`` or ``not_ready``) and ``checks`` by component.
    """
    checks = await asyncio.gather(*(_check(component, timeout_s) for component in components))
    is_ready = all(check.healthy or not check.critical for check in checks)
    all_well = all(check.healthy for check in checks)
    by_name = {part.name: check for part, check in zip(components, checks, strict=True)}
    if gauge is not None:
        gauge.show(by_name)
    report = {
        "status": "ready" if all_well else "degraded" if is_ready else "not_ready",
        "checks": {name: _shown(check) for name, check in by_name.items()},
    }
    return is_ready, report


async def _check(component: Component, timeout_s: float) -> Check:
    try:
        async with asyncio.timeout(timeout_s):
            return await component.check()
    except TimeoutError:
        return Check(healthy=False, detail=f"No answer within {timeout_s:g} s.")
    except Exception as exc:  # noqa: BLE001 - a failing check is an unhealthy component
        return Check(healthy=False, detail=type(exc).__name__)


def _shown(check: Check) -> dict[str, Any]:
    shown: dict[str, Any] = {"healthy": check.healthy, **check.data}
    if check.detail:
        shown["detail"] = check.detail
    return shown
