"""Nothing is dropped: what cannot be handled is kept with its bytes and reason."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from nats.js.errors import NotFoundError

from glam_sdk.events import DEAD_LETTER_STREAM, Event
from glam_sdk.messaging import (
    Backoff,
    ConsumerPolicy,
    DeadLetterBox,
    Delivery,
    Permanent,
    Publisher,
    Retry,
    handles,
)
from tests.integration.messaging.conftest import unsettled


class OrderPlaced(Event, subject="evt.orders.placed"):
    number: int


async def letters(nats):
    """Return what the dead-letter stream holds, in order."""
    js = nats.jetstream
    try:
        last = (await js.stream_info(DEAD_LETTER_STREAM.name)).state.last_seq
    except NotFoundError:
        return []
    return [await js.get_msg(DEAD_LETTER_STREAM.name, seq) for seq in range(1, last + 1)]


POISON = {
    "json": b"{not json",
    "utf8": b'{"event_id": "\xff\xfe"}',
    "fields": b'{"event_id": "e-1", "payload": {}}',
    "schema": b'{"event_id": "e-1", "subject": "evt.orders.placed", '
    b'"timestamp": "2026-01-15T10:30:45+00:00", "payload": {"number": "many"}}',
}


async def test_poison_is_kept_with_bytes_headers_and_reason(nats, receiving, until, gone):
    """Every kind of unreadable message is a dead letter, and its neighbours are handled."""
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        seen.append(event.number)

    publisher = Publisher(nats, "orders")
    async with receiving(bill):
        for name, body in POISON.items():
            headers = {"Nats-Msg-Id": name, "x-tenant": "m1"}
            await publisher.publish_raw("evt.orders.placed", body, headers)
        await publisher.publish(OrderPlaced(number=5))
        await until(lambda: seen)
        await gone()
    kept = sorted(await letters(nats), key=lambda m: int(m.headers["x-dead-letter-sequence"]))
    assert [letter.data for letter in kept] == list(POISON.values())
    assert {letter.subject for letter in kept} == {"dlq.ORDERS.billing.evt.orders.placed"}
    headers = dict(kept[0].headers)
    assert "Nats-Msg-Id" in headers
    assert headers["x-original-Nats-Msg-Id"] == "json"
    assert headers["x-tenant"] == "m1"
    assert {key: headers[f"x-dead-letter-{key}"] for key in (
        "reason", "error-type", "stream", "consumer", "subject", "sequence", "attempts", "service"
    )} == {
        "reason": "malformed", "error-type": "MALFORMED_EVENT", "stream": "ORDERS",
        "consumer": "billing", "subject": "evt.orders.placed", "sequence": "1", "attempts": "1",
        "service": "billing",
    }  # fmt: skip
    assert "not JSON" in headers["x-dead-letter-error"]
    assert seen == [5]


async def test_a_message_that_leaves_no_room_for_the_reason_is_kept(nats, receiving, gone):
    """The error's text goes first, then all headers; where it came from is known all the same."""

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        raise Permanent("x" * 500)

    start = b'{"event_id": "e-1", "subject": "evt.orders.placed", "timestamp": '
    start += b'"2026-01-15T10:30:45+00:00", "payload": {"number": 1, "note": "'
    publisher, largest = Publisher(nats, "orders"), nats.client.max_payload
    bodies = [start.ljust(largest - room, b"?") + b'"}}' for room in (1500, 900, 400, 60)]
    async with receiving(bill):
        for number, body in enumerate(bodies):
            await publisher.publish_raw("evt.orders.placed", body, {"Nats-Msg-Id": f"{number}"})
        await gone()
    kept = [letter async for letter in DeadLetterBox(nats).letters()]
    kept.sort(key=lambda letter: len(letter.body))
    assert [letter.body for letter in kept] == bodies
    assert [bool(letter["x-dead-letter-error"]) for letter in kept] == [True, False, False, False]
    assert [letter["x-dead-letter-reason"] for letter in kept] == ["permanent"] * 2 + [""] * 2
    assert {letter["x-dead-letter-consumer"] for letter in kept} == {"billing"}
    assert {letter["x-dead-letter-subject"] for letter in kept} == {"evt.orders.placed"}


async def test_an_exhausted_message_is_a_dead_letter_once(nats, receiving, until, gone):
    """As many attempts as stated, then the reason of the last one is kept."""
    attempts = []

    @handles(OrderPlaced, durable="billing", retry=Backoff(0.01, attempts=3))
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise RuntimeError("card\ndeclined: ü")

    async with receiving(bill):
        await Publisher(nats, "orders").publish(OrderPlaced(number=1))
        await until(lambda: len(attempts) == 3)
        await gone()
    assert attempts == [1, 2, 3]
    (letter,) = await letters(nats)
    assert letter.headers["x-dead-letter-reason"] == "exhausted"
    assert letter.headers["x-dead-letter-attempts"] == "3"
    assert letter.headers["x-dead-letter-error"] == "card declined: \\xfc"


async def test_handlers_decide_between_later_and_never(nats, receiving, until, gone):
    """Retry brings the message again, Permanent ends it."""
    calls = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        calls.append(delivery.attempt)
        if delivery.attempt == 1:
            raise Retry(timedelta(milliseconds=10))
        raise Permanent("The account is closed.")

    async with receiving(bill):
        await Publisher(nats, "orders").publish(OrderPlaced(number=1))
        await until(lambda: len(calls) == 2)
        await gone()
    (letter,) = await letters(nats)
    assert letter.headers["x-dead-letter-reason"] == "permanent"
    assert calls == [1, 2]


async def test_a_message_is_kept_while_dead_letters_cannot_be_stored(nats, receiving, until, gone):
    """A full dead-letter stream delays; afterwards the letter is there, the handler ran once."""
    tiny = {"subjects": ["dlq.>"], "max_bytes": 10, "discard": "new"}
    await nats.jetstream.add_stream(name=DEAD_LETTER_STREAM.name, **tiny)
    calls = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        calls.append(delivery.sequence)
        if event.number == 1:
            raise Permanent("No.")

    publisher = Publisher(nats, "orders")
    async with receiving(bill):
        await publisher.publish(OrderPlaced(number=1))
        await until(lambda: calls)
        await publisher.publish(OrderPlaced(number=2))
        await until(lambda: 2 in calls)

        async def one_is_kept():
            return await unsettled(nats) == 1

        await until(one_is_kept)
        await nats.jetstream.delete_stream(DEAD_LETTER_STREAM.name)
        await gone()
    (letter,) = await letters(nats)
    assert letter.headers["x-dead-letter-reason"] == "permanent"
    assert letter.headers["x-dead-letter-error"] == "No."
    assert calls == [1, 2]


async def test_attempts_are_counted_across_restarts(nats, receiving, until, gone):
    """Each process goes on counting where the one before it stopped; handing back costs none."""
    attempts, entered = [], asyncio.Event()

    @handles(OrderPlaced, durable="billing", retry=Backoff(0.01, attempts=3))
    async def hang(event: OrderPlaced) -> None:
        entered.set()
        await asyncio.Event().wait()

    @handles(OrderPlaced, durable="billing", retry=Backoff(0.01, attempts=3))
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        attempts.append(delivery.attempt)
        raise RuntimeError("no")

    impatient = ConsumerPolicy(stop_timeout=timedelta(milliseconds=1))
    await Publisher(nats, "orders").publish(OrderPlaced(number=1))
    for _ in range(5):
        entered.clear()
        async with receiving(hang, policy=impatient):
            await entered.wait()
    for attempt in (1, 2):
        async with receiving(bill):
            await until(lambda attempt=attempt: attempt in attempts)
    async with receiving(bill):
        await gone()
    assert attempts == [1, 2, 3]
    assert len(await letters(nats)) == 1


async def test_a_backoff_outlives_worker_and_server(server, nats, receiving, until):
    """The wait is kept by the server, through a restart of either."""
    calls = []

    @handles(OrderPlaced, durable="billing", retry=Backoff(2))
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        calls.append((delivery.attempt, time.monotonic()))
        if delivery.attempt == 1:
            raise RuntimeError("no")

    async with receiving(bill):
        await Publisher(nats, "orders").publish(OrderPlaced(number=1))
        await until(lambda: calls)
    server.restart()
    await until(lambda: nats.is_connected)
    async with receiving(bill):
        await until(lambda: len(calls) == 2)
    (first, begun), (second, again) = calls
    assert (first, second) == (1, 2)
    assert again - begun > 1.5
