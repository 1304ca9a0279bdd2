"""What is taken in is begun, or leaves as it came."""

from __future__ import annotations

import asyncio
import gc
import weakref
from datetime import timedelta

import pytest

from glam_sdk.events import Event, encode, envelope_of
from glam_sdk.messaging import ConsumerPolicy, HandlerSpec, Pacing
from glam_sdk.messaging.handlers import bind
from glam_sdk.messaging.intake import Intake
from glam_sdk.messaging.pipeline import Pipeline
from glam_sdk.messaging.surroundings import Surroundings
from glam_sdk.messaging.work import Work


class Placed(Event, subject="evt.orders.placed"):
    number: int


class Message:
    subject, stream, headers = Placed.event_subject, "ORDERS", {}
    repeats, deliveries = 0, 1

    def __init__(self, number):
        self.sequence, self.key = number, f"{number}.0"
        self.settled = []
        envelope = envelope_of(Placed(number=number), source_service="orders")
        self.body, self.stored_at = encode(envelope), envelope.timestamp

    async def ack(self):
        self.settled.append("ack")

    async def nak(self, delay=None):
        self.settled.append("nak")


@pytest.fixture
def intake_of():
    """Make an open intake of one handler."""

    def make(handler, **options):
        policy = ConsumerPolicy(**options)
        handlers = {Placed.event_subject: bind(HandlerSpec(Placed, "billing", handler))}
        surroundings = Surroundings(None, policy=policy)
        intake = Intake(
            Pipeline(durable="billing", handlers=handlers, surroundings=surroundings), policy
        )
        intake.open()
        return intake

    return make


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the loop is what is looked at
            await asyncio.sleep(0)


@pytest.mark.parametrize("is_broken", [False, True])
async def test_a_message_that_was_handed_back_is_gone(intake_of, is_broken):
    """The garbage collector is not needed for what was prepared and never begun."""
    gate = asyncio.Event()

    async def wait(event: Placed) -> None:
        await gate.wait()

    intake = intake_of(wait, concurrency=1)
    messages = [Message(1), Message(2)]
    if is_broken:
        messages[1].body = b"{"
    settled, gone = messages[1].settled, weakref.ref(messages[1])
    gc.disable()
    try:
        for message in messages:
            intake.take(message)
        await until(lambda: intake.running)  # then both have been prepared
        intake.close()
        await intake.hand_back()
        del message, messages[1]
        assert settled == ["nak"]
        assert gone() is None
    finally:
        gc.enable()
    gate.set()
    await intake.stop()


async def test_a_message_that_waits_for_its_handler_is_prepared_anew(intake_of):
    """What was made of it before it was refused is not kept."""

    async def fail(event: Placed) -> None:
        raise RuntimeError("no")

    intake = intake_of(fail, concurrency=100, stop_timeout=timedelta(0))
    messages = [Message(number) for number in range(100)]
    for message in messages:
        intake.take(message)
    await until(lambda: intake.slowed and not intake.running and not intake._crew.ready)
    waiting = intake.held()
    assert waiting
    assert not any(isinstance(keeper, Work) for keeper in gc.get_referrers(*waiting))
    intake.close()
    await intake.hand_back()
    await intake.stop()


async def test_who_waits_for_a_slowed_handler_is_handled_when_it_works_again(intake_of):
    """All at once, as soon as one went well."""

    async def fail_at_first(event: Placed) -> None:
        if event.number < 5:
            raise RuntimeError("no")

    pacing = Pacing(after=3, first_pause=timedelta(milliseconds=1))
    intake = intake_of(fail_at_first, concurrency=20, pacing=pacing)
    messages = [Message(number) for number in range(20)]
    for message in messages:
        intake.take(message)
    await until(lambda: all(message.settled for message in messages))
    assert [message.settled for message in messages] == [["nak"]] * 5 + [["ack"]] * 15
    assert not intake.slowed
    await intake.stop()


async def test_a_message_that_comes_again_before_its_turn_is_begun_once(intake_of):
    """What is held of it is settled by what the server knows now."""
    gate, begun = asyncio.Event(), []

    async def wait(event: Placed) -> None:
        begun.append(event.number)
        await gate.wait()

    class Merging(Message):
        def merge(self, copy):
            self.settled = copy.settled

    intake = intake_of(wait, concurrency=1)
    running, ready = Merging(1), Merging(2)
    for message in (running, ready):
        intake.take(message)
    await until(lambda: begun)
    again = [Merging(1), Merging(2)]
    for message in again:
        message.deliveries = 2
        intake.take(message)
    assert intake.held() == [running, ready]
    gate.set()
    await until(lambda: not intake.held())
    assert begun == [1, 2]
    assert [message.settled for message in again] == [["ack"], ["ack"]]
    await intake.stop()
