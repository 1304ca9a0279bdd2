"""A message is handled at once as far as that goes; only what waits is awaited."""

from __future__ import annotations

import asyncio
import gc
import weakref
from contextlib import asynccontextmanager
from datetime import timedelta
from types import SimpleNamespace, coroutine

import pytest

from glam_sdk.events import Event, encode, envelope_of
from glam_sdk.messaging import (
    AlreadyHandled,
    ConsumerPolicy,
    Delivery,
    HandlerSpec,
    Pacing,
    Retry,
)
from glam_sdk.messaging.delivery import no_scope
from glam_sdk.messaging.handlers import bind
from glam_sdk.messaging.header_lines import HeaderBlock
from glam_sdk.messaging.pipeline import Pipeline
from glam_sdk.messaging.stepping import DONE
from glam_sdk.messaging.surroundings import Surroundings


class Placed(Event, subject="evt.orders.placed"):
    number: int


class Message:
    subject, stream, headers = Placed.event_subject, "ORDERS", {}
    repeats = 0

    def __init__(self, deliveries=1, ack=None, number=1):
        self.sequence = id(self)
        self.key = f"{self.sequence}.0"
        self.deliveries = deliveries
        self.settled = []
        envelope = envelope_of(Placed(number=number), source_service="orders")
        self.body, self.stored_at = encode(envelope), envelope.timestamp
        self._ack = ack

    async def ack(self):
        if self._ack is not None:
            await self._ack()
        self.settled.append("ack")

    async def nak(self, delay=None):
        self.settled.append("nak")

    async def term(self, reason):
        self.settled.append("term")


@pytest.fixture
def pipeline_of():
    """Make a pipeline of one handler."""

    def make(handler, scope=no_scope, **options):
        surroundings = Surroundings(None, scope, ConsumerPolicy(**options))
        bound = bind(HandlerSpec(Placed, "billing", handler))
        handlers = {Placed.event_subject: bound}
        return Pipeline(durable="billing", handlers=handlers, surroundings=surroundings)

    return make


async def succeed(event: Placed) -> None: ...


async def wait(event: Placed) -> None:
    await asyncio.sleep(0)


async def fail(event: Placed) -> None:
    raise RuntimeError("no")


async def ask(event: Placed) -> object:
    return Retry(timedelta(seconds=1))


async def answer(event: Placed) -> object:
    return "nobody asked"


async def test_nothing_is_left_of_what_does_not_wait(pipeline_of):
    """Not even a coroutine, which is most of what a message costs."""
    message = Message()
    assert pipeline_of(succeed).begin(message) is None
    assert message.settled == ["ack"]


async def test_what_was_prepared_for_another_message_is_not_handled(pipeline_of):
    """Whatever mixed them up, a message is acked for its own event alone."""
    seen = []

    async def see(event: Placed) -> None:
        seen.append(event.number)

    pipeline, one, two = pipeline_of(see), Message(number=1), Message(number=2)
    assert pipeline.begin(two, pipeline.prepare(one)) is None
    assert pipeline.begin(one, pipeline.prepare(one)) is None
    assert seen == [2, 1]


@pytest.mark.parametrize(
    ("handler", "settled"), [(wait, "ack"), (fail, "nak"), (ask, "nak"), (answer, "ack")]
)
async def test_the_rest_settles_the_message(pipeline_of, handler, settled):
    """Where a handler waits, fails, or returns anything."""
    message = Message()
    await pipeline_of(handler).begin(message)
    assert message.settled == [settled]


async def test_an_acknowledgement_that_waits_is_awaited(pipeline_of):
    """Such as one that finds the client's buffer full."""
    gate = asyncio.Event()
    message = Message(ack=gate.wait)
    left = pipeline_of(succeed).begin(message)
    gate.set()
    await left
    assert message.settled == ["ack"]


async def test_what_goes_well_at_once_makes_up_for_failures(pipeline_of):
    """So that a handler which fails now and then is not slowed down."""
    failing = [True, True, False, True, True]

    async def now_and_then(event: Placed) -> None:
        if failing.pop(0):
            raise RuntimeError("no")

    pipeline = pipeline_of(now_and_then, pacing=Pacing(after=3))
    for message in [Message() for _ in failing]:
        await pipeline.process(message)
    assert not failing
    assert not pipeline.slowed


async def test_a_failure_is_remembered_where_the_server_forgot_it(pipeline_of):
    """A server that was killed counts deliveries anew."""
    attempts = []

    async def note(event: Placed, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise RuntimeError("no")

    pipeline, message = pipeline_of(note), Message(deliveries=1)
    await pipeline.process(message)
    await pipeline.process(message)
    assert attempts == [1, 2]


async def test_what_was_settled_long_ago_is_known_again(pipeline_of):
    """Also when 25 000 others have been since."""
    pipeline, message = pipeline_of(succeed), Message()
    pipeline.begin(message)
    message.settled.clear()
    for number in range(25_000):
        other = SimpleNamespace(key=number, deliveries=1, ack=lambda: DONE)
        pipeline._settlement.finish(other)
    message.body = b"not read again"
    await pipeline.begin(message)
    assert message.settled == ["ack"]


@pytest.mark.parametrize("waits", [True, False])
async def test_an_acknowledgement_that_is_lost_ends_nothing(pipeline_of, waits):
    """The server delivers the message again, and it is known then."""

    async def break_off():
        if waits:
            await asyncio.sleep(0)
        raise OSError("gone")

    pipeline, message = pipeline_of(succeed), Message(ack=break_off)
    await pipeline.process(message)
    assert message.settled == []
    message._ack = None
    await pipeline.process(message)
    assert message.settled == ["ack"]


async def test_the_limit_counts_from_the_beginning(pipeline_of):
    """A handler that was late before it waited for the first time is ended as soon as it does."""
    spent = asyncio.Event()

    async def dawdle(event: Placed) -> None:
        while asyncio.get_running_loop().time() < started + 0.02:
            pass
        await spent.wait()

    started = asyncio.get_running_loop().time()
    message = Message()
    await pipeline_of(dawdle, timeout=timedelta(milliseconds=20)).process(message)
    assert message.settled == ["nak"]


async def test_a_duplicate_that_the_scope_knows_at_once_is_acked(pipeline_of):
    """Its handler is not called."""

    @asynccontextmanager
    async def knows(spec, delivery):
        raise AlreadyHandled
        yield {}

    message = Message()
    await pipeline_of(fail, knows).process(message)
    assert message.settled == ["ack"]


async def test_a_marked_function_may_return_anything_to_be_awaited(pipeline_of):
    """A decorator of somebody's need not be an async function itself."""

    class Later:
        def __await__(self):
            return asyncio.sleep(0).__await__()

    @coroutine
    def handler(event: Placed):
        return (yield from asyncio.sleep(0).__await__())

    message = Message()
    await pipeline_of(handler).process(message)
    assert message.settled == ["ack"]

    def plain(event: Placed):
        return Later()

    message = Message()
    await pipeline_of(plain).process(message)
    assert message.settled == ["ack"]


@pytest.mark.parametrize("handler", [succeed, wait, fail, ask])
async def test_a_message_is_gone_when_it_is_settled(pipeline_of, handler):
    """The garbage collector is not needed for it, whatever its handler did."""
    pipeline, message = pipeline_of(handler), Message()
    gone = weakref.ref(message)
    gc.disable()
    try:
        await pipeline.process(message)
        del message
        assert gone() is None
    finally:
        gc.enable()


class NoLetters:
    async def keep(self, message, letter): ...


@pytest.mark.parametrize("broken", [b"{", b"[]", b"{}", b'{"payload": {"number": "x"}}'])
@pytest.mark.parametrize("deliveries", [1, 2])
async def test_a_message_that_cannot_be_read_is_gone_when_it_is_settled(broken, deliveries):
    """Neither it nor the error is kept alive by the other."""
    handlers = {Placed.event_subject: bind(HandlerSpec(Placed, "billing", succeed))}
    surroundings = Surroundings(NoLetters())
    pipeline = Pipeline(durable="billing", handlers=handlers, surroundings=surroundings)
    message = Message(deliveries)
    message.body = broken
    settled, gone = message.settled, weakref.ref(message)
    gc.disable()
    try:
        await pipeline.process(message)
        del message
        assert settled == ["term"]
        assert gone() is None
    finally:
        gc.enable()


def test_a_handler_that_asks_for_headers_gets_a_dict(pipeline_of):
    """They may have come as a block that nobody had read."""
    got = []

    async def look(event: Placed, delivery: Delivery) -> None:
        got.append(delivery.headers)

    message = Message()
    message.headers = HeaderBlock()
    message.headers.raw = b"x-tenant: a\r\n\r\n"
    assert pipeline_of(look).begin(message) is None
    assert got == [{"x-tenant": "a"}]
    assert type(got[0]) is dict
