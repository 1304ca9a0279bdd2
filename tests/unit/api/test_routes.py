"""The route template in span names, metric labels and log lines; never the raw path."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Match, Mount, Route, Router
from starlette.staticfiles import StaticFiles

from glam_sdk.api.routes import OwnRoute, route_template


def text(request):
    return PlainTextResponse("ok")


@pytest.fixture
def shop(app, tmp_path):
    """An application that has routes of every kind."""
    (tmp_path / "a.txt").write_text("a")
    orders = APIRouter(prefix="/orders")
    lines = APIRouter(prefix="/{order_id}/lines")

    @app.get("/")
    async def root() -> None: ...

    @app.get("/items/{item_id:path}")
    async def item(item_id: str) -> None: ...

    @orders.get("/{order_id}")
    async def order(order_id: str) -> None: ...

    @lines.get("/{line}")
    async def line(order_id: str, line: int) -> None: ...

    lines.add_route("/raw/{name}", text)
    orders.include_router(lines)
    orders.mount("/files/{year}", Starlette(routes=[Route("/{name}", text)]))
    app.include_router(orders, prefix="/v1")
    app.add_route("/plain/{name}", text)

    inner, innermost = FastAPI(), FastAPI()
    inner_router = APIRouter(prefix="/things")

    @inner_router.get("/{thing}")
    async def thing(thing: str) -> None: ...

    @innermost.get("/leaf/{leaf}")
    async def leaf(leaf: str) -> None: ...

    inner.include_router(inner_router)
    inner.add_route("/raw/{name}", text)
    inner.mount("/deep", innermost)
    app.mount("/tenants/{tenant}", inner)
    app.mount(
        "/star", Starlette(routes=[Route("/{x}", text), Mount("/y", routes=[Route("/z", text)])])
    )
    app.mount("/router", Router([Route("/{x}", text)]))
    app.mount("/static", StaticFiles(directory=tmp_path))
    app.router.routes.append(Host("other.test", app=Router([Route("/hosted/{x}", text)])))
    return app


ROUTES = {
    "/": "/",
    "/items/a/b": "/items/{item_id}",
    "/v1/orders/7": "/v1/orders/{order_id}",
    "/v1/orders/7/lines/3": "/v1/orders/{order_id}/lines/{line}",
    "/v1/orders/7/lines/x": "/v1/orders/{order_id}/lines/{line}",
    "/v1/orders/raw/n": "/v1/orders/raw/{name}",
    "/v1/files/2026/a": "/v1/files/{year}/{name}",
    "/plain/a": "/plain/{name}",
    "/tenants/acme/things/1": "/tenants/{tenant}/things/{thing}",
    "/tenants/acme/raw/1": "/tenants/{tenant}/raw/{name}",
    "/tenants/acme/deep/leaf/1": "/tenants/{tenant}/deep/leaf/{leaf}",
    "/tenants/acme/nowhere": "/tenants/{tenant}/{path}",
    "/tenants/acme/docs": "/tenants/{tenant}/docs",
    "/star/1": "/star/{x}",
    "/star/y/z": "/star/y/z",
    "/router/1": "/router/{x}",
    "/static/a.txt": "/static/{path}",
    "/static/none": "/static/{path}",
    "/docs": "/docs",
}


def test_the_template_is_in_span_metric_and_log(shop, serve, telemetry):
    """All three signals carry the same template, with the prefixes of routers and mounts."""
    with serve(shop) as client:
        for path in ROUTES:
            expected = 404 if "no" in path else 422 if path.endswith("/x") else 200
            assert client.get(path).status_code == expected, path
    assert [span.name for span in telemetry.spans] == [f"GET {route}" for route in ROUTES.values()]
    assert [span.attributes["http.route"] for span in telemetry.spans] == list(ROUTES.values())
    assert [e["http.route"] for e in telemetry.logs("http.request")] == list(ROUTES.values())
    scrape = telemetry.scrape()
    for route in ROUTES.values():
        assert f'http_route="{route}"' in scrape
    assert "acme" not in scrape


def test_a_path_without_a_route_has_no_template(shop, serve, telemetry):
    """Unmatched paths, whatever they are, are one series and one span name."""
    with serve(shop) as client:
        for path in ("/a", "/b/c", "/wp-admin.php", "/v1/orders/"):
            assert client.get(path).status_code in (404, 307)
    assert {span.name for span in telemetry.spans} == {"GET"}
    assert all("http.route" not in span.attributes for span in telemetry.spans)
    counts = [
        line
        for line in telemetry.scrape().splitlines()
        if line.startswith("http_server_request_duration_seconds_count")
    ]
    assert all("http_route" not in line for line in counts)


def test_a_wrong_method_is_measured_under_the_route_it_missed(shop, serve, telemetry):
    """A 405 belongs to the route whose path matched."""
    with serve(shop) as client:
        client.delete("/v1/orders/7")
    assert telemetry.spans[0].name == "DELETE /v1/orders/{order_id}"


def test_a_root_path_is_no_part_of_the_template(telemetry, serve):
    """The prefix of a proxy is not the service's."""
    app = telemetry.service.install(FastAPI())

    @app.get("/orders/{n}")
    async def order(n: int) -> None: ...

    with serve(app, root_path="/api") as client:
        assert client.get("/orders/1").status_code == 200
        assert client.get("/health").status_code == 200
    assert [span.name for span in telemetry.spans] == ["GET /orders/{n}"]


def test_a_host_route_has_the_template_of_its_application(shop, serve, telemetry):
    """Routing by host adds nothing to the template."""
    with serve(shop) as client:
        client.get("/hosted/1", headers={"Host": "other.test"})
    assert telemetry.spans[0].name == "GET /hosted/{x}"


async def test_our_routes_stand_behind_those_that_are_never_meant_by_their_paths(app, asgi):
    """Each request is matched against what stands before its own route."""

    @app.get("/orders/{order_id}")
    async def order(order_id: str) -> None: ...

    app.include_router(APIRouter(prefix="/v1", routes=[Route("/v1/things/{thing}", text)]))
    app.include_router(APIRouter(routes=[Route("/{name}", text)]), prefix="/v2")
    app.mount("/files", Starlette(routes=[Route("/{name}", text)]))
    app.add_api_websocket_route("/feed", order)
    await asgi(app, path="/orders/1")
    ours = [isinstance(route, OwnRoute) for route in app.router.routes]
    assert ours == sorted(ours), "none of the service's routes is behind ours"
    for path in ("/metrics", "/health", "/health/live", "/health/ready"):
        sent, _ = await asgi(app, path=path)
        assert sent[0]["status"] == 200


async def number() -> int:
    return 1


class _ByHeader(Route):
    """A route that looks at more than the path."""

    def matches(self, scope):
        return super().matches({**scope, "path": "/any"})


class _AnyPath(APIRouter):
    """A router that does too."""

    def matches(self, scope):
        return Match.FULL, {}

    async def handle(self, scope, receive, send):
        await PlainTextResponse("any")(scope, receive, send)


def _on_the_object(app):
    route = Route("/any", text)
    route.matches = lambda scope: Route.matches(route, {**scope, "path": "/any"})
    app.router.routes.append(route)


CATCHING = {
    "a parameter": lambda app: app.add_api_route("/{name}", number),
    "any path": lambda app: app.add_route("/{path:path}", text),
    "the same path": lambda app: app.add_api_route("/health", number),
    "a router": lambda app: app.include_router(APIRouter(routes=[Route("/{name}", text)])),
    "a router below a parameter": lambda app: app.include_router(
        APIRouter(routes=[Route("/", text)]), prefix="/{name}"
    ),
    "a mount": lambda app: app.mount("", Starlette(routes=[Route("/{path:path}", text)])),
    "a host": lambda app: app.router.routes.append(
        Host("test", app=Router([Route("/{path:path}", text)]))
    ),
    "a router's route without its prefix": lambda app: app.include_router(
        APIRouter(prefix="/v1", routes=[Route("/{name}", text)])
    ),
    "a host in a router": lambda app: app.include_router(
        APIRouter(routes=[Host("test", app=Router([Route("/{path:path}", text)]))]), prefix="/v1"
    ),
    "a rule of its own": lambda app: app.router.routes.append(_ByHeader("/any", text)),
    "a rule of its router": lambda app: app.include_router(_AnyPath(), prefix="/v1"),
    "a rule on the object": _on_the_object,
}


@pytest.mark.parametrize("kind", CATCHING)
async def test_our_routes_stand_before_those_that_may_be_meant(telemetry, asgi, kind):
    """In the order in which they came: what the service had before us goes before us."""
    app = telemetry.service.install(FastAPI())
    app.add_route("/plain/{name}", text)
    CATCHING[kind](app)
    sent, _ = await asgi(app, path="/health")
    assert b'"healthy"' in sent[1]["body"], "ours came first"

    if kind == "a router below a parameter":
        return  # which is never asked for /health
    app = FastAPI()
    CATCHING[kind](app)
    telemetry.service.install(app)
    sent, _ = await asgi(app, path="/health")
    assert b'"healthy"' not in sent[1]["body"], "theirs came first"


async def test_routes_that_a_router_gets_later_change_nothing(app, asgi):
    """FastAPI serves them; a path of ours stays ours."""
    router = APIRouter()
    app.include_router(router)
    await asgi(app, path="/any")
    router.add_api_route("/{name}", number)
    sent, _ = await asgi(app, path="/health")
    assert b'"healthy"' in sent[1]["body"]
    sent, _ = await asgi(app, path="/any")
    assert sent[1]["body"] == b"1"


async def test_a_name_leads_where_it_led(app, asgi):
    """A service may call a route of its own as one of ours is called."""
    app.add_api_route("/v1/health", number, name="health")
    before = app.url_path_for("health")
    await asgi(app, path="/any")
    assert app.url_path_for("health") == before == "/health"


async def test_a_route_between_ours_stays_there(telemetry, asgi):
    """What the service put before one of ours, it put before it."""
    app = telemetry.service.install(FastAPI())
    routes = app.router.routes
    last = next(n for n, route in enumerate(routes) if getattr(route, "path", "") == "/health")
    app.add_api_route("/health", number)
    routes.insert(last, routes.pop())
    sent, _ = await asgi(app, path="/health")
    assert sent[1]["body"] == b"1"


async def test_routes_that_cannot_be_moved_stay(telemetry, asgi):
    app = telemetry.service.install(FastAPI())
    app.router.routes = tuple(app.router.routes)
    sent, _ = await asgi(app, path="/health")
    assert sent[0]["status"] == 200


@pytest.mark.parametrize("left", ["same", "equal", "none", "other"])
def test_the_template_of_an_included_route_has_the_prefix_it_was_included_under(left):
    """What stands in the scope may be the route itself, a like one, or none; others count."""
    original, other = Route("/{n}", text), Route("/other", text)
    found = {"same": original, "equal": Route("/{n}", text), "none": None, "other": other}[left]
    effective = SimpleNamespace(
        original_route=original, starlette_route=None, path_format="/orders/{n}"
    )
    scope = {"endpoint": text, "route": found, "fastapi": {"effective_route_context": effective}}
    arrival = SimpleNamespace(app=None, path="/orders/1", root_path="")
    assert route_template(scope, arrival) == ("/other" if left == "other" else "/orders/{n}")


@pytest.mark.parametrize("path", ["/orders/{n}", ""])
def test_an_empty_template_is_none(path):
    """A route without a path, below a root path, would be an ``http.route`` that says nothing."""
    route = APIRoute(path, text, response_model=None)
    scope = {"type": "http", "endpoint": text, "route": route}
    arrival = SimpleNamespace(app=None, path="/", root_path="")
    assert route_template(scope, arrival) == (path or None)
