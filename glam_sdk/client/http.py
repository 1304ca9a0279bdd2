"""Make the httpx client a service calls others with."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

import httpx

from glam_sdk.client.breakers import Breakers, CircuitTransport
from glam_sdk.client.circuit import CircuitPolicy
from glam_sdk.client.errors import TranslatedStream, translated
from glam_sdk.client.extensions import SENT, SERVICE_NAME, TRACED_OUTSIDE
from glam_sdk.client.retry import RetryPolicy, RetryTransport
from glam_sdk.client.transport import TelemetryTransport

DEFAULT_TIMEOUT: Final = httpx.Timeout(10.0, connect=2.0)
DEFAULT_RETRY: Final = RetryPolicy()
DEFAULT_CIRCUIT: Final = CircuitPolicy()

# What httpx.AsyncClient would hand to the transport it makes.
_TRANSPORT_OPTIONS: Final = ("verify", "cert", "http1", "http2", "limits", "proxy")
# Set on a client by opentelemetry-instrumentation-httpx.
_INSTRUMENTED: Final = "_is_instrumented_by_opentelemetry"


def http_client(
    base_url: httpx.URL | str = "",
    *,
    service_name: str | None = None,
    timeout: httpx.Timeout | float | None = DEFAULT_TIMEOUT,
    retry: RetryPolicy | None = DEFAULT_RETRY,
    circuit: CircuitPolicy | None = DEFAULT_CIRCUIT,
    transport: httpx.AsyncBaseTransport | None = None,
    **options: Any,
) -> httpx.AsyncClient:
    """Return an ``httpx.AsyncClient`` with spans, retries and circuit breakers.

    Each attempt is a CLIENT span and carries it on the wire. Of a request's extensions
    ``"url.template"``, the path with placeholders, goes into the span's name, and ``"idempotent"``
    says whether it may be repeated. Proxies are those of ``proxy=`` and ``mounts=`` alone.

    Args:
        base_url: Joined with the relative URLs of requests.
        service_name: The service that is called. When given, what httpx raises becomes our errors.
        timeout: Seconds; 10 for each step by default, 2 to connect.
        retry: How failed requests are repeated; None never does.
        circuit: When a host is left alone and calls raise ``CircuitOpenError``; None always asks.
        transport: What really sends; httpx's own by default.
        **options: Further arguments of ``httpx.AsyncClient``.

    Raises:
        TypeError: For options of httpx's own transport beside another one.
    """
    inner = _sending_transport(transport, options)
    breakers = Breakers(circuit) if circuit else None
    wrap = partial(_wrap, service_name=service_name, retry=retry, breakers=breakers)
    mounts: Mapping[str, httpx.AsyncBaseTransport | None] = options.pop("mounts", None) or {}
    return _Client(
        service_name=service_name,
        base_url=base_url,
        timeout=timeout,
        transport=wrap(inner),
        mounts={pattern: mounted and wrap(mounted) for pattern, mounted in mounts.items()},
        **options,
    )


def _sending_transport(
    transport: httpx.AsyncBaseTransport | None, options: dict[str, Any]
) -> httpx.AsyncBaseTransport:
    """Return what really sends; the options for it are taken out of the client's."""
    given = {name: options.pop(name) for name in _TRANSPORT_OPTIONS if name in options}
    if transport is None:
        return httpx.AsyncHTTPTransport(trust_env=options.get("trust_env", True), **given)
    if given:
        raise TypeError(
            f"{', '.join(given)} would have no effect beside transport=; give it to the transport."
        )
    return transport


def _wrap(
    inner: httpx.AsyncBaseTransport,
    *,
    service_name: str | None,
    retry: RetryPolicy | None,
    breakers: Breakers | None,
) -> httpx.AsyncBaseTransport:
    """Lay retry around the breaker, the breaker around the span, the span around the sending."""
    chain: httpx.AsyncBaseTransport = TelemetryTransport(inner)
    if breakers is not None:
        chain = CircuitTransport(chain, breakers, service_name=service_name)
    return RetryTransport(chain, retry) if retry is not None else chain


class _Client(httpx.AsyncClient):
    """Send requests with what is known about this client noted on them."""

    def __init__(self, *, service_name: str | None, **options: Any) -> None:
        super().__init__(**options)
        self._service_name = service_name

    async def send(self, request: httpx.Request, **options: Any) -> httpx.Response:
        """Send a request; the arguments are those of ``httpx.AsyncClient.send``."""
        request.extensions.pop(SENT, None)
        request.extensions[TRACED_OUTSIDE] = getattr(self, _INSTRUMENTED, False)
        name = self._service_name
        if name is None:
            return await super().send(request, **options)
        request.extensions[SERVICE_NAME] = name
        with translated(name):
            response = await super().send(request, **options)
        if isinstance(response.stream, httpx.AsyncByteStream) and not response.is_closed:
            response.stream = TranslatedStream(response.stream, name, request)
        return response
