"""Keep one connection to NATS for the whole service."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext

from glam_sdk._internal.redact import redact_url
from glam_sdk.errors import MessageBusError
from glam_sdk.events import StreamSpec
from glam_sdk.lifecycle import Check
from glam_sdk.messaging.acks import Acks
from glam_sdk.messaging.cancellation import end
from glam_sdk.messaging.errors import describe
from glam_sdk.messaging.inline import quicken
from glam_sdk.messaging.topology import StreamTopology, ensure_stream
from glam_sdk.telemetry.logs import get_logger

if TYPE_CHECKING:
    from glam_sdk.config import NatsSettings

_RECONNECT_WAIT_S: Final = 1
_REDIAL_MAX_S: Final = 30.0
_CHECK_TIMEOUT_S: Final = 2
_CLOSE_TIMEOUT_S: Final = 2.0
_log = get_logger(__name__)


class Nats:
    """Connect to NATS, reconnect for ever, and prepare the declared streams.

    Args:
        settings: Servers, credentials and deadlines.
        service_name: Shown by the server as the connection's name; owner of its default stream.
        streams: Streams this service declares; created or updated at start.
        subjects: Subjects it publishes or handles. That one has no stream is an error at start,
            unless the settings say otherwise.
    """

    def __init__(
        self,
        settings: NatsSettings,
        *,
        service_name: str,
        streams: Sequence[StreamSpec] = (),
        subjects: Iterable[str] = (),
    ) -> None:
        self.service_name = service_name
        self.topology = StreamTopology(service_name, streams)
        self._settings = settings
        self._subjects = tuple(dict.fromkeys(subjects)) if settings.check_streams else ()
        self._client: Client | None = None
        self._jetstream: JetStreamContext | None = None
        self._connected = asyncio.Event()
        self._listeners: list[Callable[[], None]] = []
        self._last_error: Exception | None = None
        self._redialling: asyncio.Task[None] | None = None
        self._stopping = False
        self.acks = Acks(self)
        """Sends to streams and receives their acknowledgements."""

    @property
    def name(self) -> str:
        """Name of the component."""
        return "nats"

    @property
    def client(self) -> Client:
        """The NATS client itself, for what this package does not wrap."""
        if self._client is None:
            raise MessageBusError(
                "NATS is not started. Use it between the service's start and stop.",
                operation="connect",
                retryable=False,
            )
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        """The client's JetStream context, for what this package does not wrap."""
        if self._jetstream is None:
            self._jetstream = self.client.jetstream()
        return self._jetstream

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._client is not None and self._client.is_connected

    async def start(self) -> None:
        """Connect within ``connect_timeout_s`` and prepare the declared streams.

        Raises:
            MessageBusError: No server answered, one refused us, a stream could not be prepared, or
                a subject has none.
        """
        self._stopping = False
        await self._dial()
        _log.info("nats.connected", servers=self._addresses())
        try:
            for spec in self.topology.declared:
                await ensure_stream(self.jetstream, spec)
            await self.topology.require(self.jetstream, self._subjects)
        except MessageBusError:
            await self.stop()
            raise

    async def check(self) -> Check:
        """Measure a round trip to the server."""
        if not self.is_connected:
            reason = describe(self._last_error) if self._last_error else "not connected"
            return Check(healthy=False, detail=reason)
        try:
            seconds = await self.client.rtt(_CHECK_TIMEOUT_S)
        except (nats.errors.Error, TimeoutError, OSError) as exc:
            return Check(healthy=False, detail=describe(exc))
        return Check(healthy=True, detail="connected", data={"rtt_ms": round(seconds * 1000, 3)})

    async def stop(self) -> None:
        """Send what is buffered within ``drain_timeout_s``, then close."""
        self._stopping = True
        if self._redialling is not None:
            await end(self._redialling)
            self._redialling = None
        client, self._client, self._jetstream = self._client, None, None
        self._connected.clear()
        if client is None:
            return
        try:
            if client.is_connected:
                await _within(self._settings.drain_timeout_s, client.drain())
        except (nats.errors.Error, TimeoutError, OSError) as exc:
            _log.warning("nats.drain_failed", reason=describe(exc))
        finally:
            # What is still buffered has nowhere to go when the server is gone, or hangs.
            with suppress(nats.errors.Error, TimeoutError, OSError):
                await _within(_CLOSE_TIMEOUT_S, client.close())

    async def wait_connected(self, timeout_s: float) -> None:
        """Return when there is a connection.

        Raises:
            MessageBusError: There was none in time.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await self._connected.wait()
        except TimeoutError as exc:
            raise MessageBusError(
                f"There is no connection to NATS at {', '.join(self._addresses())}.",
                operation="connect",
            ) from exc

    async def stream_for(self, subject: str) -> str:
        """Return the stream of a subject, created or reconciled the first time."""
        return await self.topology.stream_for(self.jetstream, subject)

    def on_reconnect(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call a function after each reconnect; the returned function ends that."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    async def _dial(self) -> None:
        client = Client()
        quicken(client)
        password = self._settings.password
        timeout_s = self._settings.connect_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                await client.connect(
                    servers=list(self._settings.servers),
                    name=self.service_name,
                    user=self._settings.user,
                    password=password.get_secret_value() if password else None,
                    connect_timeout=math.ceil(timeout_s),
                    drain_timeout=math.ceil(self._settings.drain_timeout_s),
                    max_reconnect_attempts=-1,
                    reconnect_time_wait=_RECONNECT_WAIT_S,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_reconnected,
                    closed_cb=self._on_closed,
                )
        except (nats.errors.Error, TimeoutError, OSError) as exc:
            reason = self._reason(self._last_error or exc)
            if client.options:  # Else it failed before it had anything to close.
                await client.close()
            raise self._unreachable(reason) from exc
        self._client, self._jetstream, self._last_error = client, None, None
        self._connected.set()

    def _reason(self, exc: Exception) -> str:
        reason = describe(exc)
        if isinstance(exc, ConnectionResetError) and self._settings.user is not None:
            # The server closes at once, and its last word may be lost with the connection.
            reason += " (so may a refused login look: Authorization Violation)"
        return reason

    def _unreachable(self, reason: str) -> MessageBusError:
        return MessageBusError(
            f"NATS at {', '.join(self._addresses())} did not accept a connection within "
            f"{self._settings.connect_timeout_s:g} s: {reason}. Start the server, or set "
            "nats.servers (environment: NATS_SERVERS; NATS_USER and NATS_PASSWORD for "
            "credentials).",
            operation="connect",
        )

    def _addresses(self) -> list[str]:
        return [redact_url(server) for server in self._settings.servers]

    async def _on_error(self, exc: Exception) -> None:
        repeated = self._last_error is not None and describe(self._last_error) == describe(exc)
        if isinstance(self._last_error, nats.errors.AuthorizationError) and self._client is None:
            return  # A refusal may reach us as a reset the next time: the reason stays the same.
        self._last_error = exc
        if self._client is not None and not repeated:
            _log.warning("nats.error", reason=describe(exc))

    async def _on_disconnected(self) -> None:
        self._connected.clear()
        if self._client is not None and not self._stopping:
            _log.warning("nats.disconnected", servers=self._addresses())

    async def _on_reconnected(self) -> None:
        self._announce()

    def _announce(self) -> None:
        self._last_error = None
        self._connected.set()
        _log.info("nats.reconnected", servers=self._addresses())
        for listener in tuple(self._listeners):
            listener()

    async def _on_closed(self) -> None:
        # The client gives up for good when a server refuses it, for instance after a changed
        # password; a service that lives on wants to be back when that is put right.
        if self._client is not None and not self._stopping:
            _log.error(
                "nats.closed", reason=describe(self._last_error or ConnectionError("closed"))
            )
            self._redialling = asyncio.create_task(self._redial(), name="glam-nats-redial")

    async def _redial(self) -> None:
        wait_s = float(_RECONNECT_WAIT_S)
        while True:
            try:
                await self._dial()
            except MessageBusError:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, _REDIAL_MAX_S)
            else:
                self._announce()
                return


async def _within(timeout_s: float, work: Coroutine[Any, Any, None]) -> None:
    """Await what may wait for several timeouts of its own, and no longer than this.

    Raises:
        TimeoutError: It took longer, and was ended.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=timeout_s)
        if not task.done():
            raise TimeoutError
        if task.cancelled():  # By the client: it cancels a future that its own close waits for.
            raise ConnectionError("The client gave up on its connection.")
        task.result()
    finally:
        await end(task)
