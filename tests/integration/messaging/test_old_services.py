"""Old services and the class-based faces, both ways, byte for byte, on a real server."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import replace

import pytest

from glam_sdk.config import NatsSettings
from glam_sdk.errors import MessageBusError
from glam_sdk.events import Event
from glam_sdk.messaging import (
    Backoff,
    DomainEventPublisher,
    DomainEventSubscriber,
    EventContextManager,
    JetStreamWrapper,
    Publisher,
)
from glam_sdk.messaging.domain_subscriber import OLD_POLICY

OLD_BODY = (
    b'{"event_id": "e-1", "subject": "evt.catalog.sync_started", "correlation_id": "corr_old", '
    b'"idempotency_key": "k-1", "timestamp": "2026-01-15T10:30:45.123456+00:00", '
    b'"metadata": {"source_service": "catalog-service", "version": "1.0.0"}, '
    b'"payload": {"sync_id": "s-1"}}'
)


class CatalogPublisher(DomainEventPublisher):
    domain_stream = "CATALOG"


@pytest.fixture
async def wrapper(server, nats):
    async with JetStreamWrapper("catalog-service", NatsSettings(servers=(server.url,))) as made:
        yield made


def old_consumer_accepts(body: bytes) -> bool:
    """Do what an old consumer does: drop what lacks a required key."""
    event = json.loads(body)
    return all(
        event.get(key) is not None for key in ("event_id", "subject", "timestamp", "payload")
    )


async def test_what_the_publisher_sends_is_the_contracts_bytes(wrapper, nats):
    """Key order, timestamp form, metadata and message id are what old consumers read."""
    event_id = await wrapper.create_publisher(CatalogPublisher).publish_event(
        "evt.catalog.sync_started", {"sync_id": "s-1"}, correlation_id="corr-1"
    )
    stored = await nats.jetstream.get_msg("CATALOG", 1)
    timestamp = json.loads(stored.data)["timestamp"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", timestamp)
    expected = (
        f'{{"event_id":"{event_id}","subject":"evt.catalog.sync_started",'
        f'"correlation_id":"corr-1","idempotency_key":"{event_id}","timestamp":"{timestamp}",'
        '"metadata":{"source_service":"catalog-service","version":"1.0.0"},'
        '"payload":{"sync_id":"s-1"}}'
    )
    assert stored.data == expected.encode()
    assert stored.headers["Nats-Msg-Id"] == event_id
    assert old_consumer_accepts(stored.data)


async def test_commands_and_answers_get_their_prefix(wrapper, nats):
    """An answer names the event it answers and keeps its correlation id."""
    publisher = wrapper.create_publisher(CatalogPublisher)
    await publisher.publish_command("catalog.sync_update", {})
    await publisher.publish_command("cmd.catalog.sync_update", {})
    await publisher.publish_event_response("catalog.sync_completed", {}, json.loads(OLD_BODY))
    stored = [await nats.jetstream.get_msg("CATALOG", seq) for seq in (1, 2, 3)]
    assert [message.subject for message in stored] == [
        "cmd.catalog.sync_update", "cmd.catalog.sync_update", "evt.catalog.sync_completed",
    ]  # fmt: skip
    answer = json.loads(stored[2].data)
    assert answer["correlation_id"] == "corr_old"
    assert answer["metadata"]["triggered_by"] == "e-1"
    assert answer["metadata"]["original_source"] == "catalog-service"


async def test_a_subject_of_another_stream_is_refused_before_sending(wrapper, nats):
    """Nothing is sent, and no stream is made."""
    with pytest.raises(MessageBusError, match="belongs to stream BILLING") as caught:
        await wrapper.create_publisher(CatalogPublisher).publish_event("evt.billing.paid", {})
    assert caught.value.retryable is False
    assert await nats.jetstream.streams_info() == []


async def test_a_duplicate_is_reported_and_no_error(wrapper, nats):
    """The stream keeps one message of an idempotency key."""
    publisher = wrapper.create_publisher(CatalogPublisher)
    for _ in range(2):
        await publisher.publish_event("evt.catalog.opened", {}, idempotency_key="k")
    assert (await nats.jetstream.stream_info("CATALOG")).state.messages == 1


async def test_the_subscriber_gets_an_old_producers_event_unchanged(wrapper, nats, until):
    """Every key arrives as it was sent, headers beside it, dependencies at hand."""
    seen = []

    class Analytics(DomainEventSubscriber):
        subject = "evt.catalog.>"
        durable_name = "analytics"

        async def on_event(self, event, headers):
            async with EventContextManager(event) as context:
                self.get_dependency(list).append((event, dict(headers), context.correlation_id))

    subscriber = wrapper.create_subscriber(Analytics)
    subscriber.register_dependency(list, seen)
    await wrapper.start_subscriber(subscriber)
    await nats.stream_for("evt.catalog.sync_started")
    headers = {"Nats-Msg-Id": "k-1"}
    await nats.jetstream.publish("evt.catalog.sync_started", OLD_BODY, headers=headers)
    await until(lambda: seen)
    ((event, got, correlation_id),) = seen
    assert json.dumps(event).encode() == OLD_BODY
    assert (got, correlation_id) == (headers, "corr_old")
    with pytest.raises(KeyError, match=r"dict.* is not registered"):
        subscriber.get_dependency(dict)


@pytest.mark.parametrize(("gives_up", "attempts"), [(True, 1), (False, 3)])
async def test_what_the_subscriber_gives_up_is_a_dead_letter(
    wrapper, nats, until, gives_up, attempts
):
    """on_error decides at once; otherwise three attempts; lost it is in neither case."""
    calls = []

    class Failing(DomainEventSubscriber):
        subject = "evt.catalog.sync_started"
        durable_name = "failing"

        async def on_event(self, event, headers):
            calls.append(event["event_id"])
            raise RuntimeError("no")

        async def on_error(self, error, event):
            return gives_up

    quick = replace(OLD_POLICY, retry=Backoff(0.01, attempts=OLD_POLICY.retry.attempts))
    subscriber = Failing(wrapper.nats, "analytics-service", policy=quick)
    await wrapper.start_subscriber(subscriber)
    await nats.stream_for("evt.catalog.sync_started")
    await nats.jetstream.publish("evt.catalog.sync_started", OLD_BODY)

    async def kept():
        streams = {s.config.name: s.state.messages for s in await nats.jetstream.streams_info()}
        return streams.get("DEAD_LETTERS") == 1

    await until(kept)
    letter = await nats.jetstream.get_msg("DEAD_LETTERS", 1)
    assert letter.data == OLD_BODY
    assert len(calls) == attempts


async def test_what_a_typed_service_sends_an_old_consumer_accepts(nats):
    """An old consumer is a bare pull consumer that reads the required keys."""

    class Opened(Event, subject="evt.catalog.opened"):
        shop: str

    old = await _old_consumer(nats, "evt.catalog.opened")
    await Publisher(nats, "catalog-service").publish(Opened(shop="ü"))
    (message,) = await old.fetch(1)
    assert old_consumer_accepts(message.data)
    assert json.loads(message.data)["payload"] == {"shop": "ü"}
    await message.ack()


async def _old_consumer(nats, subject):
    await nats.stream_for(subject)
    return await nats.jetstream.pull_subscribe(subject, durable="old")


async def test_the_wrapper_says_what_it_has(server):
    """Before connect and after close nothing is there; a publisher is made once."""
    wrapper = JetStreamWrapper("catalog-service", NatsSettings(servers=(server.url,)))
    assert not wrapper.is_connected
    with pytest.raises(MessageBusError, match=r"connect\(\)"):
        wrapper.create_publisher(CatalogPublisher)
    async with asyncio.timeout(10), wrapper:
        assert wrapper.is_connected
        made = wrapper.create_publisher(CatalogPublisher)
        assert wrapper.get_publisher(CatalogPublisher) is made
    assert not wrapper.is_connected
    with pytest.raises(KeyError, match="CatalogPublisher"):
        wrapper.get_publisher(CatalogPublisher)
