"""Share a chain that keeps its lines, for tests that need no running service."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace.export import SpanExportResult

from glam_sdk.telemetry.log_chain import LogPipeline


class Batches:
    """Be an exporter that keeps what it is given, encoded."""

    def __init__(self) -> None:
        self.spans: list[tuple[bytes, bytes]] = []

    def export(self, batch: Sequence[tuple[bytes, bytes]]) -> SpanExportResult:
        self.spans += batch
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        """Hold nothing."""


class Lines(list[bytes]):
    """Keep finished lines; ``decoded`` proves that each is one line of valid JSON."""

    @property
    def decoded(self) -> list[dict[str, Any]]:
        return [decode(line) for line in self]


def decode(line: bytes) -> dict[str, Any]:
    """Decode a finished line, strictly."""
    assert b"\n" not in line
    assert b"\r" not in line

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    decoded = json.loads(line.decode("utf-8", "strict"), parse_constant=refuse)
    assert isinstance(decoded, dict)
    return decoded


def wait_until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Poll until a condition holds, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.002)


@pytest.fixture
def lines() -> Lines:
    return Lines()


@pytest.fixture
def chain(lines: Lines) -> LogPipeline:
    """A chain of its own that writes JSON to ``lines``."""
    return LogPipeline(service="orders", environment="staging", write=lines.append)
