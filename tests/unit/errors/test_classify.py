"""Prove what a failed HTTP call is taken for, with real httpx errors."""

from __future__ import annotations

import asyncio
import errno
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest

from glam_sdk.errors import (
    CircuitOpenError,
    DatabaseError,
    InfrastructureError,
    NotFoundError,
    RateLimitedError,
    RequestTimeoutError,
    ServiceUnavailableError,
    UpstreamServiceError,
    classify_http_error,
    is_retryable_error,
)

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
URL = "https://user:hunter2@billing.test:8443/charges/7?token=hunter3&a=b#hunter4"
SAFE = "POST https://billing.test:8443/charges/7"


def failed(status: int, **headers: str) -> httpx.HTTPStatusError:
    """Return what ``raise_for_status`` raises for an answer."""

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, headers={k.replace("_", "-"): v for k, v in headers.items()})

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        response = client.post(URL)
        with pytest.raises(httpx.HTTPStatusError) as caught:
            response.raise_for_status()
    return caught.value


def broken(kind: type[httpx.RequestError], **options) -> httpx.RequestError:
    """Return an error of the transport as a client raises it."""

    def answer(request: httpx.Request) -> httpx.Response:
        raise kind(f"failed at {URL}")

    with (
        httpx.Client(transport=httpx.MockTransport(answer), **options) as client,
        pytest.raises(kind) as caught,
    ):
        client.post(URL)
    return caught.value


def classify(error: Exception):
    return classify_http_error(error, service_name="billing", now=NOW)


@pytest.mark.parametrize(
    ("kind", "timeout_s"),
    [
        (httpx.ConnectTimeout, 1.0),
        (httpx.ReadTimeout, 2.0),
        (httpx.WriteTimeout, 3.0),
        (httpx.PoolTimeout, 4.0),
    ],
)
def test_a_timeout_says_which_operation_and_after_how_long(kind, timeout_s) -> None:
    """The limit is that of the phase that was too slow."""
    limits = httpx.Timeout(connect=1.0, read=2.0, write=3.0, pool=4.0)
    error = classify(broken(kind, timeout=limits))
    assert type(error) is RequestTimeoutError
    assert error.details == {
        "service": "billing",
        "retryable": True,
        "timeout_seconds": timeout_s,
        "operation": SAFE,
    }


def test_a_refusal_for_too_many_requests_says_when_to_come_back() -> None:
    """429 is the one answer that tells the caller to slow down."""
    error = classify(failed(429, retry_after="17"))
    assert type(error) is RateLimitedError
    assert error.details == {"retry_after": 17}
    assert str(error) == f"billing answered 429 Too Many Requests to {SAFE}."
    date = format_datetime(NOW + timedelta(seconds=90), usegmt=True)
    assert classify(failed(429, retry_after=date)).details == {"retry_after": 90}
    assert classify(failed(429)).details == {}


def test_an_unavailable_service_is_retryable_and_may_say_when() -> None:
    """503 is the service's own word that it will be back."""
    error = classify(failed(503))
    assert type(error) is ServiceUnavailableError
    assert error.details == {"service": "billing", "retryable": True}
    assert classify(failed(503, retry_after="5")).details["retry_after"] == 5


@pytest.mark.parametrize(
    ("status", "text", "retryable"),
    [
        (500, "500 Internal Server Error", True),
        (502, "502 Bad Gateway", True),
        (504, "504 Gateway Timeout", True),
        (599, "599", True),
        (400, "400 Bad Request", False),
        (404, "404 Not Found", False),
        (499, "499", False),
        (302, "302 Found", False),
    ],
)
def test_any_other_answer_is_an_upstream_error(status, text, retryable) -> None:
    """Doing the same again may help after a 5xx, and not after anything else."""
    error = classify(failed(status))
    assert type(error) is UpstreamServiceError
    assert error.details == {
        "service": "billing",
        "upstream_service": "billing",
        "upstream_status": status,
        "upstream_error": text,
        "endpoint": SAFE,
        "retryable": retryable,
    }


@pytest.mark.parametrize(
    ("kind", "retryable"),
    [
        (httpx.ConnectError, True),
        (httpx.ReadError, True),
        (httpx.WriteError, True),
        (httpx.CloseError, True),
        (httpx.RemoteProtocolError, True),
        (httpx.ProxyError, True),
        (httpx.LocalProtocolError, False),
        (httpx.UnsupportedProtocol, False),
    ],
)
def test_a_connection_failure_is_an_infrastructure_error(kind, retryable) -> None:
    """A mistake of our own request is not worth another try."""
    error = classify(broken(kind))
    assert type(error) is InfrastructureError
    assert error.details == {"service": "billing", "retryable": retryable}
    assert is_retryable_error(error.__cause__) is retryable


@pytest.mark.parametrize("kind", [httpx.TooManyRedirects, httpx.DecodingError])
def test_an_answer_that_can_not_be_used_is_an_upstream_error(kind) -> None:
    """It was reached, and what it said is wrong."""
    error = classify(broken(kind))
    assert type(error) is UpstreamServiceError
    assert error.retryable is False


async def test_a_refused_connection_of_a_real_client_is_classified() -> None:
    """Nothing listens on a port that was just closed."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with httpx.AsyncClient(trust_env=False) as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get(f"http://127.0.0.1:{port}/x")
    error = classify(caught.value)
    assert type(error) is InfrastructureError
    said = f"The request to GET http://127.0.0.1:{port}/x did not reach billing (ConnectError)."
    assert (str(error), error.retryable) == (said, True)


ANY_ERROR = [
    failed(429),
    failed(503),
    failed(500),
    failed(404),
    broken(httpx.ReadTimeout),
    broken(httpx.ConnectError),
    broken(httpx.DecodingError),
]


@pytest.mark.parametrize("raised", ANY_ERROR, ids=lambda raised: str(type(raised).__name__))
def test_no_secret_of_a_url_reaches_message_or_details(raised) -> None:
    """User, password, query and fragment stay in the cause, which the caller never sees."""
    error = classify(raised)
    assert "hunter" not in f"{error} {error.to_dict()} {error!r}"
    assert error.__cause__ is raised


@pytest.mark.parametrize(
    "raised",
    [
        httpx.ReadTimeout("x"),
        httpx.ConnectError("x"),
        httpx.DecodingError("x"),
        httpx.InvalidURL("x"),
        httpx.StreamClosed(),
        httpx.CookieConflict("x"),
        TimeoutError(),
        ConnectionResetError(),
        RuntimeError("hunter2"),
    ],
    ids=lambda raised: type(raised).__name__,
)
def test_an_error_without_a_request_is_classified_all_the_same(raised) -> None:
    """Classifying never fails, and never repeats the foreign text."""
    error = classify(raised)
    assert error.__cause__ is raised
    assert "hunter" not in str(error)
    assert is_retryable_error(error) is is_retryable_error(raised)


def test_an_error_of_ours_comes_back_unchanged() -> None:
    """A circuit breaker's error below the call is already what it should be."""
    error = CircuitOpenError("Open.", service_name="billing")
    assert classify(error) is error


def test_an_endless_path_is_cut() -> None:
    """A hostile redirect target does not fill the log."""
    request = httpx.Request("GET", "http://a/" + "x" * 10_000)
    error = classify(httpx.ReadTimeout("x", request=request))
    assert len(str(error)) < 400


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
        (InfrastructureError("x"), True),
        (InfrastructureError("x", retryable=False), False),
        (DatabaseError("x", details={"retryable": False}), False),
        (CircuitOpenError("x"), False),
        (RequestTimeoutError("x"), True),
        (NotFoundError("x"), False),
        (RateLimitedError(), False),
        (TimeoutError(), True),
        (ConnectionRefusedError(), True),
        (BrokenPipeError(), True),
        (OSError(errno.EHOSTUNREACH, "No route to host"), True),
        (socket.gaierror(socket.EAI_AGAIN, "Try again"), True),
        (OSError(errno.ENOSPC, "No space left"), False),
        (FileNotFoundError(), False),
        (ValueError(), False),
        (asyncio.CancelledError(), False),
        (KeyboardInterrupt(), False),
    ],
    ids=repr,
)
def test_only_infrastructure_timeouts_and_connections_are_worth_another_try(exc, expected) -> None:
    """An infrastructure error says so itself; anything unknown is not repeated."""
    assert is_retryable_error(exc) is expected
