"""Publishing in batches of fast ingest to a real server, and what becomes of them when it dies."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest
from nats.js.api import DiscardPolicy

from glam_sdk.errors import MessageBusError
from glam_sdk.events import MESSAGE_ID_HEADER, Event, StreamSpec, decode, envelope_of
from glam_sdk.messaging import Publisher, StreamFullError, ensure_stream, inline
from glam_sdk.messaging.fast_ingest import _Batch
from glam_sdk.messaging.outgoing import Outgoing
from glam_sdk.testing.nats import NatsServer

FAST = StreamSpec("SHOP", allow_batches=True)


@pytest.fixture(params=[True, False], ids=["inline", "callback"])
def _both_ways(request, monkeypatch):
    """Answers are received both ways, as the version of the client decides elsewhere."""
    monkeypatch.setattr(inline, "IS_INLINE", request.param)


class Sold(Event, subject="evt.shop.sold"):
    number: int


async def stored(nats, stream="SHOP"):
    """Return the numbers a stream holds, in its order."""
    subscription = await nats.jetstream.subscribe(
        "", stream=stream, ordered_consumer=True, pending_msgs_limit=-1, pending_bytes_limit=-1
    )
    count = (await nats.jetstream.stream_info(stream)).state.messages
    numbers = [
        decode((await subscription.next_msg(5)).data).payload["number"] for _ in range(count)
    ]
    await subscription.unsubscribe()
    return numbers


def sales(count):
    return [envelope_of(Sold(number=number), source_service="shop") for number in range(count)]


@pytest.mark.usefixtures("_both_ways")
async def test_a_batch_is_stored_in_order_under_few_acknowledgements(nats):
    """A thousand events come back as a handful of answers, and the stream has them as given."""
    await ensure_stream(nats.jetstream, FAST)
    publisher = Publisher(nats, "shop")
    await publisher.publish_many(sales(1))
    answers = nats.client.stats["in_msgs"]
    events = sales(1000)
    await publisher.publish_many(events)
    assert nats.client.stats["in_msgs"] - answers < 20
    assert await stored(nats) == [0, *range(1000)]


@pytest.mark.usefixtures("_both_ways")
async def test_a_batch_published_again_is_stored_once(nats):
    """The message ids of a batch count as those of single messages do, whatever is mixed."""
    await ensure_stream(nats.jetstream, FAST)
    publisher, events = Publisher(nats, "shop"), sales(300)
    await publisher.publish(events[0])
    await publisher.publish_many(events[:200])
    await publisher.publish_many(events)
    await publisher.publish_many(events)
    assert await stored(nats) == list(range(300))


@pytest.mark.usefixtures("_both_ways")
async def test_a_stream_without_batches_is_sent_to_one_by_one(nats):
    """The first refusal is remembered, and nothing is lost by it."""
    await ensure_stream(nats.jetstream, StreamSpec("SHOP"))
    publisher = Publisher(nats, "shop")
    for round_number in (1, 2):
        sent = nats.client.stats["out_msgs"]
        await publisher.publish_many(sales(50))
        extra = nats.client.stats["out_msgs"] - sent - 50
        assert extra <= (5 if round_number == 1 else 0)
    assert await stored(nats) == [*range(50), *range(50)]


async def test_events_of_several_streams_each_reach_theirs(nats):
    """One call serves streams with and without batches."""

    class Paid(Event, subject="evt.bills.paid"):
        number: int

    await ensure_stream(nats.jetstream, FAST)
    paid = [envelope_of(Paid(number=number), source_service="shop") for number in range(40)]
    mixed = [event for pair in zip(sales(40), paid, strict=True) for event in pair]
    await Publisher(nats, "shop").publish_many(mixed)
    assert await stored(nats, "SHOP") == await stored(nats, "BILLS") == list(range(40))


@pytest.mark.usefixtures("_both_ways")
async def test_a_stream_that_fills_up_is_an_error_and_keeps_what_it_took(nats):
    """The error is that of a single publish; what came before the limit is stored."""
    await ensure_stream(nats.jetstream, FAST)
    found = (await nats.jetstream.stream_info("SHOP")).config
    await nats.jetstream.update_stream(found.evolve(max_msgs=30, discard=DiscardPolicy.NEW))
    with pytest.raises(StreamFullError):
        await Publisher(nats, "shop").publish_many(sales(100))
    assert await stored(nats) == list(range(30))


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("fault", ["kill", "delete"])
async def test_each_event_is_there_once_after_a_fault_within_the_batch(connect, until, fault):
    """Server killed or stream deleted mid-batch: the call goes on under the same ids."""
    with NatsServer() as server:
        # Without a stream that stays, the server removes the directory of all of them for a moment.
        nats = await connect(server, "shop", streams=(FAST, StreamSpec("STAYS")))
        publisher, events = Publisher(nats, "shop"), sales(6000)
        await publisher.publish(events[0])
        sent = nats.client.stats["out_msgs"]
        publishing = asyncio.create_task(
            publisher.publish_many(events, timeout=timedelta(seconds=30))
        )
        await until(lambda: nats.client.stats["out_msgs"] - sent > 1000)
        if fault == "kill":
            server.kill()
            server.start()
        else:
            await nats.jetstream.delete_stream("SHOP")
        await publishing
        counts = Counter(await stored(nats))
        await nats.stop()
    assert set(counts.values()) == {1}
    if fault == "kill":
        assert set(counts) == set(range(6000))
    else:
        assert 5999 in counts  # What was stored before went with the stream.


async def test_a_frozen_server_costs_a_publish_its_deadline_and_a_batch_some_time(connect, until):
    """Nothing is lost or doubled by what the server does with it after it thaws."""
    with NatsServer() as server:
        nats = await connect(server, "shop", streams=(FAST,))
        publisher, events = Publisher(nats, "shop"), sales(4000)
        await publisher.publish(events[0])
        sent = nats.client.stats["out_msgs"]
        publishing = asyncio.create_task(
            publisher.publish_many(events, timeout=timedelta(seconds=30))
        )
        await until(lambda: nats.client.stats["out_msgs"] - sent > 500)
        server.freeze()
        single = envelope_of(Sold(number=4000), source_service="shop")
        async with asyncio.timeout(2):
            with pytest.raises(MessageBusError, match="no answer in time"):
                await publisher.publish(single, timeout=timedelta(milliseconds=200))
        await asyncio.wait({publishing}, timeout=3.5)  # The batch gives up and sends one by one.
        server.thaw()
        await publishing
        await publisher.publish(single)
        counts = Counter(await stored(nats))
        await nats.stop()
    assert counts == dict.fromkeys(range(4001), 1)


async def test_after_a_failure_the_rest_of_its_lane_is_left_alone(nats):
    """Order comes first within a lane; the others are not held up, and size holds up nobody."""
    await ensure_stream(nats.jetstream, StreamSpec("SHOP"))
    found = (await nats.jetstream.stream_info("SHOP")).config
    await nats.jetstream.update_stream(
        found.evolve(
            max_msgs_per_subject=1,
            discard=DiscardPolicy.NEW,
            discard_new_per_subject=True,
            max_msg_size=1000,
        )
    )

    def message(name, lane, size=10):
        return Outgoing(f"evt.shop.{name}", b"x" * size, {MESSAGE_ID_HEADER: f"{name}{size}"}, lane)

    publisher = Publisher(nats, "shop")
    await publisher.publish_raw("evt.shop.full", b"", {})
    batch = [
        message("a", 1),
        message("full", 1),
        message("b", 1),
        message("c", 2, size=2000),
        message("d", 2),
        message("e", 3),
    ]
    report = await publisher.publish_batch(batch)
    assert sorted(report.acked) == [0, 4, 5]
    assert {place: type(error).__name__ for place, error in report.failed.items()} == {
        1: "StreamFullError",
        3: "MessageTooLargeError",
    }


@pytest.mark.parametrize(
    ("answer", "confirmed", "is_refused"),
    [
        (b'{"stream":"SHOP","seq":7}', 1, True),
        (b'{"error":{"code":400,"err_code":10205}}', 0, True),
        (b'{"type":"err","seq":1,"error":{}}', 0, False),
        (b'{"type":"gap","last_seq":1,"seq":3}', 0, False),
        (b"", 0, False),
    ],
    ids=["a server that knows no batches", "switched off", "refused", "gap", "no stream"],
)
def test_the_first_bad_answer_ends_a_batch(answer, confirmed, is_refused):
    """A server before 2.14 stores the first message as any other; later answers count no more."""
    batch = _Batch("b", 10)
    batch.take(answer)
    batch.take(b'{"type":"ack","seq":5,"msgs":10}')
    assert (batch.is_over, batch.confirmed, batch.is_refused) == (True, confirmed, is_refused)
