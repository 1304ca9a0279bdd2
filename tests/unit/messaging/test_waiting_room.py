"""Messages of a slowed-down handler wait, and go one at a time, the fresh ones first."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

import pytest

from glam_sdk.messaging import Pacing
from glam_sdk.messaging.pace import Pace
from glam_sdk.messaging.waiting_room import WaitingRoom

LIMITS = Pacing(
    after=1, first_pause=timedelta(milliseconds=1), longest_pause=timedelta(milliseconds=2)
)


@dataclass(eq=False)
class Message:
    sequence: int
    deliveries: int = 1
    reply: str = "first"

    @property
    def key(self):
        return f"{self.sequence}.0"

    def merge(self, copy):
        self.reply = copy.reply


class Released(list):
    """Collect what is let go, and wait for it."""

    async def until(self, count):
        async with asyncio.timeout(30):
            while len(self) < count:  # noqa: ASYNC110 - the loop is what is looked at
                await asyncio.sleep(0)


@pytest.fixture
def pace():
    made = Pace(LIMITS, lambda _: None)
    made.failed()
    return made


@pytest.fixture
def released():
    return Released()


@pytest.fixture
def room(pace, released):
    made = WaitingRoom(pace, 3, released.extend)
    yield made
    made.clear()


async def test_one_is_tried_at_a_time_and_a_fresh_one_first(room, released):
    """The next goes when the one before is done; what has failed before is tried last."""
    old, fresh, newer = Message(1, deliveries=4), Message(2), Message(3)
    for message in (old, fresh, newer):
        assert room.take_in(message)
    assert not room.admits(fresh)
    await released.until(1)
    assert released == [fresh]
    assert room.admits(fresh)
    assert not room.admits(newer)
    room.ended(fresh)
    await released.until(2)
    room.ended(newer)
    await released.until(3)
    assert released == [fresh, newer, old]


async def test_all_are_let_go_when_it_works_again(room, pace, released):
    """In the order they came."""
    messages = [Message(number) for number in range(3)]
    for message in messages:
        room.take_in(message)
    await released.until(1)
    pace.succeeded()
    room.ended(messages[0])
    assert released == messages
    assert room.admits(Message(9))
    assert room.waiting == []


async def test_a_full_room_takes_nobody_in_but_those_inside_again(room):
    """A message that the server gives out again is settled by what it says now."""
    for number in range(3):
        assert room.take_in(Message(number, deliveries=2))
    assert room.room == 0
    assert not room.take_in(Message(3))
    assert room.take_in(Message(1, deliveries=3, reply="again"))
    assert {m.reply for m in room.waiting if m.sequence == 1} == {"again"}
    assert len(room.clear()) == 3
    assert room.room == 3


async def test_who_says_nothing_about_the_handler_does_not_hold_the_next(room, pace, released):
    """Such as a dead letter at once: the next is tried without the pause, which a failure costs."""
    for number in range(3):
        room.take_in(Message(number))
    await released.until(1)
    pace.pause = timedelta(hours=1)
    room.ended(released[0])
    await released.until(2)
    pace.failed()
    pace.pause = timedelta(hours=1)
    room.ended(released[1])
    for _ in range(5):
        await asyncio.sleep(0)
    assert len(released) == 2
    assert len(room.waiting) == 1
