"""Translate what httpx raises and what other services answer, once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx

from glam_sdk.client.extensions import SERVICE_NAME
from glam_sdk.errors import classify_http_error


def raise_for_upstream(
    response: httpx.Response, *, service_name: str | None = None
) -> httpx.Response:
    """Return a response that is no error; raise our error for a 4xx or 5xx.

    Args:
        response: As received.
        service_name: Who answered; by default the one the client was made for, else the host.

    Raises:
        RateLimitedError: 429; ``retry_after`` in seconds where the answer has it.
        ServiceUnavailableError: 503.
        UpstreamServiceError: Any other; ``retryable`` for 5xx only.
    """
    if not response.is_error:
        return response
    request = response.request
    name = service_name or request.extensions.get(SERVICE_NAME) or request.url.host
    # Not response.raise_for_status(): its text has the URL with the query.
    failure = httpx.HTTPStatusError(
        f"Answered {response.status_code}.", request=request, response=response
    )
    raise classify_http_error(failure, service_name=name) from failure


@contextmanager
def translated(service_name: str) -> Iterator[None]:
    """Raise our errors for httpx's in the block; everything else passes unchanged."""
    try:
        yield
    except httpx.HTTPError as exc:
        raise classify_http_error(exc, service_name=service_name) from exc


class TranslatedStream(httpx.AsyncByteStream):
    """Wrap the body of a streamed response, so that reading it raises our errors too.

    Args:
        inner: The body.
        service_name: Who sends it.
        request: What it answers.
    """

    def __init__(
        self, inner: httpx.AsyncByteStream, service_name: str, request: httpx.Request
    ) -> None:
        self._inner = inner
        self._service_name = service_name
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._inner:
                yield part
        except httpx.RequestError as exc:
            exc.request = self._request
            raise classify_http_error(exc, service_name=self._service_name) from exc

    async def aclose(self) -> None:
        """Close the body."""
        await self._inner.aclose()
