"""Hold what the pipelines of one subscriber share."""

from __future__ import annotations

from dataclasses import dataclass, field

from glam_sdk.messaging.dead_letters import DeadLetterSink
from glam_sdk.messaging.delivery import ConsumerPolicy, HandlerScope, no_scope
from glam_sdk.messaging.solitude import Solitude
from glam_sdk.messaging.telemetry import MessagingTelemetry


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Hold what the pipelines of one subscriber share."""

    dead_letters: DeadLetterSink
    scope: HandlerScope = no_scope
    policy: ConsumerPolicy = field(default_factory=ConsumerPolicy)
    telemetry: MessagingTelemetry = field(default_factory=MessagingTelemetry)
    solitude: Solitude = field(default_factory=Solitude)
