"""Tell the route template of a request from what routing left in its scope.

The route is never matched a second time, except for the prefix of a mounted sub-application, whose
template routing does not keep.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any

from starlette.routing import BaseRoute, Match, Mount, Route, WebSocketRoute

Scope = MutableMapping[str, Any]


def route_template(scope: Scope, original: Mapping[str, Any]) -> str | None:
    """Return the template, such as ``/orders/{order_id}``, or None when no route matched.

    Args:
        scope: The scope after routing.
        original: ``app``, ``path`` and ``root_path`` of the scope before routing, which a mounted
            application replaces.
    """
    if "endpoint" not in scope:
        return None
    own = _own_template(scope)
    if scope.get("root_path", "") == original["root_path"]:
        return own if own is not None else _walk(original)
    prefix = _mount_prefix(original)
    if prefix is None:
        return None
    return f"{prefix}{own}" if own is not None else f"{prefix}/{{path}}"


def _own_template(scope: Scope) -> str | None:
    """Return the template FastAPI left in the scope, relative to the innermost application."""
    effective = scope.get("fastapi", {}).get("effective_route_context")
    if effective is not None and effective.original_route is scope.get("route"):
        template = effective.path_format
    else:
        template = getattr(scope.get("route"), "path_format", None)
    return template if isinstance(template, str) else None


def _mount_prefix(original: Mapping[str, Any]) -> str | None:
    """Return the template of the mounts a request went through."""
    routes = getattr(original["app"], "routes", ())
    scope = {**original, "type": "http"}
    prefix = ""
    while True:
        mount = _matching(routes, scope, Mount)
        if not isinstance(mount, Mount):
            return prefix or None
        _, child = mount.matches(scope)
        prefix += mount.path_format.removesuffix("/{path}")
        scope = {**scope, **child}
        routes = mount.routes


def _walk(original: Mapping[str, Any]) -> str | None:
    """Return the template of a plain Starlette route, which leaves none in the scope."""
    routes = getattr(original["app"], "routes", ())
    scope = {**original, "type": "http"}
    route = _matching(routes, scope, (Route, WebSocketRoute))
    return getattr(route, "path_format", None)


def _matching(
    routes: Any, scope: Scope, kind: type[BaseRoute] | tuple[type[BaseRoute], ...]
) -> BaseRoute | None:
    for route in routes:
        if isinstance(route, kind):
            probe = {**scope, "type": "websocket"} if isinstance(route, WebSocketRoute) else scope
            if route.matches(probe)[0] != Match.NONE:
                return route
    return None
