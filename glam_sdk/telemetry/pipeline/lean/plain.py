"""Tell which attributes are stored as they are; all others are cleaned by OpenTelemetry's rules."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any, Final

from opentelemetry.sdk.trace import SpanLimits

from glam_sdk.telemetry.tracing import SharedAttributes

PLAIN_TYPES: Final = frozenset({str, bool, int, float, bytes, type(None)})
"""Types of values that need no look."""
_STR_ONLY: Final = frozenset({str})


def room_for_plain(limits: SpanLimits) -> int:
    """Return how many attributes of plain types need no look at the limits."""
    if limits.max_span_attribute_length is not None:
        return 0  # each text must be measured
    return sys.maxsize if limits.max_span_attributes is None else limits.max_span_attributes


def are_plain(attributes: Mapping[str, Any]) -> bool:
    """Tell whether names and values are as they should be."""
    if type(attributes) is SharedAttributes:
        return True
    return (
        PLAIN_TYPES.issuperset(map(type, attributes.values()))
        and _STR_ONLY.issuperset(map(type, attributes))
        and "" not in attributes
    )
