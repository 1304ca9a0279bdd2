"""Create a durable consumer, keep it as configured, and make it anew where it was.

A consumer that somebody deleted is made again from the ack floor last seen, so that what was
handled long ago does not come again. A stream that was deleted has other messages under the same
numbers; its creation time tells.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from nats.js import api
from nats.js import errors as js_errors

from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.delivery import ConsumerPolicy
from glam_sdk.messaging.errors import translated
from glam_sdk.telemetry.logs import get_logger

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
        self._stream = ""
        self._created: datetime | None = None
        self._floor = 0

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
            try:
                await self._recognise(stream)
                info = await js.consumer_info(stream, self._durable)
            except js_errors.NotFoundError:
                await self._create(stream)
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
            waiting, unsettled = info.num_pending or 0, info.num_ack_pending or 0
            oldest = await self._oldest() if waiting or unsettled else None
        return Backlog(
            waiting=waiting,
            unsettled=unsettled,
            redelivered=info.num_redelivered or 0,
            oldest_age_s=(datetime.now(UTC) - oldest).total_seconds() if oldest else 0.0,
        )

    async def _oldest(self) -> datetime | None:
        """Return when the first message after the ack floor was stored."""
        found = []
        for subject in self._subjects:
            try:
                message = await self._nats.jetstream.get_msg(
                    self._stream, seq=self._floor + 1, subject=subject, next=True
                )
            except js_errors.NotFoundError:
                continue
            if message.time is not None:
                found.append(message.time)
        return min(found, default=None)

    async def _recognise(self, stream: str) -> None:
        created = (await self._nats.jetstream.stream_info(stream)).created
        if (stream, created) != (self._stream, self._created):
            self._stream, self._created, self._floor = stream, created, 0

    def _note(self, info: api.ConsumerInfo) -> None:
        if info.ack_floor is not None:
            self._floor = info.ack_floor.stream_seq

    async def _create(self, stream: str) -> None:
        base = api.ConsumerConfig()
        if self._floor:
            base = api.ConsumerConfig(
                deliver_policy=api.DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=self._floor + 1
            )
        try:
            await self._nats.jetstream.add_consumer(stream, self._configured(base))
        except js_errors.NotFoundError:
            # The stream is gone as well; the next try makes it again.
            self._nats.topology.forget(self._subjects[0])
            raise
        if self._floor:
            _log.warning("consumer.recreated", durable=self._durable, after=self._floor)

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
