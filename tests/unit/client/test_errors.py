"""Rules of what a failed call looks like to the caller."""

from __future__ import annotations

import traceback

import httpx
import pytest

from glam_sdk.client import http_client, raise_for_upstream
from glam_sdk.errors import (
    InfrastructureError,
    RateLimitedError,
    RequestTimeoutError,
    ServiceUnavailableError,
    UpstreamServiceError,
)
from glam_sdk.testing import free_port

from .conftest import DROP, HANG, Reply


@pytest.mark.parametrize(
    ("status", "error", "details"),
    [
        (429, RateLimitedError, {"retry_after": 7}),
        (503, ServiceUnavailableError, {"service": "orders", "retry_after": 7}),
        (500, UpstreamServiceError, {"upstream_status": 500, "retryable": True}),
        (404, UpstreamServiceError, {"upstream_status": 404, "retryable": False}),
    ],
)
async def test_an_error_answer_becomes_our_error(upstream, status, error, details):
    """The table of the contract, with the name the client was made with."""
    upstream.plays(Reply(status, headers={"Retry-After": "7"}))
    async with http_client(upstream.url, service_name="orders") as client:
        response = await client.get("/items?token=secret")
        with pytest.raises(error, match=r"^orders answered") as caught:
            raise_for_upstream(response)
    assert caught.value.details.items() >= details.items()
    assert isinstance(caught.value.__cause__, httpx.HTTPStatusError)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("status", [200, 204, 304])
async def test_an_answer_that_is_no_error_comes_back(upstream, status):
    """So that a call and its check fit on one line."""
    upstream.plays(Reply(status, b""))
    async with http_client(upstream.url) as client:
        response = await client.get("/")
    assert raise_for_upstream(response) is response


async def test_the_name_is_given_or_the_clients_or_the_host(upstream):
    """In this order."""
    upstream.plays(500, 500, 500)
    async with http_client(upstream.url, service_name="orders") as named:
        with pytest.raises(UpstreamServiceError, match=r"^billing answered"):
            raise_for_upstream(await named.get("/"), service_name="billing")
        with pytest.raises(UpstreamServiceError, match=r"^orders answered"):
            raise_for_upstream(await named.get("/"))
    async with http_client(upstream.url) as unnamed:
        with pytest.raises(UpstreamServiceError, match=r"^127\.0\.0\.1 answered"):
            raise_for_upstream(await unnamed.get("/"))


async def test_a_named_client_raises_our_timeout(upstream):
    """With the limit that was exceeded, in seconds, and the endpoint."""
    upstream.plays(HANG)
    timeout = httpx.Timeout(5, read=0.05)
    async with http_client(upstream.url, service_name="orders", timeout=timeout) as client:
        with pytest.raises(RequestTimeoutError) as caught:
            await client.post("/pay")
    assert caught.value.service == "orders"
    assert caught.value.timeout_seconds == 0.05
    assert caught.value.operation == f"POST {upstream.url}/pay"


async def test_a_named_client_raises_ours_for_a_failed_connection():
    """It is worth another try."""
    url = f"http://127.0.0.1:{free_port()}"
    async with http_client(url, service_name="orders", retry=None) as client:
        with pytest.raises(InfrastructureError) as caught:
            await client.get("/")
    assert caught.value.retryable
    assert isinstance(caught.value.__cause__, httpx.ConnectError)


async def test_a_named_client_raises_ours_for_a_redirect_without_end(upstream):
    """What httpx itself refuses to go on with is an answer that can't be used."""
    upstream.plays(*[Reply(302, headers={"location": "/"})] * 3)
    options = {"follow_redirects": True, "max_redirects": 2}
    async with http_client(upstream.url, service_name="orders", **options) as client:
        with pytest.raises(UpstreamServiceError):
            await client.get("/")


async def test_a_body_that_breaks_off_raises_ours(upstream):
    """The headers were there; the rest was promised and did not come."""
    upstream.plays(Reply(200, b"half", promised=100))
    async with http_client(upstream.url, service_name="orders") as client:
        with pytest.raises(InfrastructureError) as caught:
            await client.get("/")
    assert isinstance(caught.value.__cause__, httpx.RemoteProtocolError)


async def test_a_streamed_body_that_breaks_off_raises_ours(upstream):
    """Though the caller reads it long after the call."""
    upstream.plays(Reply(200, b"half", promised=100))
    async with (
        http_client(upstream.url, service_name="orders") as client,
        client.stream("GET", "/report") as response,
    ):
        with pytest.raises(InfrastructureError, match="/report") as caught:
            await response.aread()
    assert caught.value.service == "orders"


async def test_without_a_name_the_exceptions_are_httpxs(upstream):
    """A caller that handles ``httpx.HTTPError`` today goes on doing so."""
    upstream.plays(DROP)
    async with http_client(upstream.url) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.post("/")
