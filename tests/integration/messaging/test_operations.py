"""Looking after messages: dead letters are read, replayed and dropped; streams are planned."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from glam_sdk import cli
from glam_sdk.errors import MessageBusError, NotFoundError
from glam_sdk.events import Event, StreamSpec
from glam_sdk.messaging import (
    DeadLetterBox,
    Delivery,
    Permanent,
    Publisher,
    ensure_stream,
    handles,
    plan_stream,
)
from tests.integration.messaging.conftest import unsettled


class OrderPlaced(Event, subject="evt.orders.placed"):
    number: int


@pytest.fixture
def failed(nats, receiving, until):
    """Let events of these numbers become dead letters of the consumer billing."""

    async def fail(*numbers):
        @handles(OrderPlaced, durable="billing")
        async def bill(event: OrderPlaced) -> None:
            raise Permanent(f"No account {event.number}.")

        async def kept():
            return len([letter async for letter in DeadLetterBox(nats).letters()]) == len(numbers)

        await nats.stream_for("dlq.any")
        async with receiving(bill):
            for number in numbers:
                parent = f"00-{number:032x}-{number:016x}-01"
                headers = {"traceparent": parent, "x-customer": "Zoë"}  # not only ASCII
                await Publisher(nats, "orders").publish(OrderPlaced(number=number), headers=headers)
            await until(kept)

    return fail


@pytest.fixture
def glam(server, capsys):
    """Run a command against the server; return its exit code and its answer, without logs."""

    async def run(*arguments):
        code = await asyncio.to_thread(cli.main, [*arguments, "--server", server.url])
        printed = capsys.readouterr()
        lines = (printed.out or printed.err).splitlines(keepends=True)
        return code, "".join(line for line in lines if not line.startswith('{"timestamp"'))

    yield run
    # A command says nothing of the SDK's own work; it is the end of its process that ends that.
    logging.getLogger("glam_sdk.messaging").setLevel(logging.NOTSET)


async def test_a_replay_is_handled_by_the_one_that_gave_up(nats, receiving, until, failed):
    """Same bytes, event id and trace headers; who handled it before does not do so again."""
    await failed(1)
    box = DeadLetterBox(nats)
    kept = await box.get(1)
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced, delivery: Delivery) -> None:
        seen.append(("billing", delivery))

    @handles(OrderPlaced, durable="mail")
    async def mail(event: OrderPlaced, delivery: Delivery) -> None:
        seen.append(("mail", delivery))

    async with receiving(mail):
        await until(lambda: len(seen) == 1)
        await box.replay(1)
        async with receiving(bill):
            await until(lambda: len(seen) == 2)

            async def mail_is_done():
                return await unsettled(nats, durable="mail") == 0

            await until(mail_is_done)
    (_, first), (who, again) = seen
    assert who == "billing"
    assert again.event_id == first.event_id
    assert again.headers["traceparent"] == kept.headers["traceparent"]
    assert again.headers["x-customer"] == first.headers["x-customer"]
    assert kept.headers["x-customer"] == "Zoë"
    assert again.headers["x-replay-of"] == "1"
    assert (await nats.jetstream.get_msg("ORDERS", 2)).data == kept.body
    with pytest.raises(NotFoundError, match="no dead letter 1"):
        await box.get(1)


async def test_letters_are_listed_shown_replayed_and_dropped_by_command(nats, failed, glam):
    """Each command does one thing and says what it did."""
    await failed(1, 2, 3)
    code, out = await glam("dlq", "list", "--consumer", "billing")
    assert (code, len(out.splitlines())) == (0, 3)
    assert "permanent  billing  evt.orders.placed  1  No account" in out
    nothing = "There are no dead letters.\n"
    assert (await glam("dlq", "list", "--consumer", "other")) == (0, nothing)
    code, out = await glam("dlq", "show", "2")
    assert code == 0
    assert "x-dead-letter-reason: permanent" in out
    assert '"payload":{"number":' in out
    code, out = await glam("dlq", "replay", "1")
    assert (code, out.split()[:2]) == (0, ["replayed", "1"])
    assert (await nats.jetstream.stream_info("ORDERS")).state.messages == 4
    code, out = await glam("dlq", "drop", "--all")
    assert (code, len(out.splitlines())) == (0, 2)
    assert (await glam("dlq", "list")) == (0, nothing)
    code, out = await glam("dlq", "show", "2")
    assert (code, "NOT_FOUND" in out) == (1, True)
    assert (await glam("dlq", "drop"))[0] == 2


async def test_streams_are_planned_and_applied_by_command(nats, glam):
    """The plan changes nothing; after apply there is nothing left to do."""
    await ensure_stream(nats.jetstream, StreamSpec("MAIL"))
    specs = "tests.integration.messaging.worker:STREAMS"
    code, out = await glam("streams", "plan", specs)
    assert code == 0
    assert out.splitlines() == [
        "create  SHOP",
        "update  MAIL",
        "        max_msgs_per_subject: 100000 -> 5",
    ]
    assert (await plan_stream(nats.jetstream, StreamSpec("SHOP"))).action == "create"
    await glam("streams", "apply", specs)
    assert (await glam("streams", "plan", specs))[1] == "keep    SHOP\nkeep    MAIL\n"
    code, out = await glam("streams", "plan", "nowhere:SPECS")
    assert (code, "CONFIGURATION_ERROR" in out) == (1, True)


async def test_what_a_server_cannot_change_is_refused_with_the_difference(nats):
    """The error shows found and wanted, and what to do."""
    await ensure_stream(nats.jetstream, StreamSpec("SHOP"))
    with pytest.raises(MessageBusError, match="storage: file -> memory") as caught:
        await ensure_stream(nats.jetstream, StreamSpec("SHOP", storage="memory"))
    assert caught.value.retryable is False


async def test_a_consumer_is_paused_and_resumed_by_command(nats, receiving, until, glam):
    """Nothing is delivered meanwhile, and nothing is lost; the running subscriber goes on."""
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        seen.append(event.number)

    publisher = Publisher(nats, "orders")
    async with receiving(bill):
        await publisher.publish(OrderPlaced(number=1))
        await until(lambda: seen == [1])
        code, out = await glam("consumers", "pause", "ORDERS", "billing")
        assert (code, out.startswith("paused billing until")) == (0, True)
        await publisher.publish(OrderPlaced(number=2))

        async def held():
            info = await nats.jetstream.consumer_info("ORDERS", "billing")
            assert info.paused
            return info.num_pending == 1

        await until(held)
        assert seen == [1]
        assert (await glam("consumers", "resume", "ORDERS", "billing"))[0] == 0
        await until(lambda: seen == [1, 2])
    assert (await glam("consumers", "pause", "ORDERS", "nobody"))[0] == 1


def test_events_are_described_by_command(capsys):
    """AsyncAPI 3 with address, stream and schema of each event."""
    assert cli.main(["asyncapi", "glam_sdk.domains.credit.events", "--title", "Credit"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["asyncapi"] == "3.0.0"
    assert document["info"]["title"] == "Credit"
    assert document["channels"]["OrderUpdated"]["address"] == "evt.order.updated"
    assert document["channels"]["OrderUpdated"]["x-stream"] == "ORDER"
