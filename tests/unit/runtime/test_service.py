"""The running service: start in order, stop in reverse, checks within a deadline."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from glam_sdk.errors import ConfigurationError, DatabaseError
from glam_sdk.lifecycle import Check
from glam_sdk.runtime.health import check_components
from glam_sdk.testing import CapturedTelemetry


@dataclass
class Part:
    """A component that writes down what happens to it."""

    name: str
    events: list[str] = field(default_factory=list)
    failure: Exception | None = None
    answer: Check = field(default_factory=lambda: Check(healthy=True))
    hangs: bool = False

    async def start(self) -> None:
        if self.failure is not None:
            raise self.failure
        self.events.append(f"start {self.name}")

    async def check(self) -> Check:
        if self.hangs:
            await asyncio.Event().wait()
        return self.answer

    async def stop(self) -> None:
        self.events.append(f"stop {self.name}")


async def test_components_start_in_order_and_stop_in_reverse(telemetry: CapturedTelemetry) -> None:
    """What started last depends on what started first, so it stops first."""
    events: list[str] = []
    telemetry.service.add(Part("a", events))
    telemetry.service.add(Part("b", events))
    async with telemetry.service:
        pass
    assert events == ["start a", "start b", "stop b", "stop a"]


async def test_a_failing_start_stops_what_ran_already(telemetry: CapturedTelemetry) -> None:
    """The error is the component's own; nothing stays open behind it."""
    events: list[str] = []
    telemetry.service.add(Part("a", events))
    telemetry.service.add(Part("b", events, failure=DatabaseError("No database.")))
    with pytest.raises(DatabaseError, match="No database"):
        await telemetry.service.start()
    assert events == ["start a", "stop a"]


async def test_a_failing_stop_does_not_keep_the_others_running(
    telemetry: CapturedTelemetry,
) -> None:
    """Every component is stopped, and the failure is logged."""

    class Stubborn(Part):
        async def stop(self) -> None:
            raise RuntimeError("no")

    events: list[str] = []
    telemetry.service.add(Part("a", events))
    telemetry.service.add(Stubborn("b", events))
    async with telemetry.service:
        pass
    assert events[-1] == "stop a"
    assert telemetry.logs("service.stop_failed")[0]["component"] == "b"


async def test_starting_twice_starts_once(telemetry: CapturedTelemetry) -> None:
    """A lifespan inside a context manager shares the running service."""
    events: list[str] = []
    telemetry.service.add(Part("a", events))
    async with telemetry.service, telemetry.service.lifespan():
        pass
    assert events == ["start a", "stop a"]


async def test_a_component_cannot_join_a_running_service(telemetry: CapturedTelemetry) -> None:
    """It would never be started."""
    async with telemetry.service:
        with pytest.raises(ConfigurationError, match="'late' was added while 'test' is running"):
            telemetry.service.add(Part("late"))


def test_a_unit_of_work_without_a_database_says_what_to_call(
    telemetry: CapturedTelemetry,
) -> None:
    """The error names the missing line."""
    with pytest.raises(ConfigurationError, match="use_database"):
        telemetry.service.unit_of_work()


async def test_a_hanging_check_is_unhealthy_after_its_deadline() -> None:
    """Readiness answers in bounded time whatever a component does."""
    ready, report = await check_components([Part("slow", hangs=True)], timeout_s=0.01)
    assert not ready
    assert report["checks"]["slow"] == {"healthy": False, "detail": "No answer within 0.01 s."}


async def test_an_unhealthy_component_that_is_not_critical_only_degrades() -> None:
    """An exporter that fails must not take the service out of rotation."""
    answer = Check(healthy=False, detail="behind", critical=False)
    ready, report = await check_components([Part("exporter", answer=answer), Part("db")])
    assert ready
    assert report["status"] == "degraded"


async def test_the_scrape_shows_what_readiness_last_said(telemetry: CapturedTelemetry) -> None:
    """An alert can name the part that is unwell, without asking the service itself."""
    part = telemetry.service.add(Part("ledger", answer=Check(healthy=False)))
    async with telemetry.service as service:
        for healthy in (False, True):
            part.answer = Check(healthy=healthy)
            await service.readiness()
            line = f'glam_component_healthy{{glam_component="ledger"}} {int(healthy)}'
            assert line in service.scrape("")[0].decode()
