"""Write one line a request, and one for what fails after the answer was sent."""

from __future__ import annotations

import random
from math import floor
from typing import Any, Final

import orjson
from opentelemetry.context import Context

from glam_sdk._internal.current_context import attach, detach
from glam_sdk.api.attributes import Outcome
from glam_sdk.api.exchange import Exchange
from glam_sdk.config import HttpSettings
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.log_context import HOLDER_KEY
from glam_sdk.telemetry.log_encoding import whole_second
from glam_sdk.telemetry.log_template import LineTemplate
from glam_sdk.telemetry.log_usual import FLAGS
from glam_sdk.telemetry.logs import get_logger

_LOGGER: Final = "glam_sdk.access"
_EVENT: Final = "http.request"
_VARYING: Final = (conv.URL_PATH, "duration_ms", conv.CLIENT_ADDRESS)
_MAX_TEMPLATES: Final = 1024
_MAX_ADDRESSES: Final = 1024
_MAX_ADDRESS: Final = 64  # characters: behind a proxy it may be any text, and it is remembered
_MAX_PATH: Final = 1024  # characters: longer ones may have to be cut
_dumps: Final = orjson.dumps


class _Addresses(dict[Any, bytes | None]):
    """Hold addresses of callers as JSON; None for one that is not remembered."""

    __slots__ = ()

    def __missing__(self, address: Any) -> bytes | None:
        if type(address) is not str or len(address) > _MAX_ADDRESS or "://" in address:
            return None
        if len(self) >= _MAX_ADDRESSES:
            self.clear()
        self[address] = shown = _dumps(address)
        return shown


_addresses: Final = _Addresses()


class AccessLog:
    """Decide whether a request gets its line, and at which level.

    Server errors are ``error`` with the traceback; refused requests and callers that left are
    ``warning``; the rest is ``info``. Only fast and successful requests can be switched off or
    sampled.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._log = get_logger(_LOGGER)
        self._has_all = settings.access_log == "on"
        # Of requests that ended alike and well; how they ended is one object for all of them.
        self._templates: dict[Outcome, LineTemplate] = {}

    def write(self, exchange: Exchange, outcome: Outcome) -> None:
        """Log a finished exchange."""
        template = self._templates.get(outcome)
        if (
            template is None
            or not exchange.went_well
            or exchange.is_excluded
            or exchange.is_websocket
        ):
            level = self._level(exchange, has_failed=outcome.has_failed)
            if level is not None:
                self._write(level, exchange, outcome)
        elif (self._has_all or self._is_picked(exchange)) and not self._fill(template, exchange):
            self._write("info", exchange, outcome)

    def _write(self, level: str, exchange: Exchange, outcome: Outcome) -> None:
        """Log it the whole way."""
        fields = exchange.log_fields(outcome)
        event = "websocket.closed" if exchange.is_websocket else _EVENT
        exc = exchange.shown_error if level == "error" else None
        exc = exc if isinstance(exc, Exception) else None
        token = attach(exchange.line_context())
        try:
            self._log.log_at(exchange.ended_s(), level, event, fields, exc)
        finally:
            detach(token)
        if (
            level == "info"
            and exchange.went_well
            and event == _EVENT
            and conv.CLIENT_ADDRESS in fields
        ):
            self._learn(exchange, outcome, fields)

    def _learn(self, exchange: Exchange, outcome: Outcome, fields: dict[str, Any]) -> None:
        """Make a template of the line as it would be without the request's own fields."""
        chain, known = self._log.chain("info"), self._templates.get(outcome)
        if chain is None or (known is not None and known.is_of(chain)):
            return
        context = Context({**exchange.context, HOLDER_KEY: {}})
        line = chain.layout("info", _LOGGER, _EVENT, fields, 0.0, context)
        if len(self._templates) >= _MAX_TEMPLATES:
            self._templates.clear()
        self._templates[outcome] = LineTemplate(line, _VARYING)

    def _fill(self, template: LineTemplate, exchange: Exchange) -> bool:
        """Write the line of a usual request; False for one that needs to go the whole way."""
        chain, client, path = self._log.usual_chain("info"), exchange.client, exchange.path
        if (
            chain is None
            or template.service is not chain.service  # as in is_of, whose call would be felt
            or template.environment is not chain.environment
            or not client
            or len(path) > _MAX_PATH
            or "://" in path
        ):
            return False
        fields = exchange.fields or {}
        own = template.own_json(fields) if fields else b""
        (_, request_id), (_, correlation_id), (_, trace_id), _ = exchange.headers
        span = exchange.span.get_span_context()
        # As in ended_s and duration_ms, whose calls would be felt.
        created = (exchange.ended_ns or 0) / 1e9
        lasted, second = (exchange.duration_s * 1e6 + 0.5) // 1.0 / 1000.0, floor(created)
        try:
            line = template.text % (
                whole_second(second),
                (created - second) * 1e6,
                trace_id,
                span[1],
                FLAGS[span[3] & 255],
                correlation_id,
                request_id,
                own,
                _dumps(path),
                _dumps(lasted),
                _addresses[client[0]],
            )
        except TypeError:  # own fields or an address that are not plain, or a lone surrogate
            return False
        if chain.provider is not None:
            filled = created, span, (correlation_id, request_id), fields, (path, lasted, client[0])
            if not template.export(chain, exchange.context, filled):
                return False
        chain.write(line)
        return True

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
        return "info" if self._has_all or self._is_picked(exchange) else None

    def _is_picked(self, exchange: Exchange) -> bool:
        """Tell whether a request that went well gets its line where not all do."""
        settings = self._settings
        if exchange.duration_s >= settings.slow_request_s:
            return True
        # Not a secret: the choice only thins out lines.
        return (
            settings.access_log == "sampled" and random.random() < settings.access_log_sample_ratio  # noqa: S311
        )
