"""Rules of the factory: defaults, proxies, transports of one's own."""

from __future__ import annotations

import httpx
import pytest

import glam_sdk.client
from glam_sdk import errors
from glam_sdk.client import http_client
from glam_sdk.testing import free_port


async def test_every_step_of_a_request_has_a_limit():
    """A service that hangs must not hang its callers."""
    async with http_client() as client:
        assert client.timeout == httpx.Timeout(connect=2, read=10, write=10, pool=10)


async def test_a_request_through_a_proxy_is_observed_too(telemetry, upstream):
    """Httpx would send it past the transport it was given."""
    async with http_client(proxy=upstream.url) as client:
        await client.get("http://orders.invalid/items")
    assert upstream.received[0].target == "http://orders.invalid/items"
    assert telemetry.span("GET").attributes["server.address"] == "orders.invalid"
    assert "traceparent" in upstream.received[0].headers


async def test_a_mounted_transport_is_observed_too(telemetry, upstream):
    """Whatever sends, each request is a span."""
    answering = httpx.MockTransport(lambda _: httpx.Response(204))
    mounts = {"all://mounted.invalid": answering, "all://127.0.0.1": None}
    async with http_client(mounts=mounts) as client:
        assert (await client.get("http://mounted.invalid/")).status_code == 204
        assert (await client.get(upstream.url)).status_code == 200
    assert telemetry.tree() == "GET CLIENT\nGET CLIENT"


async def test_proxies_of_the_environment_are_not_used(upstream, monkeypatch):
    """Calls between services go straight."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    async with http_client(upstream.url) as client:
        assert (await client.get("/")).status_code == 200


def test_options_of_a_transport_beside_another_one_are_refused():
    """They would be lost without a word; ``verify=False`` lost is only the harmless half."""
    with pytest.raises(TypeError, match="verify, limits would have no effect"):
        http_client(
            transport=httpx.MockTransport(lambda _: httpx.Response(200)),
            verify=False,
            limits=httpx.Limits(),
        )


async def test_closing_the_client_closes_what_sends():
    """Its connections go with it."""
    closed: list[bool] = []

    class Sends(httpx.MockTransport):
        async def aclose(self):
            closed.append(True)

    async with http_client(transport=Sends(lambda _: httpx.Response(200))):
        pass
    assert closed == [True]


def test_every_public_name_can_be_imported():
    """The lazy door leads somewhere; classifying is the same function as in errors."""
    for name in glam_sdk.client.__all__:
        assert getattr(glam_sdk.client, name) is not None
    assert glam_sdk.client.classify_http_error is errors.classify_http_error
    assert dir(glam_sdk.client) == sorted(glam_sdk.client.__all__)
