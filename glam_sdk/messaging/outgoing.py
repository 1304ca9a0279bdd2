"""Hold what is sent, and say what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Hold one message to send."""

    subject: str
    body: bytes
    headers: Mapping[str, str]
    lane: int = 0
    """Messages of one lane reach their stream in order, where they are sent in lanes."""


@dataclass(frozen=True, slots=True)
class BatchReport:
    """Say what became of messages sent together, by their place; others were not sent."""

    acked: list[int] = field(default_factory=list)
    failed: dict[int, Exception] = field(default_factory=dict)
