"""Rules of sending again: what, when, how often, and what the caller gets in the end."""

from __future__ import annotations

import httpx
import pytest
import stamina
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.trace import StatusCode

from glam_sdk.client import RetryPolicy, http_client
from glam_sdk.testing import free_port

from .conftest import DROP, HANG, Reply


async def test_each_attempt_is_a_span_that_says_how_often_it_was_sent_before(
    telemetry, upstream, waits
):
    """The failed attempts are errors, the last one is not; the count starts with the second."""
    upstream.plays(503, DROP)
    async with http_client(upstream.url) as client:
        response = await client.get("/")
    assert response.status_code == 200
    assert telemetry.tree() == "GET CLIENT ERROR\nGET CLIENT ERROR\nGET CLIENT"
    counts = [span.attributes.get("http.request.resend_count") for span in telemetry.spans]
    assert counts == [None, 1, 2]


async def test_each_attempt_tells_the_next_service_its_own_span(telemetry, upstream, waits):
    """Otherwise all attempts would look like one call that was handled several times."""
    upstream.plays(503)
    async with http_client(upstream.url) as client:
        await client.get("/")
    sent = [received.headers["traceparent"].split("-")[2] for received in upstream.received]
    assert sent == [f"{span.context.span_id:016x}" for span in telemetry.spans]


async def test_a_retry_is_one_log_line_that_names_the_host_and_no_url(telemetry, upstream, waits):
    """Who reads the log sees why it took longer; ids and secrets of the URL are not in it."""
    upstream.plays(503)
    async with http_client(upstream.url) as client:
        await client.get("/orders?token=secret")
    [line] = telemetry.logs("stamina.retry_scheduled")
    assert f"GET 127.0.0.1:{upstream.port}: 503" in line["caused_by"]
    assert "secret" not in str(line)


async def test_the_waits_grow_and_have_jitter(upstream, waits):
    """Twice as long each time, plus up to the jitter."""
    upstream.plays(503, 503, 503)
    policy = RetryPolicy(attempts=4, wait_initial_s=1, jitter_s=0.5, wait_max_s=3)
    async with http_client(upstream.url, retry=policy) as client:
        await client.get("/")
    assert len(waits) == 3
    for wait_s, backoff_s in zip(waits, (1, 2, 3), strict=True):
        assert backoff_s <= wait_s <= backoff_s + 0.5


@pytest.mark.parametrize(
    ("request_of", "times"),
    [
        (("GET", {}), 2),
        (("HEAD", {}), 2),
        (("OPTIONS", {}), 2),
        (("DELETE", {}), 2),
        (("PUT", {"json": {"a": 1}}), 2),
        (("POST", {"json": {"a": 1}}), 1),
        (("PATCH", {"json": {"a": 1}}), 1),
        (("POST", {"json": {"a": 1}, "headers": {"Idempotency-Key": "k"}}), 2),
        (("POST", {"data": {"a": "1"}, "extensions": {"idempotent": True}}), 2),
        (("GET", {"extensions": {"idempotent": False}}), 1),
    ],
)
async def test_only_what_is_harmless_twice_is_sent_twice(upstream, waits, request_of, times):
    """The method decides, or the caller does by a key or an extension."""
    method, options = request_of
    upstream.plays(503)
    async with http_client(upstream.url) as client:
        await client.request(method, "/", **options)
    assert len(upstream.received) == times
    assert len({received.body for received in upstream.received}) == 1


async def test_a_body_that_can_be_read_once_is_sent_once(upstream, waits):
    """The second attempt would send half a body, or none."""

    async def lines():
        yield b"one"

    upstream.plays(Reply(503, headers={"connection": "close"}))
    async with http_client(upstream.url) as client:
        response = await client.put("/", content=lines(), headers={"content-length": "3"})
    assert response.status_code == 503
    assert len(upstream.received) == 1


@pytest.mark.parametrize(
    ("step", "times"),
    [(429, 2), (502, 2), (503, 2), (504, 2), (DROP, 2), (HANG, 2)]
    + [(status, 1) for status in (200, 302, 400, 404, 409, 500, 501)],
)
async def test_only_what_may_pass_is_tried_again(upstream, waits, step, times):
    """Overload, gateways, broken connections and timeouts; a fault of the request stays one."""
    upstream.plays(step)
    # The answer after the one that never comes has as long.
    timeout = httpx.Timeout(10, read=0.5 if step == HANG else 10)
    async with http_client(upstream.url, timeout=timeout) as client:
        await client.get("/")
    assert len(upstream.received) == times


async def test_an_unreachable_host_is_tried_as_often_as_allowed(telemetry, waits):
    """The last exception goes to the caller as httpx raised it."""
    async with http_client(f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(httpx.ConnectError) as caught:
            await client.get("/")
    assert len(telemetry.spans) == 3
    assert caught.value.request.method == "GET"


async def test_the_last_answer_is_the_callers_with_its_body(upstream, waits):
    """A service that stays overloaded may have said why."""
    upstream.plays(503, 503, Reply(503, b'{"error": "full"}'))
    async with http_client(upstream.url) as client:
        response = await client.get("/")
    assert response.status_code == 503
    assert response.json() == {"error": "full"}
    assert len(upstream.received) == 3


async def test_an_answer_that_is_not_used_gives_its_connection_back(upstream, waits):
    """With room for one connection, the second attempt would wait for ever."""
    upstream.plays(503, 503)
    limits = httpx.Limits(max_connections=1)
    async with http_client(upstream.url, limits=limits) as client:
        assert (await client.get("/")).status_code == 200


async def test_retry_after_is_waited_for(upstream, waits):
    """The service knows better than our own backoff."""
    upstream.plays(Reply(429, headers={"Retry-After": "3"}))
    async with http_client(upstream.url) as client:
        assert (await client.get("/")).status_code == 200
    [wait_s] = waits
    assert 3 <= wait_s <= 3.1


async def test_a_long_retry_after_is_the_callers_to_wait_for(upstream, waits):
    """Coming back earlier than asked would be rude, holding the caller that long would be worse."""
    upstream.plays(Reply(503, headers={"Retry-After": "600"}))
    async with http_client(upstream.url) as client:
        response = await client.get("/")
    assert response.status_code == 503
    assert (waits, len(upstream.received)) == ([], 1)


async def test_no_wait_goes_past_the_deadline(upstream, waits, clock):
    """What can't be tried in time is given up at once."""

    def takes_six_seconds():
        clock.now += 6

    upstream.plays(503, 503, 503)
    upstream.on_request = takes_six_seconds
    policy = RetryPolicy(attempts=9, deadline_s=10, clock=clock)
    async with http_client(upstream.url, retry=policy) as client:
        response = await client.get("/")
    assert response.status_code == 503
    assert len(upstream.received) == 2


async def test_a_later_attempt_is_cut_off_at_the_deadline(telemetry, upstream, waits, clock):
    """Its own timeouts would let it go on; its span tells it as the timeout it is."""

    def leaves_a_moment_then_nothing():
        clock.now = 1009.8 if len(upstream.received) == 1 else 1010

    upstream.plays(503, HANG)
    upstream.on_request = leaves_a_moment_then_nothing
    policy = RetryPolicy(deadline_s=10, wait_initial_s=0.01, jitter_s=0, clock=clock)
    async with http_client(upstream.url, retry=policy, timeout=None) as client:
        with pytest.raises(httpx.ReadTimeout, match="deadline"):
            await client.get("/")
    assert len(upstream.received) == 2
    assert telemetry.spans[-1].attributes["error.type"] == "httpx.ReadTimeout"


async def test_what_a_redirect_leads_to_has_its_own_deadline(upstream, waits):
    """The time one request had left says nothing about the next."""
    upstream.plays(503, Reply(302, headers={"location": "/there"}), 503)
    async with http_client(upstream.url, follow_redirects=True) as client:
        response = await client.get("/here")
    assert response.status_code == 200
    assert "glam.time_left_s" not in response.request.extensions


async def test_retries_can_be_switched_off_for_a_client(upstream, waits):
    """``retry=None`` sends once."""
    upstream.plays(503)
    async with http_client(upstream.url, retry=None) as client:
        assert (await client.get("/")).status_code == 503


async def test_staminas_switch_is_ours(upstream, waits):
    """A service that switches its retries off in tests means these too."""
    upstream.plays(503)
    stamina.set_active(False)
    try:
        async with http_client(upstream.url) as client:
            assert (await client.get("/")).status_code == 503
    finally:
        stamina.set_active(True)


@pytest.mark.parametrize("step", [503, DROP])
async def test_staminas_test_mode_ends_with_the_outcome(upstream, step):
    """It stops before the policy would; the caller still gets an answer or httpx's exception."""
    upstream.plays(step)
    with stamina.set_testing(True):
        async with http_client(upstream.url) as client:
            if step == DROP:
                with pytest.raises(httpx.RemoteProtocolError):
                    await client.get("/")
            else:
                response = await client.get("/")
                assert (response.status_code, response.content) == (503, b"")
    assert len(upstream.received) == 1


async def test_a_failed_span_says_so_to_its_readers(telemetry, upstream, waits):
    """A retried call that succeeded in the end shows what it went through."""
    upstream.plays(502)
    async with http_client(upstream.url) as client:
        await client.get("/")
    first, second = telemetry.spans
    assert first.status.status_code is StatusCode.ERROR
    assert second.status.status_code is StatusCode.UNSET


@given(
    backoff_s=st.floats(0, 100),
    asked=st.none() | st.integers(0, 100_000) | st.text(max_size=20),
)
def test_a_wait_is_never_shorter_than_asked_nor_longer_than_allowed(backoff_s, asked):
    """Whatever a server writes into ``Retry-After``."""
    policy = RetryPolicy(retry_after_max_s=5, jitter_s=1)
    headers = {} if asked is None else {"retry-after": str(asked).encode("utf-8", "replace")}
    wait_s = policy.wait_s(backoff_s, httpx.Response(503, headers=headers))
    if isinstance(asked, int):
        assert wait_s is None if asked > 5 else asked <= wait_s <= asked + 1
    elif wait_s is not None:
        assert 0 <= wait_s <= max(backoff_s, 5) + 1


@pytest.mark.parametrize("settings", [{"attempts": 0}, {"wait_max_s": -1}, {"deadline_s": -0.1}])
def test_values_no_retry_can_work_with_are_refused(settings):
    """The mistake shows where the client is made."""
    with pytest.raises(ValueError, match="or more"):
        RetryPolicy(**settings)
