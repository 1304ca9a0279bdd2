"""Ask every component how it is, each within a deadline."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from glam_sdk.lifecycle import Check, Component

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


async def check_components(
    components: Sequence[Component], *, timeout_s: float = CHECK_TIMEOUT_S
) -> tuple[bool, dict[str, Any]]:
    """Check all components side by side.

    Returns:
        Whether no critical component is unhealthy, and a report: ``status`` (``ready``,
        ``degraded`` or ``not_ready``) and ``checks`` by component.
    """
    checks = await asyncio.gather(*(_check(component, timeout_s) for component in components))
    is_ready = all(check.healthy or not check.critical for check in checks)
    all_well = all(check.healthy for check in checks)
    report = {
        "status": "ready" if all_well else "degraded" if is_ready else "not_ready",
        "checks": {
            component.name: _shown(check)
            for component, check in zip(components, checks, strict=True)
        },
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
