"""Write one line a request, and one for what fails after the answer was sent."""

from __future__ import annotations

import random
from functools import lru_cache
from typing import Any, Final

from opentelemetry.context import attach, detach

from glam_sdk.api.attributes import Outcome
from glam_sdk.api.exchange import Exchange
from glam_sdk.config import HttpSettings
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.log_template import LineTemplate, is_plain
from glam_sdk.telemetry.log_usual import Usual, kinds, learn_kind
from glam_sdk.telemetry.logs import LogPipeline, get_logger

_LOGGER: Final = "glam_sdk.access"
_EVENT: Final = "http.request"
_VARYING: Final = (conv.URL_PATH, "duration_ms", conv.CLIENT_ADDRESS)
_MAX_TEMPLATES: Final = 1024
_MAX_ADDRESS: Final = 64  # characters: behind a proxy it may be any text, and it is remembered
_is_plain_address: Final = lru_cache(maxsize=1024)(is_plain)


class AccessLog:
    """Decide whether a request gets its line, and at which level.

    Server errors are ``error`` with the traceback; refused requests and callers that left are
    ``warning``; the rest is ``info``. Only fast and successful requests can be switched off or
    sampled.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._log = get_logger(_LOGGER)
        self._templates: dict[tuple[object, ...], LineTemplate] = {}

    def write(self, exchange: Exchange, outcome: Outcome) -> None:
        """Log a finished exchange."""
        level = self._level(exchange, has_failed=outcome.has_failed)
        if level is None or (level == "info" and self._from_template(exchange, outcome)):
            return
        fields = exchange.log_fields(outcome)
        event = "websocket.closed" if exchange.is_websocket else _EVENT
        exc = exchange.shown_error if level == "error" else None
        exc = exc if isinstance(exc, Exception) else None
        token = attach(exchange.line_context())
        try:
            self._log.log_at(exchange.ended_s, level, event, fields, exc)
        finally:
            detach(token)

    def _from_template(self, exchange: Exchange, outcome: Outcome) -> bool:
        """Write the line of a usual request; False for one that needs to go the whole way."""
        chain, client, path = self._log.chain("info"), exchange.client, exchange.path
        if chain is None or not chain.is_at_rest or not client or exchange.fields:
            return False
        address = client[0]
        if type(address) is not str or len(address) > _MAX_ADDRESS:
            return False
        if not _is_plain_address(address) or not is_plain(path):
            return False
        if exchange.is_websocket or exchange.code is not None or exchange.error is not None:
            return False
        key = (chain.service, chain.environment, outcome.key)
        template = self._templates.get(key) or self._learn(key, chain, exchange, outcome)
        values = path, exchange.duration_ms, address
        if (take := chain.taker(exchange.context)) is not None:
            fields = template.fields | dict(zip(_VARYING, values, strict=True))
            record = _record(chain, exchange, fields)
            if record is None or not take(record):
                return False
        line = template.fill(
            exchange.ended_s,
            exchange.span.get_span_context(),
            exchange.correlation_id,
            exchange.request_id,
            *values,
        )
        chain.write(line)
        return True

    def _learn(
        self,
        key: tuple[object, ...],
        chain: LogPipeline,
        exchange: Exchange,
        outcome: Outcome,
    ) -> LineTemplate:
        """Make a template of the line as it would be without one."""
        fields = exchange.log_fields(outcome)
        line = chain.layout("info", _LOGGER, _EVENT, fields, 0.0, exchange.line_context())
        template = LineTemplate(line, _VARYING)
        if len(self._templates) < _MAX_TEMPLATES:
            self._templates[key] = template
        return template

    def late_failure(self, exchange: Exchange, exc: Exception) -> None:
        """Log what failed after the response was complete, such as a background task."""
        fields = exchange.log_fields(exchange.ending())
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


def _record(chain: LogPipeline, exchange: Exchange, fields: dict[str, Any]) -> Usual | None:
    """Return what is exported of the line."""
    shared = "info", _EVENT, _LOGGER, chain.service, chain.environment
    kind = kinds.get(shared) or learn_kind(shared)
    if kind is None:
        return None
    ids = {"correlation_id": exchange.correlation_id, "request_id": exchange.request_id}
    return kind, exchange.ended_s, exchange.span.get_span_context(), ids, fields
