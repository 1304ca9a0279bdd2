"""Creating and reconciling streams and consumers on a real NATS server."""

from __future__ import annotations

from datetime import timedelta

import pytest
from nats.js.api import ConsumerConfig, StreamConfig

from glam_sdk.config import load_settings
from glam_sdk.errors import MessageBusError
from glam_sdk.events import Event, StreamSpec
from glam_sdk.messaging import (
    ConsumerPolicy,
    Publisher,
    ensure_stream,
    handles,
    plan_stream,
)
from glam_sdk.runtime.assembly import build_messaging


class MailSent(Event, subject="evt.notification.bulk_send.completed"):
    number: int


class OrderPlaced(Event, subject="evt.orders.placed"):
    number: int


async def config(nats, name):
    return (await nats.jetstream.stream_info(name)).config


async def test_a_missing_stream_is_created_as_declared(nats):
    """All declared settings arrive, and a second call changes nothing."""
    spec = StreamSpec("SHOP", max_age=timedelta(hours=1), max_msgs_per_subject=7)
    assert await ensure_stream(nats.jetstream, spec) is True
    assert await ensure_stream(nats.jetstream, spec) is False
    found = await config(nats, "SHOP")
    assert found.subjects == ["cmd.shop.>", "evt.shop.>"]
    assert (found.max_age, found.duplicate_window) == (3600, 60)
    assert (found.max_msgs_per_subject, found.allow_rollup_hdrs) == (7, True)
    assert (found.storage, found.retention) == ("file", "limits")


async def test_a_changed_declaration_reaches_an_existing_stream(nats):
    """Drift is repaired; messages, consumers and settings nobody declares stay."""
    await ensure_stream(nats.jetstream, StreamSpec("SHOP"))
    await nats.jetstream.update_stream(
        (await config(nats, "SHOP")).evolve(description="made by hand")
    )
    await nats.jetstream.publish("evt.shop.opened", b"1")
    await nats.jetstream.add_consumer("SHOP", ConsumerConfig(durable_name="c"))
    changed = StreamSpec("SHOP", max_age=timedelta(days=1), duplicate_window=timedelta(minutes=2))
    assert await ensure_stream(nats.jetstream, changed) is True
    info = await nats.jetstream.stream_info("SHOP")
    assert (info.config.max_age, info.config.duplicate_window) == (86400, 120)
    assert info.config.description == "made by hand"
    assert (info.state.messages, info.state.consumer_count) == (1, 1)


async def test_an_update_the_server_refuses_is_an_error(nats):
    """Storage cannot change; the stream is left as it was."""
    await ensure_stream(nats.jetstream, StreamSpec("SHOP"))
    with pytest.raises(MessageBusError, match="storage") as caught:
        await ensure_stream(nats.jetstream, StreamSpec("SHOP", storage="memory"))
    assert caught.value.retryable is False
    assert (await config(nats, "SHOP")).storage == "file"


async def test_only_not_found_counts_as_missing(nats):
    """A server that cannot answer is an error, not a reason to create a stream."""
    client = nats.client
    await nats.stop()
    with pytest.raises(MessageBusError, match="SHOP"):
        await ensure_stream(client.jetstream(), StreamSpec("SHOP"))


async def test_an_old_stream_learns_subjects_of_any_depth(server, nats, connect):
    """The owner replaces ``evt.x.*``, which misses subjects with more than three tokens."""
    old = StreamConfig(name="NOTIFICATION", subjects=["cmd.notification.*", "evt.notification.*"])
    await nats.jetstream.add_stream(old)
    owner = await connect(server, "notification-service")
    await Publisher(owner, "notification-service").publish(MailSent(number=1))
    found = await config(nats, "NOTIFICATION")
    assert found.subjects == ["cmd.notification.>", "evt.notification.>"]


async def test_the_stream_of_another_service_is_left_alone(server, nats):
    """Who only sends to a stream does not change its settings."""
    theirs = StreamSpec("NOTIFICATION", max_age=timedelta(hours=1))
    await ensure_stream(nats.jetstream, theirs)
    await Publisher(nats, "orders").publish(MailSent(number=1))
    assert (await config(nats, "NOTIFICATION")).max_age == 3600


async def test_a_stream_under_another_name_is_found(nats):
    """A subject kept by a stream of any name is published there; no second stream is made."""
    await ensure_stream(nats.jetstream, StreamSpec("MAIL", subjects=("evt.notification.>",)))
    await Publisher(nats, "orders").publish(MailSent(number=1))
    assert [s.config.name for s in await nats.jetstream.streams_info()] == ["MAIL"]


async def test_declared_streams_are_there_after_start(server, nats, connect):
    """A service's declarations are applied at start, before anything is sent."""
    spec = StreamSpec("SHOP", subjects=("evt.orders.>",))
    service = await connect(server, streams=[spec])
    assert (await config(nats, "SHOP")).subjects == ["evt.orders.>"]
    await Publisher(service, "orders").publish(OrderPlaced(number=1))
    assert (await nats.jetstream.stream_info("SHOP")).state.messages == 1


async def test_changed_settings_reach_a_consumer_with_its_position_kept(
    nats, receiving, until, pulling
):
    """An old consumer's limits are replaced, and what it acked does not come again."""
    seen = []

    @handles(OrderPlaced, durable="billing")
    async def bill(event: OrderPlaced) -> None:
        seen.append(event.number)

    publisher = Publisher(nats, "orders")
    await publisher.publish(OrderPlaced(number=1))
    old = ConsumerConfig(durable_name="billing", filter_subject="evt.orders.placed", max_deliver=3)
    await nats.jetstream.add_consumer("ORDERS", old)
    subscription = await nats.jetstream.pull_subscribe_bind("billing", "ORDERS")
    (message,) = await subscription.fetch(1)
    await message.ack_sync()
    async with receiving(bill, policy=ConsumerPolicy(ack_wait=timedelta(seconds=9))) as subscriber:
        await until(pulling(subscriber))
        await publisher.publish(OrderPlaced(number=2))
        await until(lambda: seen)
        found = (await nats.jetstream.consumer_info("ORDERS", "billing")).config
    assert (found.max_deliver, found.ack_wait) == (-1, 9)
    assert seen == [2]


def declaring(server, *, streams=(), publishes=(), check_streams=True):
    """Return the connection of a service that publishes mail, handles orders and declares."""

    @handles(OrderPlaced, durable="mail")
    async def mail(event: OrderPlaced) -> None: ...

    settings = load_settings(
        "mailer",
        overrides={"nats": {"servers": (server.url,), "check_streams": check_streams}},
        environ={},
    )
    return build_messaging(settings, None, [mail], streams, publishes).components[0]


async def test_a_declared_subject_without_a_stream_stops_the_start(server, nats):
    """The error names the subjects, the declaration that is missing and the way round."""
    service = declaring(server, publishes=[MailSent])
    with pytest.raises(MessageBusError) as caught:
        await service.start()
    text = str(caught.value)
    assert "evt.notification.bulk_send.completed, evt.orders.placed" in text
    assert 'streams=[StreamSpec("NOTIFICATION"), StreamSpec("ORDERS")]' in text
    assert "GLAM_NATS__CHECK_STREAMS" in text
    assert not service.is_connected
    assert await nats.jetstream.streams_info() == []


async def test_a_subject_whose_stream_is_there_or_declared_is_no_problem(server, nats):
    """An old service's stream has any name; one's own is made by its first message."""

    class Ours(Event, subject="evt.mailer.woke"):
        number: int

    await nats.jetstream.add_stream(StreamConfig(name="OLD", subjects=["evt.orders.*"]))
    service = declaring(server, streams=[StreamSpec("NOTIFICATION")], publishes=[MailSent, Ours])
    await service.start()
    await service.stop()


async def test_the_check_can_be_switched_off(server, nats):
    """Then a missing stream is made with default settings when it is first needed."""
    service = declaring(server, publishes=[MailSent], check_streams=False)
    await service.start()
    assert await service.stream_for("evt.orders.placed") == "ORDERS"
    await service.stop()


async def test_batches_can_be_allowed_on_a_stream_that_is_there(nats):
    """The plan says so, and a declaration that says nothing leaves them allowed."""
    await ensure_stream(nats.jetstream, StreamSpec("SHOP"))
    plan = await plan_stream(nats.jetstream, StreamSpec("SHOP", allow_batches=True))
    assert plan.changes == {"allow_batched": "None -> True"}
    assert await ensure_stream(nats.jetstream, StreamSpec("SHOP", allow_batches=True))
    assert not await ensure_stream(nats.jetstream, StreamSpec("SHOP"))
    assert (await config(nats, "SHOP")).allow_batched is True


async def test_a_plan_says_what_no_server_will_change(nats):
    """Storage, and retention to or from a work queue, are for a stream's whole life."""
    await ensure_stream(nats.jetstream, StreamSpec("SHOP"))
    spec = StreamSpec("SHOP", storage="memory", max_age=timedelta(days=1))
    plan = await plan_stream(nats.jetstream, spec)
    assert plan.action == "refuse"
    assert plan.changes == {
        "storage": "file -> memory (no server changes that)",
        "max_age": "7 days, 0:00:00 -> 1 day, 0:00:00",
    }
    with pytest.raises(MessageBusError, match="storage: file -> memory"):
        await ensure_stream(nats.jetstream, spec)
    spec = StreamSpec("SHOP", retention="workqueue")
    assert (await plan_stream(nats.jetstream, spec)).action == "refuse"
    with pytest.raises(MessageBusError, match="retention: limits -> workqueue"):
        await ensure_stream(nats.jetstream, spec)
    spec = StreamSpec("SHOP", retention="interest")
    assert (await plan_stream(nats.jetstream, spec)).action == "update"
    assert await ensure_stream(nats.jetstream, spec)
