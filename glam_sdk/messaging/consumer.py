"""Run one durable consumer: bind to it, pull, start handlers, and keep trying."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import nats.errors

from glam_sdk._internal.afterwards import serving
from glam_sdk.errors import MessageBusError
from glam_sdk.messaging.binding import Binding
from glam_sdk.messaging.cancellation import end
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.delivery import ConsumerPolicy
from glam_sdk.messaging.intake import Intake
from glam_sdk.messaging.pipeline import Pipeline
from glam_sdk.messaging.pull import PullSource
from glam_sdk.telemetry.logs import get_logger

_FIRST_WAIT_S: Final = 0.1
_MAX_WAIT_S: Final = 10.0
_LEAVE_TIMEOUT_S: Final = 5.0
_log = get_logger(__name__)


class Consumer:
    """Keep one durable consumer working until it is stopped.

    A missing stream or consumer, a lost connection and a restarted server end the pull, not the
    consumer: it binds again with growing waits, and logs once when it stops and once when it goes
    on.

    Args:
        nats: Connection.
        durable: Name of the consumer.
        subjects: What it listens to, all in one stream.
        pipeline: What each message goes through.
        policy: Limits and waits.
    """

    def __init__(
        self,
        nats: Nats,
        *,
        durable: str,
        subjects: Sequence[str],
        pipeline: Pipeline,
        policy: ConsumerPolicy,
    ) -> None:
        self.durable = durable
        self.waiting_for: str | None = "not started"
        """Why nothing is pulled at the moment, or None while it is."""
        self._nats = nats
        self._binding = Binding(nats, durable=durable, subjects=subjects, policy=policy)
        self._subjects = tuple(subjects)
        self._pipeline = pipeline
        self._policy = policy
        self._intake = Intake(pipeline, policy)
        self._tasks: list[asyncio.Task[None]] = []
        self._leaving: asyncio.Task[None] | None = None
        self._wait_s = _FIRST_WAIT_S

    @property
    def slowed(self) -> int:
        """How many handlers are slowed down because nearly every message fails."""
        return self._intake.slowed

    def start(self) -> None:
        """Begin to pull."""
        self._intake = Intake(self._pipeline, self._policy)
        self._tasks = [
            asyncio.create_task(self._run(), name=f"glam-consumer-{self.durable}"),
            asyncio.create_task(self._keep_alive(), name=f"glam-heartbeat-{self.durable}"),
            asyncio.create_task(self._watch(), name=f"glam-backlog-{self.durable}"),
        ]

    async def stop(self) -> None:
        """Stop pulling, hand back what was not begun, wait for what was, within the deadline."""
        if not self._tasks:
            return
        pulling, beating, watching = self._tasks
        self._tasks = []
        await end(pulling)
        if self._leaving is not None:
            await asyncio.wait({self._leaving}, timeout=_LEAVE_TIMEOUT_S)
            await end(self._leaving)
        late = await self._intake.stop()
        if late:
            _log.warning("consumer.handlers_cancelled", durable=self.durable, count=late)
        await end(beating, watching)
        await self._binding.leave()
        self.waiting_for = "stopped"

    async def _run(self) -> None:
        with serving():
            while True:
                try:
                    await self._bind_and_pull()
                except MessageBusError as exc:
                    self._note_waiting(exc.message)
                except Exception as exc:  # noqa: BLE001 - one fault must not end the subscriber
                    self._note_waiting(f"{type(exc).__name__}: {exc}", exc)
                await asyncio.sleep(self._wait_s)
                self._wait_s = min(self._wait_s * 2, _MAX_WAIT_S)

    async def _bind_and_pull(self) -> None:
        await self._nats.wait_connected(_MAX_WAIT_S)
        stream = await self._binding.bind()
        source = PullSource(
            self._nats.client,
            stream=stream,
            durable=self.durable,
            idle_heartbeat=self._policy.idle_heartbeat,
            deliver=self._intake.take,
        )
        await source.open()
        forget = self._nats.on_reconnect(lambda: source.interrupt("the connection was renewed"))
        self._intake.open()
        try:
            while True:
                count = await self._intake.wanted()
                self._note_pulling()
                await source.request(count)
                self._wait_s = _FIRST_WAIT_S
        finally:
            forget()
            self._intake.close()
            # To stop, the pull is cancelled as often as it takes; that must not cut this short.
            self._leaving = asyncio.create_task(self._leave(source))
            await asyncio.shield(self._leaving)

    async def _leave(self, source: PullSource) -> None:
        await source.close()
        await self._intake.hand_back()

    async def _keep_alive(self) -> None:
        while True:
            await asyncio.sleep(self._policy.ack_wait.total_seconds() / 3)
            for message in self._intake.held():
                try:
                    await message.in_progress()
                except (nats.errors.Error, OSError):
                    break  # The connection is gone; the next round tries again.

    async def _watch(self) -> None:
        """Look now and then how much is waiting, and how far the server has heard of us."""
        while True:
            await asyncio.sleep(self._policy.idle_heartbeat.total_seconds())
            if self.waiting_for is not None:
                continue
            try:
                backlog = await self._binding.look()
            except MessageBusError:
                continue  # The pull notices what is wrong, and says it.
            self._pipeline.note_backlog(backlog, running=self._intake.running)

    def _note_pulling(self) -> None:
        if self.waiting_for is not None:
            self.waiting_for = None
            _log.info("consumer.pulling", durable=self.durable, subjects=list(self._subjects))

    def _note_waiting(self, reason: str, exc: Exception | None = None) -> None:
        if self.waiting_for is None or self.waiting_for == "not started" or exc is not None:
            _log.warning("consumer.waiting", durable=self.durable, reason=reason, exc_info=exc)
        self.waiting_for = reason
