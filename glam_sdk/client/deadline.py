"""Cut off an attempt that would last longer than the whole call may."""

from __future__ import annotations

import asyncio

import httpx

from glam_sdk.client.extensions import TIME_LEFT_S


async def send_in_time(
    transport: httpx.AsyncBaseTransport, request: httpx.Request
) -> httpx.Response:
    """Send a request; end the attempt when the time that its call has left is over.

    The time is the request's extension ``TIME_LEFT_S``, which is used up. Without it the timeouts
    of the client are the only limit.

    Raises:
        httpx.ReadTimeout: The headers of the response were not there in time.
    """
    left_s = request.extensions.pop(TIME_LEFT_S, None)
    if left_s is None:
        return await transport.handle_async_request(request)
    try:
        async with asyncio.timeout(left_s) as limit:
            return await transport.handle_async_request(request)
    except TimeoutError as exc:
        if not limit.expired():
            raise
        raise httpx.ReadTimeout(
            "The deadline of the call passed before an answer came.", request=request
        ) from exc
