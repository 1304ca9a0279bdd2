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
# Most responses have no others, and to look at them costs less than to make a name lower-case.
_USUAL: Final = frozenset(
    {
        b"cache-control",
        b"content-length",
        b"content-type",
        b"date",
        b"etag",
        b"location",
        b"server",
        b"set-cookie",
        b"vary",
    }
)
_STARTS: Final = frozenset(
    {"http.response.start", "websocket.accept", "websocket.http.response.start"}
)


class Wire(Exchange):
    """Stand between server and application for one request, whose exchange it is.

    It is one object because a second one would cost as much as all that is done here. What every
    response carries takes the place of headers of the same name.
    """

    __slots__ = ("_finish", "_has_trailers", "_receive", "_send")

    def connect(self, receive: Receive, send: Send, finish: Callable[[Exchange], None]) -> None:
        """Begin to pass on messages.

        Args:
            receive: The server's.
            send: The server's.
            finish: Called when the last byte was sent.
        """
        self._receive = receive
        self._send = send
        self._finish = finish
        self._has_trailers = False

    async def receive(self) -> Message:
        """Pass on what the server received."""
        message = await self._receive()
        if message["type"] == "http.disconnect" and not self.is_complete:
            self.is_abandoned = True
        return message

    async def send(self, message: Message) -> None:
        """Pass on what the application sends."""
        kind = message["type"]
        if kind == "http.response.body":
            is_last = not (message.get("more_body") or self._has_trailers)
        elif kind in _STARTS:
            is_last, message = False, self._started(message)
        else:
            is_last = self._is_other_end(kind, message)
        if is_last:
            self.is_complete = True
            if self.is_joined:  # its owner ends the span as soon as it sees this message
                self._finish(self)
        try:
            await self._send(message)
        except OSError:
            self.is_abandoned = True
            raise
        if is_last:
            # Without an exception for its error page, one may still be on its way up.
            if self.error is not None or (self.status or 0) < 500:
                self._finish(self)
            else:
                self.stop_clock()

    def _is_other_end(self, kind: str, message: Message) -> bool:
        if kind == "websocket.close" and self.status is None:
            self.status = 403  # what a server makes of it before the handshake (ASGI)
        if kind == "http.response.trailers":
            return not message.get("more_trailers")
        return kind == "http.response.pathsend"

    def _started(self, message: Message) -> Message:
        status = message.get("status", 101)
        self.status = status if type(status) is int else _number(status)
        if "trailers" in message:
            self._has_trailers = bool(message["trailers"])
        given = message.get("headers") or ()
        if type(given) is not list:
            given = list(given)
        try:
            for name, _ in given:
                if name not in _USUAL and name.lower() in _OUR_HEADERS:
                    given = [pair for pair in given if pair[0].lower() not in _OUR_HEADERS]
                    break
        except (AttributeError, TypeError, ValueError):  # servers take more than ASGI's bytes
            given = [pair for pair in given if _name(pair[0]) not in _OUR_HEADERS]
        sent = {**message}  # in one go; with the headers in the same display it would not be
        sent["headers"] = given + self.headers
        return sent


def _name(given: Any) -> bytes:
    return given.encode().lower() if isinstance(given, str) else bytes(given).lower()


def _number(status: object) -> int | None:
    """Return a status as a plain number, such as one of ``http.HTTPStatus``; None for none."""
    return int(status) if isinstance(status, int) else None
