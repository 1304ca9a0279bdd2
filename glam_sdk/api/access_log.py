"""Write one line a request, and one for what fails after the answer was sent."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

from glam_sdk.api.exchange import Exchange
from glam_sdk.config import HttpSettings
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger


class AccessLog:
    """Decide whether a request gets its line, and at which level.

    Server errors are ``error`` with the traceback; refused requests and callers that left are
    ``warning``; the rest is ``info``. Only fast and successful requests can be switched off or
    sampled.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._log = get_logger("glam_sdk.access")

    def write(self, exchange: Exchange, shared: Mapping[str, Any]) -> None:
        """Log a finished exchange."""
        level = self._level(exchange, has_failed=conv.ERROR_TYPE in shared)
        if level is None:
            return
        fields = exchange.log_fields(shared)
        event = "websocket.closed" if exchange.is_websocket else "http.request"
        if level == "error":
            if isinstance(exchange.error, Exception):
                fields["exc_info"] = exchange.shown_error
            self._log.error(event, **fields)
        elif level == "warning":
            self._log.warning(event, **fields)
        else:
            self._log.info(event, **fields)

    def late_failure(self, exchange: Exchange, exc: Exception) -> None:
        """Log what failed after the response was complete, such as a background task."""
        fields = exchange.log_fields(exchange.outcome())
        self._log.error("http.background_failed", **fields, exc_info=exc)

    def _level(self, exchange: Exchange, *, has_failed: bool) -> str | None:
        if exchange.is_excluded and exchange.error is None:
            return None  # also a probe's 503, which would repeat itself every few seconds
        if has_failed:
            return "warning" if exchange.was_left else "error"
        if exchange.is_excluded:
            return None
        if exchange.status is not None and exchange.status >= 400:
            return "warning"
        settings = self._settings
        if settings.access_log == "on" or exchange.duration_s >= settings.slow_request_s:
            return "info"
        if settings.access_log == "sampled":
            # Not a secret: the choice only thins out lines.
            wanted = random.random() < settings.access_log_sample_ratio  # noqa: S311
            return "info" if wanted else None
        return None
