"""Receive events and call their handlers.

Flow: step 10, after the publisher, before the pipeline.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

import nats.errors

from glam_sdk.lifecycle import Check
from glam_sdk.messaging.attempts import SharedHistories
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.consumer import Consumer
from glam_sdk.messaging.dead_letters import DeadLetters
from glam_sdk.messaging.delivery import ConsumerPolicy, HandlerScope, HandlerSpec, no_scope
from glam_sdk.messaging.handlers import BoundHandler, bind, require_complete, spec_of
from glam_sdk.messaging.pipeline import Pipeline
from glam_sdk.messaging.publisher import Publisher
from glam_sdk.messaging.surroundings import Surroundings
from glam_sdk.messaging.telemetry import MessagingTelemetry

_FLUSH_TIMEOUT_S: Final = 2


class Subscriber:
    """Run the handlers of a service.

    Handlers of one stream under one durable name share a consumer. Each message is acked after its
    handler and scope ended without an exception, and otherwise delivered again or kept as a dead
    letter (see :class:`~glam_sdk.messaging.pipeline.Pipeline`).

    Args:
        nats: Connection; started before and stopped after the subscriber.
        handlers: Functions marked with :func:`~glam_sdk.messaging.handles`.
        service_name: Name of the service.
        scope: Opened around each handler call; see
            :data:`~glam_sdk.messaging.delivery.HandlerScope`.
        policy: Concurrency, waits and attempts of handlers that don't state their own.
        telemetry: The global providers' by default.

    Raises:
        TypeError: A function is not a handler, or its parameters cannot be filled.
        ValueError: Two handlers have the same subject and durable name, or handlers of one
            durable name differ in their concurrency.
    """

    def __init__(
        self,
        nats: Nats,
        handlers: Sequence[Callable[..., Awaitable[object]]],
        *,
        service_name: str,
        scope: HandlerScope = no_scope,
        policy: ConsumerPolicy | None = None,
        telemetry: MessagingTelemetry | None = None,
    ) -> None:
        self.service_name = service_name
        self._nats = nats
        telemetry = telemetry or MessagingTelemetry()
        self._with = Surroundings(
            dead_letters=DeadLetters(
                Publisher(nats, service_name, telemetry=telemetry), service_name
            ),
            scope=scope,
            policy=policy or ConsumerPolicy(),
            telemetry=telemetry,
        )
        groups = _grouped([spec_of(handler) for handler in handlers], nats)
        if scope is no_scope:
            require_complete(bound for group in groups.values() for bound in group.values())
        self._consumers = [self._consumer(durable, group) for (_, durable), group in groups.items()]

    @property
    def name(self) -> str:
        """Name of the component."""
        return "subscriber"

    async def start(self) -> None:
        """Begin to pull; streams and consumers that are not there yet are waited for."""
        for consumer in self._consumers:
            consumer.start()

    async def check(self) -> Check:
        """Look whether each consumer is being pulled from."""
        waiting = {c.durable: c.waiting_for for c in self._consumers if c.waiting_for is not None}
        if waiting:
            detail = "; ".join(f"{durable}: {reason}" for durable, reason in waiting.items())
            return Check(healthy=False, detail=detail)
        slowed = sum(consumer.slowed for consumer in self._consumers)
        detail = "pulling" if not slowed else f"{slowed} slowed down: nearly every message fails"
        return Check(
            healthy=True,
            detail=detail,
            data={"consumers": len(self._consumers), "slowed_handlers": slowed},
        )

    async def stop(self) -> None:
        """Stop pulling, wait for running handlers, and send their acknowledgements."""
        await asyncio.gather(*(consumer.stop() for consumer in self._consumers))
        if self._consumers and self._nats.is_connected:
            # An ack that does not arrive means one more delivery.
            with suppress(nats.errors.Error, TimeoutError, OSError):
                await self._nats.client.flush(_FLUSH_TIMEOUT_S)

    def _consumer(self, durable: str, group: dict[str, BoundHandler]) -> Consumer:
        pipeline = Pipeline(
            durable=durable,
            handlers=group,
            surroundings=self._with,
            histories=SharedHistories(self._nats, durable, self._with.policy.bookkeeping_replicas),
        )
        return Consumer(
            self._nats,
            durable=durable,
            subjects=tuple(group),
            pipeline=pipeline,
            policy=_policy_of(durable, group, self._with.policy),
        )


def _policy_of(
    durable: str, group: Mapping[str, BoundHandler], policy: ConsumerPolicy
) -> ConsumerPolicy:
    stated = {bound.spec.concurrency for bound in group.values()}
    if len(stated) > 1:
        raise ValueError(
            f"The handlers of durable {durable!r} share one consumer and differ in their "
            "concurrency. State the same for all, or give one another durable name."
        )
    concurrency = stated.pop()
    if concurrency is None:
        return policy
    return dataclasses.replace(
        policy,
        concurrency=concurrency,
        batch=max(policy.batch, concurrency),
        max_ack_pending=max(policy.max_ack_pending, 100 * concurrency),
    )


def _grouped(
    specs: Sequence[HandlerSpec], nats: Nats
) -> dict[tuple[str, str], dict[str, BoundHandler]]:
    groups: dict[tuple[str, str], dict[str, BoundHandler]] = {}
    for spec in specs:
        group = groups.setdefault((nats.topology.expected(spec.subject), spec.durable), {})
        if spec.subject in group:
            raise ValueError(
                f"Two handlers have durable {spec.durable!r} and subject {spec.subject}. "
                "Give one of them another durable name."
            )
        group[spec.subject] = bind(spec)
    return groups
