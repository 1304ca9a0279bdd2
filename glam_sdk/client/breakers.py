"""Refuse calls to hosts that are down, one circuit breaker for each host and port."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final

import httpx

from glam_sdk._internal.guard import guarded
from glam_sdk.client.attributes import Attributes, origin_of
from glam_sdk.client.circuit import CircuitBreaker, CircuitPolicy, CircuitState, Outcome
from glam_sdk.errors import CircuitOpenError
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.metrics import get_meter

_log = get_logger("glam_sdk.client")
_MAX_HOSTS: Final = 1024
_DOWN: Final = frozenset({502, 503, 504})
# Faults of the request or of this process: they tell nothing about the host.
_OURS: Final = (httpx.PoolTimeout, httpx.LocalProtocolError, httpx.UnsupportedProtocol)

Origin = tuple[str, int]


class Breakers:
    """Hold the breakers of one client; tell of every change of state once.

    At most 1024 hosts are kept; healthy ones make room first.

    Args:
        policy: When a host counts as down.
    """

    def __init__(self, policy: CircuitPolicy) -> None:
        self._policy = policy
        self._of_origin: dict[Origin, CircuitBreaker] = {}
        self._gauge = get_meter("glam_sdk.client").create_gauge(
            conv.GLAM_CLIENT_CIRCUIT_STATE,
            unit="{state}",
            description="State of the circuit to a host: 0 closed, 1 half-open, 2 open.",
        )

    def of(self, origin: Origin) -> CircuitBreaker:
        """Return the breaker of a host and port."""
        known = self._of_origin.get(origin)
        if known is not None:
            return known
        breaker = CircuitBreaker(self._policy, partial(self._tell, origin))
        if self._has_room():
            self._of_origin[origin] = breaker
        return breaker

    def _has_room(self) -> bool:
        if len(self._of_origin) < _MAX_HOSTS:
            return True
        for origin, breaker in self._of_origin.items():
            if breaker.state is CircuitState.CLOSED:
                del self._of_origin[origin]
                return True
        return False

    def _tell(self, origin: Origin, breaker: CircuitBreaker) -> None:
        server: Attributes = {conv.SERVER_ADDRESS: origin[0], conv.SERVER_PORT: origin[1]}
        with guarded("client.circuit"):
            self._gauge.set(int(breaker.state), server)
            if breaker.state is CircuitState.OPEN:
                seen = {"failures": breaker.failures, "open_s": self._policy.open_s}
                _log.warning("client.circuit_opened", **server, **seen)
            elif breaker.state is CircuitState.HALF_OPEN:
                _log.info("client.circuit_half_opened", **server)
            else:
                _log.info("client.circuit_closed", **server)


class CircuitTransport(httpx.AsyncBaseTransport):
    """Wrap a transport: calls to a host that keeps failing are refused for a while.

    A failure is a connection that fails, a timeout, a broken answer, or one of 502, 503 and 504.
    Any other answer, a 500 included, shows that the host is there.

    Args:
        inner: The transport that makes one attempt.
        breakers: Shared between the transports of a client.
        service_name: Named in the error; the host by default.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        breakers: Breakers,
        *,
        service_name: str | None = None,
    ) -> None:
        self._inner = inner
        self._breakers = breakers
        self._service_name = service_name

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request, if the host is asked at the moment.

        Raises:
            CircuitOpenError: The host is left alone; ``open_until`` says until when.
        """
        origin = origin_of(request.url)
        breaker = self._breakers.of(origin)
        ticket = breaker.admit()
        if ticket is None:
            raise self._refusal(origin, breaker)
        outcome = Outcome.UNKNOWN
        try:
            response = await self._inner.handle_async_request(request)
        except httpx.TransportError as exc:
            outcome = Outcome.UNKNOWN if isinstance(exc, _OURS) else Outcome.FAILED
            raise
        else:
            outcome = Outcome.FAILED if response.status_code in _DOWN else Outcome.ANSWERED
            return response
        finally:
            breaker.record(ticket, outcome)

    async def aclose(self) -> None:
        """Close the transport that sends."""
        await self._inner.aclose()

    def _refusal(self, origin: Origin, breaker: CircuitBreaker) -> CircuitOpenError:
        name = self._service_name or f"{origin[0]}:{origin[1]}"
        until = datetime.now(UTC) + timedelta(seconds=breaker.open_for_s)
        return CircuitOpenError(
            f"{name} is not asked at the moment: its last {breaker.failures} calls failed.",
            service_name=name,
            failure_count=breaker.failures,
            open_until=until.isoformat(timespec="milliseconds"),
        )
