"""Create a durable consumer, keep it as configured, and make it anew where it was.

A consumer that somebody deleted is made again from the ack floor last seen, by this process or by
one before it, so that what was handled long ago does not come again. A stream that was deleted has
other messages under the same numbers; its creation time tells. So has one that lost its last
messages; the time at which the message of the floor was stored tells.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from nats.js import api
from nats.js import errors as js_errors

from glam_sdk.errors import MessageBusError
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.delivery import ConsumerPolicy
from glam_sdk.messaging.errors import translated
from glam_sdk.messaging.positions import Position, Positions
from glam_sdk.telemetry.logs import get_logger

_LEAVE_TIMEOUT_S: Final = 1.0
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Backlog:
    """Tell how much of a stream a consumer has before it."""

    waiting: int
    """Messages not delivered so far."""
    unsettled: int
    """Messages delivered and neither acked nor ended, in all processes."""
    redelivered: int
    """Of those, messages delivered more than once."""
    oldest_age_s: float = 0.0
    """How long the oldest message has been in the stream that is not settled so far."""


class Binding:
    """Tie one durable consumer to its stream.

    Args:
        nats: Connection.
        durable: Name of the consumer.
        subjects: What it listens to, all in one stream.
        policy: Limits.
    """

    def __init__(
        self, nats: Nats, *, durable: str, subjects: Sequence[str], policy: ConsumerPolicy
    ) -> None:
        self._nats = nats
        self._durable = durable
        self._subjects = tuple(subjects)
        self._policy = policy
        self._positions = Positions(nats, durable, policy.bookkeeping_replicas)
        self._stream = ""
        self._created: datetime | None = None
        self._position = Position()
        self._is_timed = True

    async def bind(self) -> str:
        """Create the consumer, or bring it to our settings with its position kept.

        Returns:
            Name of the stream.

        Raises:
            MessageBusError: The server refused, or could not be asked.
        """
        stream = await self._nats.stream_for(self._subjects[0])
        js = self._nats.jetstream
        with translated("prepare consumer of", stream=stream):
            found = None
            try:
                found = await self._recognise(stream)
                info = await js.consumer_info(stream, self._durable)
            except js_errors.NotFoundError:
                await self._create(stream, found)
                return stream
            self._note(info)
            wanted = self._configured(info.config)
            if wanted != info.config:
                await js.add_consumer(stream, wanted)
                _log.info("consumer.updated", durable=self._durable, stream=stream)
        return stream

    async def look(self) -> Backlog:
        """Ask the server how far it has heard of us.

        Raises:
            MessageBusError: It could not be asked.
        """
        with translated("look at consumer of", stream=self._stream):
            info = await self._nats.jetstream.consumer_info(self._stream, self._durable)
            self._note(info)
            if not self._is_timed:
                floor = self._position.floor
                self._position = Position(floor, await self._stored_at(floor))
                self._is_timed = True
            waiting, unsettled = info.num_pending or 0, info.num_ack_pending or 0
            oldest = await self._oldest() if waiting or unsettled else None
        await self._positions.write(self._stream, self._created, self._position)
        return Backlog(
            waiting=waiting,
            unsettled=unsettled,
            redelivered=info.num_redelivered or 0,
            oldest_age_s=(datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0,
        )

    async def leave(self) -> None:
        """Keep the position once more, if the server answers at once."""
        if not self._stream or not self._nats.is_connected:
            return
        with suppress(MessageBusError, TimeoutError):
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await self.look()

    async def _oldest(self) -> datetime | None:
        """Return when the first message after the ack floor was stored."""
        after = self._position.floor + 1
        found = [
            await self._stored_at(after, subject=subject, next=True) for subject in self._subjects
        ]
        return min((moment for moment in found if moment is not None), default=None)

    async def _stored_at(self, sequence: int, **which: Any) -> datetime | None:
        """Return when a message was stored, or None where it is gone."""
        try:
            message = await self._nats.jetstream.get_msg(self._stream, seq=sequence, **which)
        except js_errors.NotFoundError:
            return None
        return message.time

    async def _recognise(self, stream: str) -> api.StreamInfo:
        found = await self._nats.jetstream.stream_info(stream)
        if (stream, found.created) != (self._stream, self._created):
            self._stream, self._created, self._position = stream, found.created, Position()
        return found

    def _note(self, info: api.ConsumerInfo) -> None:
        if info.ack_floor is not None and info.ack_floor.stream_seq != self._position.floor:
            self._position, self._is_timed = Position(info.ack_floor.stream_seq), False

    async def _create(self, stream: str, found: api.StreamInfo | None) -> None:
        base = await self._beginning(found) if found is not None else api.ConsumerConfig()
        try:
            await self._nats.jetstream.add_consumer(stream, self._configured(base))
        except js_errors.NotFoundError:
            # The stream is gone as well; the next try makes it again.
            self._nats.topology.forget(self._subjects[0])
            raise
        if base != api.ConsumerConfig():
            _log.warning("consumer.recreated", durable=self._durable, after=self._position.floor)

    async def _beginning(self, found: api.StreamInfo) -> api.ConsumerConfig:
        """Return where to begin: right behind what is known to be settled."""
        if found.config.retention == api.RetentionPolicy.WORK_QUEUE:
            # It has only what nobody has settled, and lets nobody begin elsewhere.
            return api.ConsumerConfig()
        kept = await self._positions.read(self._stream, self._created)
        self._position = max(self._position, kept, key=lambda position: position.floor)
        floor, stored_at = self._position
        # A server that lost its last messages, in a crash or to an old copy, gives their numbers
        # anew. What was settled is then what was stored no later than the message of the floor.
        last = found.state.last_seq
        if stored_at is not None and (
            floor > last or await self._stored_at(floor) not in (None, stored_at)
        ):
            return api.ConsumerConfig(
                deliver_policy=api.DeliverPolicy.BY_START_TIME,
                opt_start_time=stored_at + timedelta(microseconds=1),
            )
        floor = min(floor, last)
        if not floor:
            return api.ConsumerConfig()
        return api.ConsumerConfig(
            deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=floor + 1
        )

    def _configured(self, base: api.ConsumerConfig) -> api.ConsumerConfig:
        one = self._subjects[0] if len(self._subjects) == 1 else None
        return dataclasses.replace(
            base,
            name=self._durable,
            durable_name=self._durable,
            ack_policy=api.AckPolicy.EXPLICIT,
            ack_wait=self._policy.ack_wait.total_seconds(),
            max_ack_pending=self._policy.max_ack_pending,
            # We decide ourselves when to give up; the server would drop the message silently.
            max_deliver=-1,
            backoff=None,
            filter_subject=one,
            filter_subjects=None if one else sorted(self._subjects),
        )
