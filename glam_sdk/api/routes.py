"""Tell the route template of a request from what routing left in its scope; match our own cheaply.

A route is not matched a second time, but for two cases in which routing leaves no template: the
prefix of a mounted sub-application, and a plain Starlette route in a FastAPI application.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, NamedTuple

from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute, Match, Mount

Scope = MutableMapping[str, Any]


class OwnRoute(APIRoute):
    """Be a route of ours, with no parameter in its path.

    A service's every request is matched against what stands before its own route: so this looks at
    the end of the path, at a twentieth of the price, before it matches in earnest.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Tell whether a request is for this route."""
        if not scope["path"].endswith(self.path):
            return Match.NONE, {}
        return super().matches(scope)


class Arrival(NamedTuple):
    """Hold what a mounted application replaces in the scope."""

    app: Any
    path: str
    root_path: str
    method: str


def route_template(scope: Scope, arrival: Arrival) -> str | None:
    """Return the template, such as ``/orders/{order_id}``, or None when no route matched.

    Args:
        scope: The scope after routing.
        arrival: What the scope held before routing.
    """
    if "endpoint" not in scope:
        return None
    own = _own_template(scope)
    if own is not None and scope.get("root_path", "") == arrival.root_path:
        return own
    prefix, routes, inner = _through_mounts(scope, arrival)
    if own is not None:
        return prefix + own
    found = _matching(routes, inner, is_mount=False)
    if found is not None:
        return prefix + str(found.path_format)
    return f"{prefix}/{{path}}" if prefix else None


def _own_template(scope: Scope) -> str | None:
    """Return the template left in the scope, relative to the innermost application."""
    route = scope.get("route")
    effective = scope.get("fastapi", {}).get("effective_route_context")
    if effective is not None and route in (None, effective.original_route):
        route = effective.starlette_route or effective
        if isinstance(effective.original_route, Mount):
            return None
    if isinstance(route, Mount):
        return None
    template = getattr(route, "path_format", None)
    return template if isinstance(template, str) and template else None


def _through_mounts(scope: Scope, arrival: Arrival) -> tuple[str, Sequence[BaseRoute], Scope]:
    """Follow the mounts a request went through.

    Returns:
        Their template, the routes of the innermost application, and the scope these were matched
        with.
    """
    routes: Sequence[BaseRoute] = getattr(arrival.app, "routes", ())
    inner: Scope = {
        "type": scope["type"],
        "method": arrival.method,
        "path": arrival.path,
        "root_path": arrival.root_path,
        "headers": scope.get("headers", ()),
    }
    prefix = ""
    while inner["root_path"] != scope.get("root_path", ""):
        mount = _matching(routes, inner, is_mount=True)
        if mount is None:
            break
        inner = {**inner, **mount.matches(inner)[1]}
        prefix += mount.path_format.removesuffix("/{path}")
        routes = mount.routes
    return prefix, routes, inner


def _matching(routes: Sequence[BaseRoute], scope: Scope, *, is_mount: bool) -> Any:
    """Return the first route that matches; those of included routers have their prefix."""
    for route in iter_route_contexts(routes):
        if isinstance(route.original_route, Mount) is not is_mount or not route.path_format:
            continue
        if route.matches(scope)[0] != Match.NONE:
            return route
    return None
