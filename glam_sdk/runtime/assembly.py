"""Put database, messaging, outbox and inbox together from settings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from glam_sdk.config import Settings
from glam_sdk.lifecycle import Component

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from glam_sdk.database import Database
    from glam_sdk.events import Event, StreamSpec
    from glam_sdk.messaging import Publisher


@dataclass(frozen=True, slots=True)
class Messaging:
    """Hold the publisher and what has to start with it, in order."""

    publisher: Publisher
    components: tuple[Component, ...]


def build_database(settings: Settings, metadata: MetaData | None) -> Database:
    """Return the database of the settings."""
    from glam_sdk.database import Database

    return Database(settings.database, service_name=settings.service.name, metadata=metadata)


def build_messaging(
    settings: Settings,
    database: Database | None,
    handlers: Sequence[Callable[..., Any]],
    streams: Sequence[StreamSpec],
    publishes: Sequence[type[Event]] = (),
) -> Messaging:
    """Return publisher, relay and subscriber; outbox and inbox where there is a database."""
    from glam_sdk.messaging import ConsumerPolicy, Nats, Publisher, Subscriber
    from glam_sdk.messaging.handlers import spec_of

    name = settings.service.name
    subjects = [event.event_subject for event in publishes]
    subjects += [spec_of(handler).subject for handler in handlers]
    nats = Nats(settings.nats, service_name=name, streams=streams, subjects=subjects)
    publisher = Publisher(nats, name)
    components: list[Component] = [nats]
    policy = ConsumerPolicy.of(settings.nats)
    if database is None:
        if handlers:
            components.append(Subscriber(nats, handlers, service_name=name, policy=policy))
        return Messaging(publisher, tuple(components))
    from glam_sdk.outbox import OutboxWriter, Relay, inbox_scope, outbox_metadata

    database.add_metadata(outbox_metadata)
    database.event_writer = OutboxWriter(name)
    components.append(Relay(database, publisher))
    if handlers:
        scope = inbox_scope(database)
        components.append(Subscriber(nats, handlers, service_name=name, scope=scope, policy=policy))
    return Messaging(publisher, tuple(components))
