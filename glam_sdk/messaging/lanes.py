"""Hold what belongs to one handler of one consumer, ready for each message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from glam_sdk.messaging.deadlines import Deadlines
from glam_sdk.messaging.handlers import BoundHandler, HandlerTable
from glam_sdk.messaging.pace import Pace
from glam_sdk.messaging.process_telemetry import ProcessTelemetry
from glam_sdk.messaging.retry import Backoff
from glam_sdk.messaging.surroundings import Surroundings
from glam_sdk.telemetry.logs import get_logger

_log = get_logger(__name__)


@dataclass(slots=True, eq=False)
class Lane:
    """Hold what the messages of one handler have in common."""

    handler: BoundHandler | None
    """None for subjects nobody handles, which a consumer's filter may let through."""
    observed: ProcessTelemetry
    backoff: Backoff
    deadlines: Deadlines
    pace: Pace


class Lanes:
    """Find the lane of a message.

    Args:
        durable: Name of the consumer.
        handlers: By subject or pattern.
        surroundings: Defaults of what a handler does not state, and telemetry.
    """

    def __init__(
        self, durable: str, handlers: Mapping[str, BoundHandler], surroundings: Surroundings
    ) -> None:
        self._durable = durable
        self._with = surroundings
        self.slowed: set[Pace] = set()
        """How fast those handlers may be called that are slowed down; the same set each time."""
        self._table = HandlerTable(handlers)
        self.declared = {subject: self._lane(handler) for subject, handler in handlers.items()}
        """The lanes of the subjects and patterns that have a handler."""
        self._unknown = self._lane(None)

    @property
    def paces(self) -> list[Pace]:
        """How fast each handler may be called."""
        return [lane.pace for lane in self.declared.values()]

    def get(self, subject: str) -> Lane:
        """Return the lane of a subject; subjects nobody handles share one."""
        found = self.declared.get(subject)
        if found is not None:
            return found
        handler = self._table.get(subject)
        return self._unknown if handler is None else self.declared[handler.spec.subject]

    def template(self, subject: str) -> str:
        """Return what stands for a subject in names and labels: its declaration."""
        return self._table.template(subject)

    def close(self) -> None:
        """Stop the timers of the handlers."""
        for lane in self.declared.values():
            lane.deadlines.close()

    def _lane(self, handler: BoundHandler | None) -> Lane:
        policy = self._with.policy
        template = self._table.template(handler.spec.subject if handler is not None else "")
        retry, timeout = policy.retry, policy.timeout
        if handler is not None:
            retry, timeout = handler.spec.retry or retry, handler.spec.timeout or timeout
        return Lane(
            handler,
            self._with.telemetry.processing_of(template, self._durable),
            retry,
            Deadlines(timeout),
            Pace(policy.pacing, lambda pace: self._note_pace(template, pace)),
        )

    def _note_pace(self, subject: str, pace: Pace) -> None:
        pause_s = pace.pause.total_seconds()
        (self.slowed.add if pace.is_slowed else self.slowed.discard)(pace)
        self._with.telemetry.paced(subject, self._durable, pause_s)
        if not pace.is_slowed:
            _log.info("handler.works_again", durable=self._durable, subject=subject)
        elif pace.pause == self._with.policy.pacing.first_pause:
            _log.warning(
                "handler.slowed_down",
                durable=self._durable,
                subject=subject,
                reason="nearly every message fails",
                pause_s=pause_s,
            )
