"""Choose the exposition format from a scraper's ``Accept`` header.

Prometheus 3 asks for UTF-8 names in every format it can read, OpenMetrics first. OpenMetrics 1.0
knows no such names, so it is always answered with underscores: the names on dashboards stay what
they are. Whoever prefers ``text/plain; version=1.0.0; escaping=allow-utf-8`` gets the dots.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final


@dataclass(frozen=True, slots=True)
class Format:
    """Describe one exposition format."""

    content_type: str
    openmetrics: bool = False
    """OpenMetrics 1.0: exemplars, ``# UNIT``, ``# EOF``."""
    utf8: bool = False
    """Names keep their dots and are quoted."""
    protobuf: bool = False
    """Length-delimited messages: the one format with native histograms."""


TEXT: Final = Format("text/plain; version=0.0.4; charset=utf-8")
TEXT_1_0: Final = Format("text/plain; version=1.0.0; charset=utf-8; escaping=underscores")
TEXT_UTF8: Final = Format(
    "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8", utf8=True
)
OPENMETRICS: Final = Format(
    "application/openmetrics-text; version=1.0.0; charset=utf-8", openmetrics=True
)
PROTOBUF: Final = Format(
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    protobuf=True,
)


@lru_cache(maxsize=64)
def choose_format(accept: str) -> Format:
    """Return the format that the header prefers; text 0.0.4 when it names none of ours.

    Args:
        accept: The header's value; weights are respected, the first wins between equals.
    """
    best, best_weight = TEXT, 0.0
    for media_range in accept.lower().split(","):
        kind, *rest = (part.strip() for part in media_range.split(";"))
        parameters = dict(_parameter(part) for part in rest)
        weight = _weight(parameters.get("q", "1"))
        found = _format(kind, parameters)
        if found is not None and weight > best_weight:
            best, best_weight = found, weight
    return best


def _format(kind: str, parameters: dict[str, str]) -> Format | None:
    version = parameters.get("version", "")
    if kind == "application/openmetrics-text":
        return OPENMETRICS if version in {"", "0.0.1", "1.0.0"} else None
    if kind == "application/vnd.google.protobuf":
        is_ours = parameters.get("proto") == "io.prometheus.client.metricfamily"
        return PROTOBUF if is_ours and parameters.get("encoding") == "delimited" else None
    if kind in {"text/plain", "text/*", "*/*"}:
        if version.startswith("1."):
            return TEXT_UTF8 if parameters.get("escaping") == "allow-utf-8" else TEXT_1_0
        return TEXT if version in {"", "0.0.4"} else None
    return None


def _parameter(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return name.strip(), value.strip().strip('"')


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        return 0.0
    return weight if 0 <= weight <= 1 else 0.0
