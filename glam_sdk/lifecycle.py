"""State what the running service asks of a part that starts and stops with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Check:
    """Tell how one component is: healthy or not, and in a few words why."""

    healthy: bool
    detail: str = ""
    critical: bool = True
    """Whether an unhealthy component makes the service not ready (else merely degraded)."""
    data: dict[str, str | int | float | bool] = field(default_factory=dict)


@runtime_checkable
class Component(Protocol):
    """Start, check and stop one part of a service.

    Components start in the order they were added and stop in reverse. ``stop`` drains first and
    must be safe to call when ``start`` failed or never ran.
    """

    @property
    def name(self) -> str:
        """Name of the component in logs and in the health report, such as ``database``."""
        ...

    async def start(self) -> None:
        """Acquire what the component needs, or raise one clear error."""
        ...

    async def check(self) -> Check:
        """Look whether the component can do its work now."""
        ...

    async def stop(self) -> None:
        """Drain and release everything."""
        ...
