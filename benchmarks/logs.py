"""Measure what one JSON log line with trace ids costs, beside structlog and the standard library.

``python -m benchmarks.logs`` prints the table: CPU time of one thread, the best of many short
rounds in which the peers take turns, because a busy machine only ever adds. Each peer renders the
same five fields and the ids of the current span, and hands the line to an output that drops it.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, Final

import orjson
import structlog
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from glam_sdk.telemetry import logs

Call = Callable[[], object]
_FIELDS: Final[dict[str, Any]] = {
    "order_id": "0193a2",
    "total": 12.5,
    "items": 3,
    "customer": "c-9",
    "paid": True,
}
_CALLS: Final = 400
_ROUNDS: Final = 200


class _Dropped:
    """Be an output that costs nothing, for structlog and for a stream handler."""

    def write(self, _line: Any) -> None:
        return

    def flush(self) -> None:
        return

    def msg(self, _line: Any) -> None:
        return

    info = msg


def _add_ids(_: object, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    span = trace.get_current_span().get_span_context()
    event["trace_id"] = f"{span.trace_id:032x}"
    event["span_id"] = f"{span.span_id:016x}"
    return event


def _structlog() -> Call:
    logger = structlog.wrap_logger(
        _Dropped(),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            _add_ids,
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        context_class=dict,
    ).bind()
    return lambda: logger.info("order.placed", **_FIELDS)


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        span = trace.get_current_span().get_span_context()
        return json.dumps(
            {
                "timestamp": self.formatTime(record),
                "level": record.levelname,
                "message": record.getMessage(),
                "trace_id": f"{span.trace_id:032x}",
                "span_id": f"{span.span_id:016x}",
                **{key: getattr(record, key) for key in _FIELDS},
            }
        )


def _standard_library() -> Call:
    logger = logging.getLogger("benchmark.standard")
    handler = logging.StreamHandler(_Dropped())
    handler.setFormatter(_JsonFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return lambda: logger.info("order.placed", extra=_FIELDS)


def _ours() -> Call:
    logging.getLogger("benchmark.ours").setLevel(logging.INFO)
    logs.configure(
        service="bench", environment="prod", console=False, provider=None, write=lambda _: None
    )
    logger = logs.get_logger("benchmark.ours")
    return lambda: logger.info("order.placed", **_FIELDS)


def peers() -> dict[str, Call]:
    """Return everybody who logs."""
    return {
        "standard library, JSON formatter": _standard_library(),
        "structlog, five processors, orjson": _structlog(),
        "glam_sdk": _ours(),
        "orjson.dumps of the finished fields": lambda: orjson.dumps(_FIELDS),
    }


def microseconds(call: Call) -> float:
    """Return the CPU microseconds of one call."""
    started = time.thread_time_ns()
    for _ in range(_CALLS):
        call()
    return (time.thread_time_ns() - started) / _CALLS / 1000


def table() -> str:
    """Return the table, in Markdown."""
    found = peers()
    best = dict.fromkeys(found, float("inf"))
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("benchmark")
    with tracer.start_as_current_span("benchmark"):
        for _ in range(_ROUNDS):
            for name, call in found.items():
                best[name] = min(best[name], microseconds(call))
    lines = ["| one JSON line, five fields and trace ids | µs |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {best[name]:.1f} |" for name in found)])


if __name__ == "__main__":
    print(f"Python {sys.version.split()[0]}\n")
    print(table())
