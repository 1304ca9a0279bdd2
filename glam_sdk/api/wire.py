"""Watch what goes over the wire for one request: headers are added, the end is noticed.

Flow: step 1, between server and application, in both directions.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from glam_sdk.api.exchange import Exchange

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]

_OUR_HEADERS: Final = frozenset(
    {b"x-request-id", b"x-correlation-id", b"x-trace-id", b"x-service-name"}
)
_STARTS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)


class Wire:
    """Stand between server and application for one request.

    Args:
        exchange: Told of status, end and the caller's leaving; has headers that are added to the
            response, in place of those of the same name.
        receive: The server's.
        send: The server's.
        finish: Called when the last byte was sent.
    """

    __slots__ = ("_exchange", "_finish", "_has_trailers", "_receive", "_send")

    def __init__(
        self,
        exchange: Exchange,
        receive: Receive,
        send: Send,
        finish: Callable[[Exchange], None],
    ) -> None:
        self._exchange = exchange
        self._receive = receive
        self._send = send
        self._finish = finish
        self._has_trailers = False

    async def receive(self) -> Message:
        """Pass on what the server received."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self._exchange.is_complete:
            self._exchange.is_abandoned = True
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the application sends."""
        kind = message["type"]
        exchange = self._exchange
        if kind == "http.response.body":
            is_last = not (message.get("more_body") or self._has_trailers)
        elif kind in _STARTS:
            is_last, message = False, self._started(message)
        else:
            is_last = self._is_other_end(kind, message)
        if is_last:
            exchange.is_complete = True
            if exchange.is_joined:  # its owner ends the span as soon as it sees this message
                self._finish(exchange)
        try:
            await self._send(message)
        except OSError:
            exchange.is_abandoned = True
            raise
        if is_last:
            # Without an exception for its error page, one may still be on its way up.
            if exchange.error is not None or (exchange.status or 0) < 500:
                self._finish(exchange)
            else:
                exchange.stop_clock()

    def _is_other_end(self, kind: str, message: Message) -> bool:
        if kind == "websocket.close" and self._exchange.status is None:
            self._exchange.status = 403  # what a server makes of it before the handshake (ASGI)
        if kind == "http.response.trailers":
            return not message.get("more_trailers")
        return kind == "http.response.pathsend"

    def _started(self, message: Message) -> Message:
        status = message.get("status", 101)
        self._exchange.status = status if type(status) is int else _number(status)
        if "trailers" in message:
            self._has_trailers = bool(message["trailers"])
        given = list(message.get("headers") or ())
        for name, _ in given:
            if name.lower() in _OUR_HEADERS:
                given = [pair for pair in given if pair[0].lower() not in _OUR_HEADERS]
                break
        return {**message, "headers": given + self._exchange.headers}


def _number(status: object) -> int | None:
    """Return a status as a plain number, such as one of ``http.HTTPStatus``; None for none."""
    return int(status) if isinstance(status, int) else None
