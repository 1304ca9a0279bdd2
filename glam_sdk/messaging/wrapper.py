"""Hold a connection with its publishers and subscribers: the old way to use messaging."""

from __future__ import annotations

from types import TracebackType
from typing import Self, TypeVar

from glam_sdk.config import NatsSettings, load_settings
from glam_sdk.errors import MessageBusError
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.domain_publisher import DomainEventPublisher
from glam_sdk.messaging.domain_subscriber import DomainEventSubscriber

P = TypeVar("P", bound=DomainEventPublisher)
S = TypeVar("S", bound=DomainEventSubscriber)


class JetStreamWrapper:
    """Connect to NATS and make publishers and subscribers on that connection.

    ::

        async with JetStreamWrapper("catalog-service") as js:
            await js.create_publisher(CatalogPublisher).publish_event("evt.catalog.opened", {})

    Args:
        service_name: Name of the service.
        settings: Servers and credentials; from files and environment (``NATS_SERVERS``,
            ``NATS_USER``, ``NATS_PASSWORD``) by default.
    """

    def __init__(self, service_name: str, settings: NatsSettings | None = None) -> None:
        self.service_name = service_name
        self._settings = settings
        self._nats: Nats | None = None
        self._publishers: dict[type[DomainEventPublisher], DomainEventPublisher] = {}
        self._subscribers: list[DomainEventSubscriber] = []

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection right now."""
        return self._nats is not None and self._nats.is_connected

    @property
    def nats(self) -> Nats:
        """The connection, for what this class does not offer.

        Raises:
            MessageBusError: It was not made yet.
        """
        if self._nats is None:
            raise MessageBusError(
                "NATS is not connected. Call connect() first.", operation="connect", retryable=False
            )
        return self._nats

    async def connect(self) -> None:
        """Connect; a lost connection is made again for ever."""
        if self._nats is None:
            settings = self._settings or load_settings(self.service_name).nats
            nats = Nats(settings, service_name=self.service_name)
            await nats.start()
            self._nats = nats

    def create_publisher(self, publisher_class: type[P]) -> P:
        """Return the publisher of a class; the same one each time."""
        if publisher_class not in self._publishers:
            self._publishers[publisher_class] = publisher_class(self.nats, self.service_name)
        return self.get_publisher(publisher_class)

    def get_publisher(self, publisher_class: type[P]) -> P:
        """Return the publisher that was created for a class.

        Raises:
            KeyError: None was.
        """
        found = self._publishers.get(publisher_class)
        if not isinstance(found, publisher_class):
            raise KeyError(f"{publisher_class.__name__} was not created on this connection.")
        return found

    def create_subscriber(self, subscriber_class: type[S]) -> S:
        """Return a new subscriber, which receives after :meth:`start_subscriber`."""
        return subscriber_class(self.nats, self.service_name)

    async def start_subscriber(self, subscriber: DomainEventSubscriber) -> None:
        """Let a subscriber receive until :meth:`close`."""
        await subscriber.start()
        self._subscribers.append(subscriber)

    async def close(self) -> None:
        """Stop the subscribers, then the connection."""
        subscribers, self._subscribers = self._subscribers, []
        for subscriber in subscribers:
            await subscriber.stop()
        nats, self._nats = self._nats, None
        self._publishers.clear()
        if nats is not None:
            await nats.stop()

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        await self.close()
