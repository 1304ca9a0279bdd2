"""Put everything of this package into an application with one call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from fastapi import FastAPI

from glam_sdk.api.exception_handlers import add_exception_handlers
from glam_sdk.api.health import create_health_router
from glam_sdk.api.lifespan import ReadableStartup
from glam_sdk.api.metrics import create_metrics_router
from glam_sdk.api.middleware import TelemetryMiddleware
from glam_sdk.config import Settings


class Runtime(Protocol):
    """Name what the running service offers to an application."""

    @property
    def settings(self) -> Settings:
        """The service's settings."""
        ...

    def scrape(self, accept: str) -> tuple[bytes, str]:
        """Render all metrics."""
        ...

    async def readiness(self) -> tuple[bool, dict[str, Any]]:
        """Check every component."""
        ...

    def lifespan(self, app: Any) -> AbstractAsyncContextManager[Any]:
        """Start the service and stop it."""
        ...


def install(app: FastAPI, runtime: Runtime) -> FastAPI:
    """Add middleware, error handlers, ``/metrics``, ``/health`` and the service's lifespan.

    Works before and after the first request, and a second call does nothing. Our middleware goes
    around the whole stack, so that error pages carry the ids too.
    """
    if getattr(app.state, "glam_runtime", None) is runtime:
        return app
    app.state.glam_runtime = runtime
    settings = runtime.settings
    _stand_in_for_native_telemetry(app)
    add_exception_handlers(app)
    app.include_router(create_metrics_router(runtime.scrape, settings.http.metrics_path))
    app.include_router(
        create_health_router(
            settings.service.name,
            prefix=settings.http.health_prefix,
            readiness=runtime.readiness,
        )
    )
    _join_lifespan(app, runtime)
    _wrap_stack(app, runtime)
    return app


def _wrap_stack(app: FastAPI, runtime: Runtime) -> None:
    build = app.build_middleware_stack

    def wrapped(inner: Any) -> Any:
        return ReadableStartup(
            TelemetryMiddleware(
                inner,
                settings=runtime.settings.http,
                service_name=runtime.settings.service.name,
                runtime=runtime,
            )
        )

    def build_with_telemetry() -> Any:
        return wrapped(build())

    # The public seam of Starlette; assigning it on the instance is how instrumentations hook in.
    app.build_middleware_stack = build_with_telemetry  # type: ignore[method-assign]
    if app.middleware_stack is not None:
        app.middleware_stack = wrapped(app.middleware_stack)


def _stand_in_for_native_telemetry(app: FastAPI) -> None:
    """Keep FastAPI's own telemetry (0.142 and newer) from adding a second SERVER span.

    It wakes up as soon as there are global providers. Its switch is the argument
    ``FastAPI(telemetry=…)``, whose values the application keeps in this dict.
    """
    config = getattr(app, "_telemetry", None)
    if isinstance(config, dict):
        config.update(tracing=False, metrics=False, logs=False)


def _join_lifespan(app: FastAPI, runtime: Runtime) -> None:
    own = app.router.lifespan_context

    @asynccontextmanager
    async def both(application: Any) -> AsyncIterator[Mapping[str, Any] | None]:
        async with runtime.lifespan(application), own(application) as state:
            yield state

    app.router.lifespan_context = both  # type: ignore[assignment]  # yields what it wraps
