"""Build an application's stack with our middleware around it and every handled error noticed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Host, Mount

from glam_sdk._internal.guard import guarded
from glam_sdk.api.exception_handlers import add_exception_handlers
from glam_sdk.api.exchange import current_exchange
from glam_sdk.api.routes import stand_back
from glam_sdk.api.wire import ASGIApp

Wrap = Callable[[ASGIApp], Any]


def wrap_stack(app: Starlette, wrap: Wrap) -> None:
    """Make an application build its stack with ours around, also when it has built one already.

    Where ``opentelemetry-instrumentation-fastapi`` is in the stack, ours goes inside, so that it
    joins the span that is there. Installed after us, it finds the application instrumented.
    """
    build = app.build_middleware_stack

    def build_with_telemetry() -> Any:
        with guarded("api.routes"):
            stand_back(app.router.routes)
        for mounted in _mounted_apps(app.routes):
            add_exception_handlers(mounted)
            mounted.middleware_stack = _build_observed(mounted, mounted.build_middleware_stack)
        stack = _build_observed(app, build)
        foreign = _contrib_middleware(stack)
        if foreign is None:
            return wrap(stack)
        foreign.app = wrap(foreign.app)
        return stack

    # The public seam of Starlette; assigning it on the instance is how instrumentations hook in.
    app.build_middleware_stack = build_with_telemetry  # type: ignore[method-assign]
    app.middleware_stack = None  # built again with the next request
    if not hasattr(app, _CONTRIB_MARK):
        setattr(app, _CONTRIB_MARK, True)


_CONTRIB_MARK = "_is_instrumented_by_opentelemetry"


def _build_observed(app: Starlette, build: Callable[[], Any]) -> Any:
    """Build a stack whose exception handlers tell the exchange what they handle."""
    own = app.exception_handlers
    app.exception_handlers = {kind: _observed(handler) for kind, handler in own.items()}
    try:
        return build()
    finally:
        app.exception_handlers = own


def _observed(handler: Any) -> Any:
    if iscoroutinefunction(handler) or iscoroutinefunction(type(handler).__call__):

        @wraps(handler, updated=())
        async def remembering(connection: HTTPConnection, exc: Exception) -> Any:
            _remember(connection, exc)
            return await handler(connection, exc)

        return remembering

    @wraps(handler, updated=())
    def remembering_in_thread(connection: HTTPConnection, exc: Exception) -> Any:
        _remember(connection, exc)
        return handler(connection, exc)

    return remembering_in_thread


def _remember(connection: HTTPConnection, exc: Exception) -> None:
    exchange = current_exchange(connection.scope)
    if exchange is not None:
        exchange.remember(exc)


def _contrib_middleware(stack: Any) -> Any:
    """Return the ASGI middleware of OpenTelemetry's contrib package, if it is in the stack."""
    while stack is not None:
        kind = type(stack)
        if kind.__name__ == "OpenTelemetryMiddleware" and kind.__module__ == (
            "opentelemetry.instrumentation.asgi"
        ):
            return stack
        stack = getattr(stack, "app", None)
    return None


def _mounted_apps(routes: Sequence[BaseRoute]) -> Iterator[Starlette]:
    """Yield the applications mounted in these routes, and those mounted in them."""
    for route in routes:
        included = getattr(route, "original_router", None)
        if included is not None:
            yield from _mounted_apps(included.routes)
        if not isinstance(route, Mount | Host):
            continue
        target: Any = route.app
        while target is not None and not isinstance(target, Starlette):
            target = getattr(target, "app", None)
        if target is not None:
            yield target
        yield from _mounted_apps(route.routes)
