"""Send a request again when that is harmless and may help."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import httpx
import stamina

from glam_sdk.client.attributes import origin_of
from glam_sdk.client.extensions import IDEMPOTENT, TIME_LEFT_S
from glam_sdk.errors import is_retryable_error, parse_retry_after

_IDEMPOTENT_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT"})
_TRANSIENT: Final = frozenset({429, 502, 503, 504})
_DROPPED_WITH_THE_BODY: Final = ("content-encoding", "content-length", "transfer-encoding")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Say how often a failed request is sent again, and how long that may take.

    The wait before attempt n+1 is ``min(wait_max_s, wait_initial_s * 2 ** (n - 1))`` plus up to
    ``jitter_s`` at random, or what ``Retry-After`` asks plus the same.

    Args:
        attempts: How often a request is sent at most; 1 never sends again.
        wait_initial_s: Seconds before the second attempt.
        wait_max_s: Longest wait of our own choosing, in seconds.
        jitter_s: Most seconds added at random, so that many clients don't come back at once.
        retry_after_max_s: Longest ``Retry-After`` that is waited for, in seconds; an answer that
            asks for more is returned at once.
        deadline_s: Seconds for all attempts and waits of one request. The first attempt may use
            its own timeouts to the full; no wait goes past the deadline, and a later attempt is
            cut off there.
        clock: Monotonic seconds.

    Raises:
        ValueError: For fewer than one attempt, or negative seconds.
    """

    attempts: int = 3
    wait_initial_s: float = 0.1
    wait_max_s: float = 2.0
    jitter_s: float = 0.1
    retry_after_max_s: float = 5.0
    deadline_s: float = 15.0
    clock: Callable[[], float] = field(default=time.monotonic, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"RetryPolicy(attempts={self.attempts}): it must be 1 or more.")
        for name in _SECONDS:
            value = getattr(self, name)
            if value < 0:
                raise ValueError(f"RetryPolicy({name}={value}): it must be 0 or more.")

    def wait_s(self, backoff_s: float, response: httpx.Response | None) -> float | None:
        """Return the seconds to wait before the next attempt; None when that is too long.

        Args:
            backoff_s: The wait that is due after this many attempts, without jitter.
            response: The answer to the last attempt, if there was one.
        """
        jitter_s = random.uniform(0, self.jitter_s)  # noqa: S311 - no secret depends on it
        asked_s = None
        if response is not None:
            asked_s = parse_retry_after(response.headers.get("retry-after"))
        if asked_s is None:
            return backoff_s + jitter_s
        return asked_s + jitter_s if asked_s <= self.retry_after_max_s else None


_SECONDS: Final = ("wait_initial_s", "wait_max_s", "jitter_s", "retry_after_max_s", "deadline_s")


class TransientFailure(Exception):  # noqa: N818 - the name is what stamina logs as the cause
    """Ask stamina for another attempt; no caller sees it."""

    def __init__(self, text: str, wait_s: float, outcome: httpx.Response | Exception) -> None:
        super().__init__(text)
        self.wait_s = wait_s
        self.outcome = outcome


class RetryTransport(httpx.AsyncBaseTransport):
    """Wrap a transport: a request that may be repeated is, until it succeeds or time is up.

    Sent again is what failed by a timeout, a failed connection, or an answer 429, 502, 503 or 504,
    if the request is idempotent and its body can be sent twice (see :func:`is_repeatable`). The
    last answer or exception goes to the caller as it is. ``stamina.set_active(False)`` switches
    all retries of a process off; each retry is one log line and one count of stamina's.

    Args:
        inner: The transport that makes one attempt.
        policy: How often, and for how long.
    """

    def __init__(self, inner: httpx.AsyncBaseTransport, policy: RetryPolicy) -> None:
        self._inner = inner
        self._policy = policy

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request, several times if need be."""
        if self._policy.attempts == 1 or not stamina.is_active() or not is_repeatable(request):
            return await self._inner.handle_async_request(request)
        try:
            return await self._repeat(request)
        except TransientFailure as failure:
            # In its test mode stamina stops before the policy would.
            outcome = failure.outcome
        if isinstance(outcome, Exception):
            raise outcome
        return _without_body(outcome)

    async def aclose(self) -> None:
        """Close the transport that sends."""
        await self._inner.aclose()

    async def _repeat(self, request: httpx.Request) -> httpx.Response:
        policy = self._policy
        deadline = policy.clock() + policy.deadline_s
        async for attempt in stamina.retry_context(
            on=_wait_after,
            attempts=policy.attempts,
            timeout=None,
            wait_initial=policy.wait_initial_s,
            wait_max=policy.wait_max_s,
            wait_jitter=0,
        ):
            with attempt:
                if attempt.num > 1:
                    request.extensions[TIME_LEFT_S] = deadline - policy.clock()
                is_last = attempt.num >= policy.attempts
                return await self._attempt(
                    request, attempt.next_wait, None if is_last else deadline
                )
        raise AssertionError("stamina ended without an outcome")  # pragma: no cover

    async def _attempt(
        self, request: httpx.Request, backoff_s: float, deadline: float | None
    ) -> httpx.Response:
        """Make one attempt; ``deadline`` is None for the last one."""
        try:
            response = await self._inner.handle_async_request(request)
        except Exception as exc:
            wait_s = self._wait_s(backoff_s, deadline, None) if is_retryable_error(exc) else None
            if wait_s is None:
                raise
            raise TransientFailure(_text(request, type(exc).__name__), wait_s, exc) from exc
        if response.status_code not in _TRANSIENT:
            return response
        wait_s = self._wait_s(backoff_s, deadline, response)
        if wait_s is None:
            return response
        await response.aclose()
        raise TransientFailure(_text(request, str(response.status_code)), wait_s, response)

    def _wait_s(
        self, backoff_s: float, deadline: float | None, response: httpx.Response | None
    ) -> float | None:
        """Return the seconds to wait, or None when there is to be no further attempt."""
        if deadline is None:
            return None
        wait_s = self._policy.wait_s(backoff_s, response)
        if wait_s is None or self._policy.clock() + wait_s >= deadline:
            return None
        return wait_s


def is_repeatable(request: httpx.Request) -> bool:
    """Tell whether sending a request twice is harmless and possible.

    Harmless are GET, HEAD, PUT, DELETE and OPTIONS, a request with an ``Idempotency-Key`` header,
    and what the extension ``idempotent`` says is; possible is it with no body or one given as
    bytes, text, JSON or form. Streams and files can be read once only.
    """
    if not isinstance(request.stream, httpx.ByteStream):
        return False
    said = request.extensions.get(IDEMPOTENT)
    if said is not None:
        return bool(said)
    return request.method in _IDEMPOTENT_METHODS or "idempotency-key" in request.headers


def _wait_after(exc: Exception) -> bool | float:
    """Tell stamina how long to wait before the next attempt, or that there is none."""
    return exc.wait_s if isinstance(exc, TransientFailure) else False


def _text(request: httpx.Request, outcome: str) -> str:
    host, port = origin_of(request.url)
    return f"{request.method} {host}:{port}: {outcome}"


def _without_body(response: httpx.Response) -> httpx.Response:
    """Return an answer that was closed unread as one that has an empty body."""
    headers = httpx.Headers(response.headers)
    for name in _DROPPED_WITH_THE_BODY:
        headers.pop(name, None)
    return httpx.Response(response.status_code, headers=headers, extensions=response.extensions)
