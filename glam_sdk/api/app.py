"""Put everything of this package into an application with one call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol

from fastapi import FastAPI

from glam_sdk.api.exception_handlers import add_exception_handlers
from glam_sdk.api.health import create_health_router
from glam_sdk.api.loggers import create_loggers_router
from glam_sdk.api.metrics import create_metrics_router
from glam_sdk.api.middleware import TelemetryMiddleware
from glam_sdk.api.openapi import document_errors
from glam_sdk.api.stack import wrap_stack
from glam_sdk.api.wire import ASGIApp
from glam_sdk.config import Settings
from glam_sdk.errors import ConfigurationError


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

    def note_started(self) -> None:
        """Note that the application has started as well."""
        ...


def install(app: FastAPI, runtime: Runtime) -> FastAPI:
    """Add middleware, error handlers, ``/metrics``, ``/health`` and the service's lifespan.

    Works before and after the first request, and a second call does nothing. Our middleware goes
    around the whole stack, so that error pages carry the ids too. Mounted applications get the
    envelopes as well.

    Raises:
        ConfigurationError: When the application belongs to another service already.
    """
    if not _take(app, runtime):
        return app
    settings = runtime.settings
    _stand_in_for_native_telemetry(app)
    add_exception_handlers(app)
    document_errors(app)
    _include_endpoints(app, runtime)
    _join_lifespan(app, runtime)

    def wrap(inner: ASGIApp) -> TelemetryMiddleware:
        return TelemetryMiddleware(
            inner, settings=settings.http, service_name=settings.service.name, runtime=runtime
        )

    wrap_stack(app, wrap)
    return app


def _include_endpoints(app: FastAPI, runtime: Runtime) -> None:
    settings = runtime.settings
    routers = [
        create_metrics_router(runtime.scrape, settings.http.metrics_path),
        create_health_router(
            settings.service.name,
            prefix=settings.http.health_prefix,
            readiness=runtime.readiness,
        ),
    ]
    if settings.http.admin_token is not None:
        routers.append(create_loggers_router(settings.http.admin_token))
    for router in routers:
        # Not include_router: every request is matched against what stands before its own route,
        # and an included router costs several times as much there as the routes themselves.
        app.router.routes.extend(router.routes)


def _take(app: FastAPI, runtime: Runtime) -> bool:
    """Note whose application it is; False if that was known."""
    owner = getattr(app.state, "glam_runtime", None)
    if owner is runtime:
        return False
    if owner is not None:
        raise ConfigurationError(
            f"The application {app.title!r} belongs to {owner.settings.service.name!r} already. "
            "Make one FastAPI() for each service that is initialised."
        )
    app.state.glam_runtime = runtime
    return True


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
            runtime.note_started()
            yield state

    app.router.lifespan_context = both  # type: ignore[assignment]  # yields what it wraps
