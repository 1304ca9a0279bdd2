"""Serve applications to the HTTP tests, over a real socket or message by message."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager

import httpx
import pytest
from fastapi import FastAPI

from glam_sdk.testing import AppServer, capture_telemetry


@pytest.fixture
def app(telemetry):
    """An application with everything installed."""
    return telemetry.service.install(FastAPI())


@pytest.fixture
def kept():
    """Be an exporter that keeps what it is given, decoded as messages of a class."""

    class Kept:
        def __init__(self, message):
            self._message = message
            self.messages = []

        def export(self, batch):
            self.messages += [self._message.FromString(body) for _scope, body in batch]

        def shutdown(self): ...

    return Kept


@pytest.fixture
def emptying():
    """Middleware that leaves nothing in the scope."""

    class Emptying:
        def __init__(self, inner):
            self._inner = inner

        async def __call__(self, scope, receive, send):
            await self._inner(scope, receive, send)
            scope.clear()

    return Emptying


@pytest.fixture
def serve():
    """Serve an application for a block; the block's end waits for the requests to end."""

    @contextmanager
    def served(app, **options):
        with (
            AppServer(app, **options) as server,
            httpx.Client(
                base_url=server.url,
                # A server closes the connection after an error; none is used a second time.
                transport=httpx.HTTPTransport(
                    verify=False, limits=httpx.Limits(max_keepalive_connections=0)
                ),
                timeout=10,
            ) as client,
        ):
            yield client

    return served


@pytest.fixture
def telemetry_with():
    """Capture the telemetry of a service whose ``http`` settings are given."""

    @contextmanager
    def captured(**http):
        with capture_telemetry(overrides={"http": http}) as telemetry:
            yield telemetry

    return captured


@pytest.fixture
def asgi():
    """Run one ASGI connection with given messages; returns what was sent, and what was raised."""

    async def run(app, *received, **scope):
        waiting = asyncio.Queue()
        for message in received:
            waiting.put_nowait(message)
        sent = []

        async def send(message):
            sent.append(message)

        full = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": "/",
            "raw_path": b"/",
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"test")],
            "client": ("127.0.0.1", 1234),
            "server": ("127.0.0.1", 80),
            "state": {},
            **scope,
        }
        try:
            await asyncio.wait_for(app(full, waiting.get, send), 10)
        except Exception as exc:  # noqa: BLE001 - what was raised is what tests ask for
            return sent, exc
        return sent, None

    return run


@pytest.fixture
def websocket(asgi):
    """Run one WebSocket connection; as ``asgi``, with the opening message already there."""

    async def run(app, *received, **scope):
        defaults = {"type": "websocket", "scheme": "ws", "subprotocols": []}
        defaults["extensions"] = {"websocket.http.response": {}}
        return await asgi(app, {"type": "websocket.connect"}, *received, **(defaults | scope))

    return run
