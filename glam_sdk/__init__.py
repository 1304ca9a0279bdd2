"""Give a Python service traces, logs, metrics and the runtime it is written on.

The door is lazy: importing ``glam_sdk`` imports no framework, and each name below imports what it
needs when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from glam_sdk._internal.lazy import lazy_exports
from glam_sdk._internal.version import __version__

if TYPE_CHECKING:
    from glam_sdk._internal.ids import uuid7
    from glam_sdk.config import Settings
    from glam_sdk.context import correlation_id, request_id, span_id, trace_id
    from glam_sdk.runtime.bootstrap import init, shutdown
    from glam_sdk.runtime.service import Service
    from glam_sdk.telemetry.logs import get_logger
    from glam_sdk.telemetry.spans import instrument, span

__all__ = [
    "Service",
    "Settings",
    "__version__",
    "correlation_id",
    "get_logger",
    "init",
    "instrument",
    "request_id",
    "shutdown",
    "span",
    "span_id",
    "trace_id",
    "uuid7",
]

__getattr__, _lazy_dir = lazy_exports(
    __name__,
    {
        "Service": "glam_sdk.runtime.service",
        "Settings": "glam_sdk.config",
        "correlation_id": "glam_sdk.context",
        "get_logger": "glam_sdk.telemetry.logs",
        "init": "glam_sdk.runtime.bootstrap",
        "instrument": "glam_sdk.telemetry.spans",
        "request_id": "glam_sdk.context",
        "shutdown": "glam_sdk.runtime.bootstrap",
        "span": "glam_sdk.telemetry.spans",
        "span_id": "glam_sdk.context",
        "trace_id": "glam_sdk.context",
        "uuid7": "glam_sdk._internal.ids",
    },
)


def __dir__() -> list[str]:
    return sorted([*globals(), *_lazy_dir()])
