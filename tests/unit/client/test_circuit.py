"""Rules of leaving a host alone: when, for how long, and who may try."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glam_sdk.client import CircuitPolicy, CircuitState, http_client
from glam_sdk.client.circuit import CircuitBreaker, Outcome
from glam_sdk.errors import CircuitOpenError, is_retryable_error

from .conftest import DROP, HANG, Clock


def client_of(upstream, clock, **options):
    policy = CircuitPolicy(failures=2, open_s=30, clock=clock)
    return http_client(upstream.url, retry=None, circuit=policy, **options)


async def fail_twice(client, upstream):
    upstream.plays(503, 503)
    for _ in range(2):
        await client.get("/")


async def test_a_host_that_keeps_failing_is_not_asked(telemetry, upstream, clock):
    """The caller gets our error at once, and there is no span of a request nobody sent."""
    async with client_of(upstream, clock, service_name="orders") as client:
        await fail_twice(client, upstream)
        telemetry.clear()
        with pytest.raises(CircuitOpenError) as caught:
            await client.get("/")
    assert len(upstream.received) == 2
    assert telemetry.spans == ()
    assert caught.value.details.items() >= {"service": "orders", "failure_count": 2}.items()
    assert caught.value.details["open_until"].endswith("+00:00")
    assert not is_retryable_error(caught.value)


async def test_without_a_name_the_error_names_host_and_port(upstream, clock):
    """Who reads it knows what to look at."""
    async with client_of(upstream, clock) as client:
        await fail_twice(client, upstream)
        with pytest.raises(CircuitOpenError, match=f"127.0.0.1:{upstream.port} is not asked"):
            await client.get("/")


async def test_after_a_while_one_call_goes_out_on_trial(upstream, clock):
    """Its success closes the circuit for everybody."""
    async with client_of(upstream, clock) as client:
        await fail_twice(client, upstream)
        clock.now += 30
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/")).status_code == 200


async def test_a_failed_trial_opens_the_circuit_again(upstream, clock):
    """One failure is enough then, and the time starts anew."""
    async with client_of(upstream, clock) as client:
        await fail_twice(client, upstream)
        clock.now += 30
        upstream.plays(503)
        await client.get("/")
        clock.now += 29
        with pytest.raises(CircuitOpenError):
            await client.get("/")


async def test_during_a_trial_the_others_are_refused(upstream, clock):
    """A host that just comes back is not met by everybody at once."""
    async with client_of(upstream, clock) as client:
        await fail_twice(client, upstream)
        clock.now += 30
        upstream.plays(HANG)
        upstream.asked.clear()
        trial = asyncio.create_task(client.get("/"))
        await upstream.asked.wait()
        with pytest.raises(CircuitOpenError):
            await client.get("/")
        trial.cancel()
        with pytest.raises(asyncio.CancelledError):
            await trial


async def test_a_cancelled_trial_lets_the_next_one_try(upstream, clock):
    """Otherwise a caller that gave up would keep the circuit half-open for ever."""
    async with client_of(upstream, clock) as client:
        await fail_twice(client, upstream)
        clock.now += 30
        upstream.plays(HANG)
        upstream.asked.clear()
        trial = asyncio.create_task(client.get("/"))
        await upstream.asked.wait()
        trial.cancel()
        await asyncio.gather(trial, return_exceptions=True)
        assert (await client.get("/")).status_code == 200


@pytest.mark.parametrize(
    ("step", "counts"),
    [(502, True), (503, True), (504, True), (DROP, True), (HANG, True)]
    + [(status, False) for status in (200, 302, 400, 404, 409, 429, 500)],
)
async def test_only_infrastructure_failures_count(upstream, clock, step, counts):
    """An answer shows that the host is there, even one that is an error."""
    upstream.plays(step, step)
    timeout = httpx.Timeout(5, read=0.05 if step == HANG else 5)
    async with client_of(upstream, clock, timeout=timeout) as client:
        for _ in range(2):
            try:
                await client.get("/")
            except httpx.TransportError:
                assert counts
        if counts:
            with pytest.raises(CircuitOpenError):
                await client.get("/")
        else:
            await client.get("/")


async def test_a_success_in_between_starts_the_count_anew(upstream, clock):
    """Failures count when they come in a row."""
    upstream.plays(503, 200, 503, 200)
    async with client_of(upstream, clock) as client:
        statuses = [(await client.get("/")).status_code for _ in range(4)]
    assert statuses == [503, 200, 503, 200]


async def test_a_fault_of_our_own_does_not_count(upstream, clock):
    """A full pool tells nothing about the host."""
    upstream.plays(HANG)
    options = {
        "limits": httpx.Limits(max_connections=1),
        "timeout": httpx.Timeout(5, pool=0.01),
    }
    async with client_of(upstream, clock, **options) as client:
        blocker = asyncio.create_task(client.get("/"))
        await upstream.asked.wait()
        for _ in range(3):
            with pytest.raises(httpx.PoolTimeout):
                await client.get("/")
        blocker.cancel()
        await asyncio.gather(blocker, return_exceptions=True)


async def test_another_port_has_its_own_circuit(upstream, other, clock):
    """Two services on one host don't share their fate."""
    async with client_of(upstream, clock) as client:
        await fail_twice(client, upstream)
        assert (await client.get(other.url)).status_code == 200


async def test_each_change_is_logged_once_and_is_a_metric(telemetry, upstream, clock):
    """Ten refused calls are one line; the gauge is 2 while open and 0 again after."""
    async with client_of(upstream, clock) as client:
        await fail_twice(client, upstream)
        for _ in range(10):
            with pytest.raises(CircuitOpenError):
                await client.get("/")
        labels = f'{{server_address="127.0.0.1",server_port="{upstream.port}"}}'
        assert f"glam_client_circuit_state{labels} 2" in telemetry.scrape()
        clock.now += 30
        await client.get("/")
    assert f"glam_client_circuit_state{labels} 0" in telemetry.scrape()
    lines = [line for line in telemetry.logs() if line["message"].startswith("client.circuit")]
    assert [(line["level"], line["message"]) for line in lines] == [
        ("warning", "client.circuit_opened"),
        ("info", "client.circuit_half_opened"),
        ("info", "client.circuit_closed"),
    ]
    assert lines[0]["server.port"] == upstream.port


async def test_attempts_count_one_by_one_and_end_when_the_circuit_opens(upstream, waits, clock):
    """Retries don't go on against a host that is left alone."""
    upstream.plays(503, 503, 503, 503)
    policy = CircuitPolicy(failures=2, clock=clock)
    async with http_client(upstream.url, circuit=policy) as client:
        with pytest.raises(CircuitOpenError):
            await client.get("/")
    assert len(upstream.received) == 2


async def test_the_circuit_can_be_switched_off(upstream):
    """``circuit=None`` always asks."""
    upstream.plays(*[503] * 20)
    async with http_client(upstream.url, retry=None, circuit=None) as client:
        for _ in range(20):
            assert (await client.get("/")).status_code == 503


@pytest.mark.parametrize("settings", [{"failures": 0}, {"open_s": -1}])
def test_values_no_circuit_can_work_with_are_refused(settings):
    """The mistake shows where the client is made."""
    with pytest.raises(ValueError, match="or more"):
        CircuitPolicy(**settings)


@pytest.mark.parametrize("late", [Outcome.ANSWERED, Outcome.FAILED])
def test_a_call_from_before_the_last_change_says_nothing(clock, late):
    """Its late end neither closes a circuit that has opened since nor spoils the trial."""
    breaker = CircuitBreaker(CircuitPolicy(failures=1, open_s=30, clock=clock), lambda _: None)
    early, failing = breaker.admit(), breaker.admit()
    breaker.record(failing, Outcome.FAILED)
    clock.now += 30
    assert breaker.admit() is not None
    breaker.record(early, late)
    assert breaker.state is CircuitState.HALF_OPEN
    assert breaker.admit() is None


steps = st.one_of(
    st.just("admit"),
    st.floats(0, 20).map(lambda seconds: ("pass", seconds)),
    st.tuples(st.sampled_from(Outcome), st.integers(0, 5)),
)


@given(st.lists(steps, max_size=60))
def test_no_order_of_calls_breaks_the_circuit(story):
    """Open refuses everybody, half-open lets one out at a time, and it never stays shut."""
    clock = Clock()
    policy = CircuitPolicy(failures=2, open_s=10, clock=clock)
    changes: list[CircuitState] = []
    breaker = CircuitBreaker(policy, lambda changed: changes.append(changed.state))
    out: list[tuple[int, CircuitState]] = []
    for step in story:
        if step == "admit":
            was_open = breaker.state is CircuitState.OPEN and breaker.open_for_s > 0
            ticket = breaker.admit()
            assert not (was_open and ticket is not None)
            if ticket is not None:
                out.append((ticket, breaker.state))
        elif step[0] == "pass":
            clock.now += step[1]
        elif out:
            ticket, _ = out.pop(step[1] % len(out))
            breaker.record(ticket, step[0])
        trials = [ticket for ticket, state in out if state is CircuitState.HALF_OPEN]
        assert len(trials) == len(set(trials))
    assert all(before is not after for before, after in pairwise(changes))
    clock.now += policy.open_s
    for ticket, _ in out:
        breaker.record(ticket, Outcome.UNKNOWN)
    assert breaker.admit() is not None
