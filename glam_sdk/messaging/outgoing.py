"""Hold what is sent, and say what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Outgoing:
    """Hold one message to send; it is not changed.

    A frozen dataclass would take more to make than its subject, body and headers together.
    """

    subject: str
    body: bytes
    headers: Mapping[str, str]
    lane: int = 0
    """Messages of one lane reach their stream in order, where they are sent in lanes."""
    lines: bytes = field(default=b"", kw_only=True, repr=False, compare=False)
    """The headers as they are written, where that is known; else it is worked out."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """Say what became of messages sent together, by their place; others were not sent."""

    acked: list[int] = field(default_factory=list)
    failed: dict[int, Exception] = field(default_factory=dict)
