"""Get messages into streams: size limits, deadlines, retries under one message id.

Flow: step 9, inside of the publisher.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

import nats.errors
from nats.js import api
from nats.js import errors as js_errors

from glam_sdk.errors import MessageBusError
from glam_sdk.messaging.acks import ACK_TIMEOUT_S, Ack
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.errors import MessageTooLargeError, bus_error
from glam_sdk.messaging.fast_ingest import SMALLEST_BATCH, FastIngest
from glam_sdk.messaging.outgoing import BatchReport, Outgoing
from glam_sdk.telemetry.logs import get_logger

_FIRST_WAIT_S: Final = 0.1
_MAX_WAIT_S: Final = 2.0
_WINDOW: Final = 256
_TOO_LARGE_FOR_STREAM: Final = 10054
_HEADER_FRAME: Final = len("NATS/1.0\r\n\r\n")
_FAILURES: Final = (nats.errors.Error, TimeoutError, OSError)
_log = get_logger(__name__)


class Sender:
    """Send messages and wait until streams have them.

    Args:
        nats: Connection to use.
        max_header_bytes: Limit for all headers of one message.
    """

    def __init__(self, nats: Nats, *, max_header_bytes: int) -> None:
        self._nats = nats
        self._max_header_bytes = max_header_bytes
        self._fast = FastIngest(nats)

    async def send(self, message: Outgoing, *, timeout_s: float) -> api.PubAck:
        """Send one message, again where that may help, within the deadline.

        Raises:
            MessageTooLargeError: It is larger than allowed; nothing was sent.
            MessageBusError: No stream acknowledged it in time, or the stream refused it.
        """
        self.check_size(message)
        deadline = asyncio.get_running_loop().time() + timeout_s
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                return await self._attempt(message, timeout_s)
            except MessageBusError as exc:
                timeout_s = deadline - asyncio.get_running_loop().time()
                if not exc.retryable or timeout_s <= wait_s:
                    raise
                _log.debug("message.publish_retried", subject=message.subject, reason=exc.message)
            await asyncio.sleep(wait_s)
            timeout_s -= wait_s
            wait_s = min(wait_s * 2, _MAX_WAIT_S)

    async def send_all(self, messages: Sequence[Outgoing], *, timeout_s: float) -> None:
        """Send many messages: in batches where streams take them, else several hundred at once.

        Raises:
            MessageBusError: One was not taken; others may have been.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout_s
        left = sorted(await self._in_batches(messages, range(len(messages)), deadline))
        window: deque[tuple[Outgoing, Ack | None]] = deque()
        try:
            for place in left:
                if len(window) >= _WINDOW:
                    await self._confirm(*window.popleft(), timeout_s=deadline - loop.time())
                message = messages[place]
                window.append((message, await self._begin(message, deadline - loop.time())))
            while window:
                await self._confirm(*window.popleft(), timeout_s=deadline - loop.time())
        finally:
            for _, ack in window:
                if ack is not None:
                    ack.cancel()

    async def send_lanes(self, messages: Sequence[Outgoing], *, timeout_s: float) -> BatchReport:
        """Send messages so that those of one lane and stream are stored in order.

        After a message that could not be sent, the rest of its lane is left alone; one that is too
        large holds up nothing.
        """
        report = BatchReport()
        for place, message in enumerate(messages):
            try:
                self.check_size(message)
            except MessageTooLargeError as exc:
                report.failed[place] = exc
        good = [place for place in range(len(messages)) if place not in report.failed]
        deadline = asyncio.get_running_loop().time() + timeout_s
        left = await self._in_batches(messages, good, deadline)
        report.acked.extend(set(good).difference(left))
        lanes: dict[int, list[int]] = {}
        for place in sorted(left):
            lanes.setdefault(messages[place].lane, []).append(place)
        if len(lanes) == 1:
            await self._send_lane(messages, next(iter(lanes.values())), report, timeout_s)
            return report
        async with asyncio.TaskGroup() as sending:
            for lane in lanes.values():
                sending.create_task(self._send_lane(messages, lane, report, timeout_s))
        return report

    async def _send_lane(
        self, messages: Sequence[Outgoing], lane: list[int], report: BatchReport, timeout_s: float
    ) -> None:
        for place in lane:
            try:
                await self.send(messages[place], timeout_s=timeout_s)
            except MessageTooLargeError as exc:
                report.failed[place] = exc
            except MessageBusError as exc:
                report.failed[place] = exc
                return
            else:
                report.acked.append(place)

    async def _in_batches(
        self, messages: Sequence[Outgoing], places: Sequence[int], deadline: float
    ) -> list[int]:
        """Send by fast ingest what streams take that way; return the places of the others."""
        if len(places) < SMALLEST_BATCH:
            return list(places)
        left: list[int] = []
        streams: dict[str, list[int]] = {}
        known = self._nats.topology.known
        for place in places:
            subject = messages[place].subject
            stream = known(subject) or await self._stream_of(subject, deadline)
            (left if stream is None else streams.setdefault(stream, [])).append(place)
        loop = asyncio.get_running_loop()
        for stream, rest in streams.items():
            while self._fast.suits(stream, len(rest)):
                batch = [messages[place] for place in rest]
                taken = await self._fast.send(stream, batch, timeout_s=deadline - loop.time())
                del rest[:taken]
                if not taken:
                    break
            left += rest
        return left

    async def _stream_of(self, subject: str, deadline: float) -> str | None:
        if self._nats.is_connected:
            with suppress(*_FAILURES, MessageBusError):
                async with asyncio.timeout_at(deadline):
                    return await self._nats.stream_for(subject)
        return None

    async def _begin(self, message: Outgoing, timeout_s: float) -> Ack | None:
        """Send without waiting; None where only the patient way can help."""
        if not self._nats.is_connected:
            return None
        try:
            return await self._start(message, timeout_s)
        except (*_FAILURES, MessageBusError):
            return None

    async def _confirm(self, message: Outgoing, ack: Ack | None, *, timeout_s: float) -> api.PubAck:
        if ack is not None:
            try:
                return await ack
            except _FAILURES as exc:
                error = self._translated(exc, message)
                if not error.retryable:
                    raise error from exc
        return await self.send(message, timeout_s=timeout_s)

    async def _attempt(self, message: Outgoing, timeout_s: float) -> api.PubAck:
        # Without a connection the client would only buffer, and buffer again at each retry.
        if not self._nats.is_connected:
            await self._nats.wait_connected(timeout_s)
        try:
            return await (await self._start(message, timeout_s))
        except _FAILURES as exc:
            raise self._translated(exc, message) from exc

    async def _start(self, message: Outgoing, timeout_s: float) -> Ack:
        nats = self._nats
        if nats.topology.known(message.subject) is None:
            async with asyncio.timeout(min(timeout_s, ACK_TIMEOUT_S)):
                await nats.stream_for(message.subject)
        return await nats.acks.send(
            message.subject,
            message.body,
            message.headers,
            lines=message.lines,
            timeout_s=timeout_s,
        )

    def _translated(self, exc: Exception, message: Outgoing) -> MessageBusError:
        if isinstance(exc, js_errors.NoStreamResponseError):
            self._nats.topology.forget(message.subject)
        elif isinstance(exc, js_errors.APIError) and exc.err_code == _TOO_LARGE_FOR_STREAM:
            size = _header_bytes(message.headers) + len(message.body)
            return MessageTooLargeError(
                f"The message {message.subject} is {size} bytes, more than its stream takes. Raise "
                "the stream's max_msg_size, or store the data elsewhere and send a reference.",
                operation="publish",
                stream=exc.stream,
                subject=message.subject,
                size_bytes=size,
            )
        return bus_error(exc, operation="publish", subject=message.subject)

    def check_size(self, message: Outgoing) -> None:
        """Refuse what the server would answer by closing the connection.

        Raises:
            MessageTooLargeError: It is larger than allowed.
        """
        headers, allowed = message.headers, self._nats.client.max_payload
        most = _HEADER_FRAME + len(message.lines)
        if not message.lines:  # A character has four bytes at most.
            most += 4 * (len(headers) + sum(map(len, headers)) + sum(map(len, headers.values())))
        if most <= self._max_header_bytes and most + len(message.body) <= allowed:
            return
        size = _header_bytes(headers)
        if size > self._max_header_bytes:
            raise MessageTooLargeError(
                f"The headers of {message.subject} are {size} bytes, more than "
                f"{self._max_header_bytes}. Send less baggage, or put the data into the payload.",
                operation="publish",
                subject=message.subject,
                size_bytes=size,
                max_size_bytes=self._max_header_bytes,
            )
        total = size + len(message.body)
        if total > allowed:
            raise MessageTooLargeError(
                f"The message {message.subject} is {total} bytes, more than the {allowed} the "
                "server takes. Store the data elsewhere and send a reference.",
                operation="publish",
                subject=message.subject,
                size_bytes=total,
                max_size_bytes=allowed,
            )


def _header_bytes(headers: Mapping[str, str]) -> int:
    return _HEADER_FRAME + sum(len(k.encode()) + len(v.encode()) + 4 for k, v in headers.items())
