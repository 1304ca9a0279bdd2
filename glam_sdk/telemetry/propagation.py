"""Carry trace context and baggage across process borders (W3C Trace Context, W3C Baggage)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter

from glam_sdk._internal.current_context import get_current
from glam_sdk.telemetry.w3c import PlainHeaders

TextHeaders = Mapping[str, str] | Iterable[tuple[str, str]]


class _LowerCaseGetter(Getter[dict[str, list[str]]]):
    def get(self, carrier: dict[str, list[str]], key: str) -> list[str] | None:
        values = carrier.get(key.lower())
        if values and len(values) > 1 and key.lower() in _LISTS:
            return [",".join(values)]
        return values

    def keys(self, carrier: dict[str, list[str]]) -> list[str]:
        return list(carrier)


# Several headers of these names are one list (W3C Trace Context 3.3, W3C Baggage 3.2.1).
_LISTS = frozenset({"tracestate", "baggage"})
_GETTER = _LowerCaseGetter()
_plain = PlainHeaders()


def extract(headers: TextHeaders, context: Context | None = None) -> Context:
    """Return a context continued from received headers; names are read case-insensitively.

    Malformed or repeated ``traceparent`` headers start a new trace, as W3C Trace Context asks.

    Args:
        headers: A mapping or pairs; pairs may repeat a name.
        context: What to extend; the current context by default.
    """
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    carrier: dict[str, list[str]] = {}
    for name, value in pairs:
        if value.isascii() or _is_text(value):
            carrier.setdefault(name.lower(), []).append(value)
    if len(carrier.get("traceparent", ())) > 1:
        del carrier["traceparent"]
    return propagate.extract(carrier, context, _GETTER)


def _is_text(value: str) -> bool:
    """Tell whether a value can be written down at all; bytes that were no text cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def inject(
    headers: dict[str, str] | None = None, *, context: Context | None = None
) -> dict[str, str]:
    """Return a copy of the headers with ``traceparent``, ``tracestate`` and ``baggage`` added.

    The caller's dict is never changed. Entries of the same name in another case are replaced.
    """
    added = _plain.write(get_current() if context is None else context)
    if added is None:
        added = {}
        propagate.inject(added, context)
    if not headers:
        return added
    lowered = {name.lower() for name in added}
    merged = {k: v for k, v in headers.items() if k.lower() not in lowered}
    merged.update(added)
    return merged
