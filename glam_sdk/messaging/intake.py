"""Take messages in: begin them, let them wait, or give them back.

Flow: between the pull and the pipeline.
"""

from __future__ import annotations

import asyncio
from typing import Final

from glam_sdk.messaging.crew import Crew
from glam_sdk.messaging.delivery import ConsumerPolicy
from glam_sdk.messaging.pace import Pace
from glam_sdk.messaging.pipeline import Pipeline
from glam_sdk.messaging.pull import JetStreamMessage
from glam_sdk.messaging.waiting_room import WaitingRoom

_LEAST_ROOM: Final = 100


class Intake:
    """Decide for one consumer what is handled when, and how much more it can use.

    Args:
        pipeline: What each message goes through.
        policy: Limits.
    """

    def __init__(self, pipeline: Pipeline, policy: ConsumerPolicy) -> None:
        self._pipeline = pipeline
        self._policy = policy
        self._crew = Crew(
            policy.concurrency,
            pipeline.begin,
            admit=self._admit,
            ended=self._ended,
            prepare=pipeline.prepare,
            slowed=pipeline.slowed,
        )
        size = max(_LEAST_ROOM, 2 * policy.concurrency)
        self._rooms: dict[Pace, WaitingRoom] = {
            pace: WaitingRoom(pace, size, self._release) for pace in pipeline.paces
        }
        self._slowed = pipeline.slowed
        self._is_open = False
        self._unwanted: list[JetStreamMessage] = []
        self._returning: set[asyncio.Task[None]] = set()
        self._waiter: asyncio.Future[None] | None = None

    @property
    def running(self) -> int:
        """How many messages are being handled."""
        return len(self._crew.running)

    @property
    def slowed(self) -> int:
        """How many handlers are slowed down because nearly every message fails."""
        return len(self._slowed)

    def held(self) -> list[JetStreamMessage]:
        """Return what the server has to know is still being worked on."""
        waiting = [message for room in self._rooms.values() for message in room.waiting]
        return [*self._crew.held, *waiting]

    def open(self) -> None:
        """Begin what comes from now on."""
        self._is_open = True

    def take(self, message: JetStreamMessage) -> None:
        """Take in one message."""
        crew = self._crew
        # As find does; of one delivered for the first time it would do no more.
        held = crew.running.get(message.key) if message.deliveries == 1 else crew.find(message)
        if held is not None:
            # It came again while its handler runs or is about to, as after a blocked event loop:
            # don't run it a second time.
            held.merge(message)
        elif self._is_open:
            crew.ready.append(message)
            if not crew.is_called:  # as for all but the first of those that come together
                crew.call()
        else:
            self._unwanted.append(message)

    async def wanted(self) -> int:
        """Return how many messages can be used, as soon as that is one or more."""
        while (count := self._usable()) < 1:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return count

    def close(self) -> None:
        """Begin nothing any more; what comes is only collected."""
        self._is_open = False
        self._unwanted += self._crew.take_back()
        for room in self._rooms.values():
            self._unwanted += room.clear()

    async def hand_back(self) -> None:
        """Give back what was collected; it costs those messages no attempt."""
        unwanted, self._unwanted = self._unwanted, []
        await asyncio.gather(
            *(self._pipeline.hand_back(message) for message in unwanted), *self._returning
        )

    async def stop(self) -> int:
        """Wait for what is being handled, within the deadline; return how many took too long."""
        late = await self._crew.stop(self._policy.stop_timeout.total_seconds())
        self._pipeline.close()
        return late

    def _usable(self) -> int:
        usable = min(self._policy.batch, self._crew.free)
        if self._rooms and self.slowed == len(self._rooms):
            return min([usable, *(room.room for room in self._rooms.values())])
        return usable

    def _admit(self, message: JetStreamMessage) -> bool:
        self._crew.is_pacing = True
        pace = self._pipeline.pace_of(message)
        if not pace.is_slowed or self._rooms[pace].admits(message):
            return True
        if not self._rooms[pace].take_in(message):
            # Others may be behind it whose handlers work.
            later = self._policy.pacing.longest_pause
            task = asyncio.create_task(self._pipeline.hand_back(message, later))
            self._returning.add(task)
            task.add_done_callback(self._returning.discard)
        self._wake()
        return False

    def _ended(self, message: JetStreamMessage) -> None:
        if self._crew.is_pacing:
            room = self._rooms.get(self._pipeline.pace_of(message))
            if room is not None:
                room.ended(message)
            self._crew.is_pacing = bool(self._slowed) or any(
                room.waiting for room in self._rooms.values()
            )
        if not self._crew.ready:  # Else there is enough to do; more is asked for at once then.
            self._wake()

    def _release(self, messages: list[JetStreamMessage]) -> None:
        self._crew.offer(*messages)
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
