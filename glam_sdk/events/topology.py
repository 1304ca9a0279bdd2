"""State what a stream should look like, for whoever creates and reconciles it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from glam_sdk.events.subjects import get_stream_subjects, subject_matches


@dataclass(frozen=True, slots=True)
class StreamSpec:
    """Declare a stream of this service; the defaults are those every old stream has.

    Args:
        name: Upper-case name, such as ``ORDERS``.
        subjects: NATS patterns; ``cmd.<name>.>`` and ``evt.<name>.>`` by default.
        max_age: How long a message is kept.
        max_msgs_per_subject: How many messages of one subject are kept.
        duplicate_window: For how long a message id is remembered; at most ``max_age``.
        storage: Where the server keeps the stream. A server never changes it afterwards.
        retention: When a message is removed, besides the limits above.
        allow_rollup: Whether a message may replace all earlier ones of its subject.
        allow_schedules: Whether messages may be published with a delay (NATS 2.12). A server does
            not take it back afterwards.
        allow_batches: Whether many messages may be published under few acknowledgements (NATS
            2.14). A server older than that cannot hold such a stream.
        replicas: How many servers of a cluster keep it; left as it is where this is not said.
    """

    name: str
    subjects: tuple[str, ...] = ()
    max_age: timedelta = timedelta(days=7)
    max_msgs_per_subject: int = 100_000
    duplicate_window: timedelta = timedelta(seconds=60)
    storage: Literal["file", "memory"] = "file"
    retention: Literal["limits", "interest", "workqueue"] = "limits"
    allow_rollup: bool = True
    allow_schedules: bool = False
    allow_batches: bool = False
    replicas: int | None = None

    def __post_init__(self) -> None:
        """Fill in the default subjects and refuse what no server accepts."""
        default = get_stream_subjects(self.name)
        object.__setattr__(self, "subjects", tuple(self.subjects) or default)
        if self.max_age < timedelta(0) or self.duplicate_window < timedelta(0):
            raise ValueError(
                f"Stream {self.name}: max_age and duplicate_window cannot be negative."
            )
        if timedelta(0) < self.max_age < self.duplicate_window:
            raise ValueError(
                f"Stream {self.name}: duplicate_window ({self.duplicate_window}) must not be "
                f"longer than max_age ({self.max_age})."
            )

    def covers(self, subject: str) -> bool:
        """Tell whether a message of this subject is kept by the stream."""
        return any(subject_matches(pattern, subject) for pattern in self.subjects)


def default_stream(name: str) -> StreamSpec:
    """Return the stream of a domain that nobody declared: default subjects and limits."""
    return StreamSpec(name)


DEAD_LETTER_STREAM: Final = StreamSpec(
    "DEAD_LETTERS",
    subjects=("dlq.>",),
    max_age=timedelta(0),
    max_msgs_per_subject=-1,
    duplicate_window=timedelta(hours=1),
)
"""The stream of dead letters: kept until somebody replays or drops them.

The subject is ``dlq.<stream>.<durable>.<original subject>``.
"""
