"""Be the running service: its settings, its components, its start and its stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from glam_sdk._internal.lazy import explaining
from glam_sdk.config import Settings
from glam_sdk.errors import ConfigurationError
from glam_sdk.lifecycle import Component
from glam_sdk.runtime.drain import Drain
from glam_sdk.runtime.health import Exports, HealthGauge, check_components
from glam_sdk.runtime.heap import Heap
from glam_sdk.runtime.plain_failure import failing_plainly, telling_sources
from glam_sdk.telemetry.logs import get_logger

if TYPE_CHECKING:
    from fastapi import FastAPI
    from sqlalchemy import MetaData

    from glam_sdk.database import Database, UnitOfWork
    from glam_sdk.events import Event, StreamSpec
    from glam_sdk.messaging import Publisher
    from glam_sdk.telemetry.pipeline import Pipeline

C = TypeVar("C", bound=Component)


class Service:
    """Run the parts of one service; made by :func:`glam_sdk.init`.

    Use it as a lifespan (``install`` does), or as an async context manager in a process without
    HTTP. Components start in the order they were added and stop in reverse.
    """

    def __init__(self, settings: Settings, pipeline: Pipeline) -> None:
        self.settings = settings
        self._pipeline = pipeline
        self._components: list[Component] = []
        self._started: list[Component] = []
        self._users = 0
        self._starting = asyncio.Lock()
        self._database: Database | None = None
        self._publisher: Publisher | None = None
        self._late: list[str] = []
        self._drain = Drain(settings.http.drain_delay_s)
        self._health = HealthGauge()
        self._heap = Heap(enabled=settings.service.gc_freeze)
        self._log = get_logger("glam_sdk.service")

    def __repr__(self) -> str:
        return f"<Service {self.name!r}, {len(self._started)} components running>"

    @property
    def name(self) -> str:
        """The name given to ``init``."""
        return self.settings.service.name

    def add(self, component: C) -> C:
        """Let a component start and stop with the service; returns it.

        Raises:
            ConfigurationError: When the service is running already.
        """
        if self._users:
            raise ConfigurationError(
                f"Component {component.name!r} was added while {self.name!r} is running. "
                "Add components before the service starts."
            )
        self._components.append(component)
        return component

    def use_database(self, metadata: MetaData | None = None) -> Database:
        """Add the database of the settings (SQLite file by default) and return it.

        Args:
            metadata: Tables created at start when missing, such as ``Base.metadata``.
        """
        if self._database is None:
            from glam_sdk.runtime.assembly import build_database

            with explaining("service.use_database()"):
                self._database = self.add(build_database(self.settings, metadata))
        return self._database

    def use_messaging(
        self,
        *,
        handlers: Sequence[Callable[..., Any]] = (),
        streams: Sequence[StreamSpec] = (),
        publishes: Sequence[type[Event]] = (),
    ) -> Publisher:
        """Add NATS JetStream and return the publisher.

        With a database in use, emitted events leave through the outbox and handlers get an inbox
        and a unit of work.

        Args:
            handlers: Functions marked with ``@handles``.
            streams: Streams to create or update at start. The one named after the service is made
                with default settings where it is not among them.
            publishes: Events the service sends. Where no stream keeps one of them, or one that is
                handled, the service does not start.
        """
        if self._publisher is None:
            from glam_sdk.runtime.assembly import build_messaging

            with explaining("service.use_messaging()"):
                parts = build_messaging(self.settings, self._database, handlers, streams, publishes)
            for component in parts.components:
                self.add(component)
            self._publisher = parts.publisher
        return self._publisher

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Open a unit of work on the service's database.

        Raises:
            ConfigurationError: When the service uses no database.
        """
        if self._database is None:
            raise ConfigurationError(
                f"Service {self.name!r} has no database. Call service.use_database() at start-up."
            )
        return self._database.unit_of_work()

    def install(self, app: FastAPI) -> FastAPI:
        """Put ids, spans, metrics, access log, error envelopes and endpoints into an application.

        Returns:
            The same application.
        """
        from glam_sdk.api.app import install

        return install(app, self)

    def scrape(self, accept: str = "") -> tuple[bytes, str]:
        """Render all metrics for Prometheus: body and content type. Blocking."""
        return self._pipeline.scrape(accept)

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Check every component: whether the service is ready, and a report."""
        components = [*self._started, Exports(self._pipeline)]
        ready, report = await check_components(components, gauge=self._health)
        if self._drain.has_begun:
            return False, {**report, "status": "draining"}
        return ready, report

    def drain(self) -> None:
        """Make readiness fail from now on, while requests are still answered."""
        self._drain.begin()

    async def start(self) -> None:
        """Start all components; a second call only counts.

        When one fails, those already started are stopped again and its error is raised.
        """
        async with self._starting:
            self._users += 1
            if self._users > 1:
                return
            self._pipeline.adopt_logging()
            await asyncio.to_thread(self._pipeline.join_workers)
            if self._pipeline.loop_watch is not None:
                self._pipeline.loop_watch.start()
            self._drain.watch_sigterm()
            try:
                with failing_plainly():
                    await self._start_components()
            except BaseException:
                await self._stop_components()
                self._users = 0
                self._heap.release()
                raise
            self._log.info("service.started", components=[c.name for c in self._started])
            self._heap.hold()

    def freeze(self) -> None:
        """Spare the garbage collector what exists now, until the service stops.

        The start does so, and again once the application's own lifespan has started. Call it after
        loading something big, such as a model, in a running service; it collects what was there
        before and is not used any more, for some 50 ms. Does nothing where ``service.gc_freeze`` is
        off.
        """
        self._heap.renew()

    def note_started(self) -> None:
        """Note that the application around the service has started as well."""
        if self._users:
            self._heap.hold()

    async def stop(self) -> None:
        """Stop the components in reverse and export what is waiting, within the deadline."""
        async with self._starting:
            if self._users == 0:
                return
            self._users -= 1
            if self._users:
                return
            self.drain()
            self._heap.release()
            await self._stop_components()
            self._drain.reset()
            self._log.info("service.stopped")
            if self._pipeline.loop_watch is not None:
                self._pipeline.loop_watch.stop()
            await asyncio.to_thread(self._pipeline.leave_workers)
            # With uvicorn, SIGTERM never runs atexit: here is the last chance to export.
            timeout_s = self.settings.telemetry.shutdown_timeout_s
            self._late = await asyncio.to_thread(self._pipeline.flush, timeout_s)

    async def _start_components(self) -> None:
        for component in self._components:
            with telling_sources(self.settings, component.name):
                await component.start()
            self._started.append(component)

    async def _stop_components(self) -> None:
        while self._started:
            component = self._started.pop()
            try:
                await component.stop()
            except Exception as exc:  # noqa: BLE001 - the others must be stopped all the same
                self._log.error("service.stop_failed", component=component.name, exc_info=exc)

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Run the service for as long as an ASGI application runs."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.stop()

    def shutdown(self) -> list[str]:
        """Export what is waiting and end the telemetry, within the deadline of the settings.

        Returns:
            The signals that could not be exported in time.
        """
        # A flush that ran into the deadline has used it up: there is one, not one a step.
        timeout_s = 0.0 if self._late else self.settings.telemetry.shutdown_timeout_s
        return self._pipeline.shutdown(timeout_s) or self._late
