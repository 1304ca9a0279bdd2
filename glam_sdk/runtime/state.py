"""Hold the one process-wide slot: the running service."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glam_sdk.runtime.service import Service
    from glam_sdk.telemetry.pipeline import Pipeline

lock = threading.RLock()
_current: Service | None = None
_prepared: Pipeline | None = None
_ended = False


def current() -> Service | None:
    """Return the service of this process, if ``init`` was called."""
    return _current


def set_current(service: Service | None) -> None:
    """Fill or empty the slot; hold ``lock`` while doing so."""
    global _current  # noqa: PLW0603 - this is the one slot
    _current = service


def prepared() -> Pipeline | None:
    """Return the telemetry that a launcher built before the service, if nobody took it yet."""
    return _prepared


def set_prepared(pipeline: Pipeline | None) -> None:
    """Leave a pipeline for ``init``, or take it away; hold ``lock`` while doing so."""
    global _prepared  # noqa: PLW0603 - the slot's first half: the service without its name
    _prepared = pipeline


def end() -> None:
    """Empty the slot for good: OpenTelemetry's providers cannot be set a second time."""
    global _current, _prepared, _ended  # noqa: PLW0603 - the same slot
    _ended = _ended or _current is not None or _prepared is not None
    _current = _prepared = None


def has_ended() -> bool:
    """Tell whether a service of this process was shut down."""
    return _ended


def forget() -> None:
    """Make the slot as new; for tests, which put the global providers back as well."""
    global _current, _prepared, _ended
    _current, _prepared, _ended = None, None, False
