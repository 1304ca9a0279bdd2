"""Tell the route template of a request from what routing left in its scope; match our own cheaply.

A route is not matched a second time, but for two cases in which routing leaves no template: the
prefix of a mounted sub-application, and a plain Starlette route in a FastAPI application.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from typing import Any, Final, Protocol

from fastapi.routing import APIRoute, APIRouter, APIWebSocketRoute, iter_route_contexts
from starlette.routing import BaseRoute, Match, Mount, Route, WebSocketRoute

Scope = MutableMapping[str, Any]
# How these match is known: by the path, and then by the method.
_BY_PATH: Final = frozenset(
    kind.matches for kind in (Route, APIRoute, WebSocketRoute, APIWebSocketRoute, Mount)
)


class OwnRoute(APIRoute):
    """Be a route of ours, with no parameter in its path.

    Where it has to stand before routes of the service (see :func:`stand_back`), their every request
    is matched against it: so this looks at the end of the path, at a twentieth of the price, before
    it matches in earnest.
    """

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Tell whether a request is for this route."""
        if not scope["path"].endswith(self.path):
            return Match.NONE, {}
        return super().matches(scope)


def stand_back(routes: Sequence[BaseRoute]) -> None:
    """Move our routes behind those of the service that can never be meant by a path of ours.

    Each request is matched against what stands before its own route. Where it is not sure, ours
    stay where they are: before what may mean one of their paths, such as a route for any path, and
    what stood before ours stays there.
    """
    if not isinstance(routes, list):
        return
    order: list[BaseRoute] = []
    ours: list[OwnRoute] = []
    for route in routes:
        if isinstance(route, OwnRoute):
            ours.append(route)
            continue
        if ours and _may_mean(route, ours):
            order += ours
            ours = []
        order.append(route)
    routes[:] = order + ours


def _may_mean(route: BaseRoute, ours: Sequence[OwnRoute]) -> bool:
    """Tell whether a path, or the name, of one of ours may lead to a route."""
    if "matches" in vars(route):
        return True
    included = getattr(route, "original_router", None)
    if included is not None:
        return _router_may_mean(route, included, ours)
    return _is_like(route, type(route), ours)


def _is_like(route: Any, kind: type[BaseRoute], ours: Sequence[OwnRoute]) -> bool:
    if kind.matches not in _BY_PATH:
        return True  # such as a host's, which looks at more than the path
    return any(route.name == own.name or route.path_regex.match(own.path) for own in ours)


def _router_may_mean(route: Any, router: Any, ours: Sequence[OwnRoute]) -> bool:
    """Look at what all routes of an included router begin with, for it may get more of them."""
    prefix = getattr(getattr(route, "include_context", None), "prefix", "") + router.prefix
    begin = prefix.partition("{")[0]
    if not begin or type(router).matches is not APIRouter.matches:
        return True
    if any(own.path.startswith(begin) for own in ours):
        return True
    found = iter_route_contexts([route])
    return any(_is_like(each, type(each.original_route), ours) for each in found)


class Arrival(Protocol):
    """Hold what a mounted application replaces in the scope."""

    app: Any
    path: str
    root_path: str


def route_template(scope: Scope, arrival: Arrival) -> str | None:
    """Return the template, such as ``/orders/{order_id}``, or None when no route matched.

    Args:
        scope: The scope after routing.
        arrival: What the scope held before routing.
    """
    if "endpoint" not in scope:
        return None
    route = scope.get("route")
    if type(route) is APIRoute and "fastapi" not in scope:  # of no router that was included
        own: str | None = route.path_format or None
    else:
        own = _own_template(scope, route)
    if own is not None and scope.get("root_path", "") == arrival.root_path:
        return own
    prefix, routes, inner = _through_mounts(scope, arrival)
    if own is not None:
        return prefix + own
    found = _matching(routes, inner, is_mount=False)
    if found is not None:
        return prefix + str(found.path_format)
    return f"{prefix}/{{path}}" if prefix else None


def _own_template(scope: Scope, route: Any) -> str | None:
    """Return the template left in the scope, relative to the innermost application."""
    effective = scope["fastapi"].get("effective_route_context") if "fastapi" in scope else None
    if effective is not None:
        original = effective.original_route
        # Comparing two routes costs more than all the rest; nearly always it is the same one.
        if route is original or route is None or route == original:
            route = effective.starlette_route or effective
            if isinstance(original, Mount):
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
        "method": scope.get("method", "GET"),  # a WebSocket begins with a GET (RFC 6455)
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
