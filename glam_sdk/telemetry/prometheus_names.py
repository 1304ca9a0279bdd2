"""Translate OpenTelemetry names, units and attributes to Prometheus ones.

Source: OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

_UNITS: Final = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "min": "minutes",
    "h": "hours",
    "d": "days",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "TiBy": "tebibytes",
    "KBy": "kilobytes",
    "MBy": "megabytes",
    "GBy": "gigabytes",
    "TBy": "terabytes",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
}
_PER: Final = {
    "s": "second",
    "m": "minute",
    "h": "hour",
    "d": "day",
    "w": "week",
    "mo": "month",
    "y": "year",
}
_SUFFIXES: Final = {
    "counter": ("", "_total", "_created"),
    "gauge": ("",),
    "histogram": ("", "_bucket", "_sum", "_count", "_created"),
    "summary": ("", "_sum", "_count", "_created"),
    "gaugehistogram": ("", "_bucket", "_gsum", "_gcount"),
    "info": ("", "_info"),
}
_NOT_IN_METRIC: Final = re.compile(r"[^a-zA-Z0-9_:]+")
_NOT_IN_LABEL: Final = re.compile(r"[^a-zA-Z0-9]+")  # runs of underscores become one
_LEGACY: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
_ANNOTATION: Final = re.compile(r"\{[^}]*\}")


@lru_cache(maxsize=4096)
def metric_name(name: str, unit: str, kind: str, *, utf8: bool = False) -> tuple[str, str]:
    """Return the family's name without ``_total``, and its unit.

    Args:
        name: OpenTelemetry name, such as ``http.server.request.duration``.
        unit: UCUM unit; annotations in braces are dropped.
        kind: ``counter``, ``gauge`` or ``histogram``.
        utf8: Keep the dots; suffixes are added all the same.
    """
    base = name if utf8 else (_NOT_IN_METRIC.sub("_", name).strip("_") or "_")
    if base[:1].isdigit() and not utf8:
        base = f"_{base}"
    if kind == "counter":
        base = _without(base, "total")
    word = _unit_word(unit, kind)
    if word:
        base = f"{_without(base, word)}_{word}"
    return base, word


def sample_names(family: str, kind: str) -> tuple[str, ...]:
    """Return every name that the samples of a family may have, in any format.

    Args:
        family: As :func:`metric_name` returns it.
        kind: Prometheus' type.
    """
    return tuple(family + suffix for suffix in _SUFFIXES.get(kind, ("",)))


def _without(name: str, suffix: str) -> str:
    """Return a name without a last word and the character before it."""
    rest = name.removesuffix(suffix)
    return rest[:-1] if rest != name and len(rest) > 1 and not rest[-1].isalnum() else name


def _unit_word(unit: str, kind: str) -> str:
    unit = _ANNOTATION.sub("", unit).strip()
    if unit == "1":
        return "ratio" if kind == "gauge" else ""
    amount, slash, per = unit.partition("/")
    amount = "" if amount == "1" else amount
    word = _UNITS.get(amount, _NOT_IN_LABEL.sub("_", amount).strip("_"))
    if slash and per:
        denominator = _PER.get(per, _NOT_IN_LABEL.sub("_", per).strip("_"))
        word = f"{word}_per_{denominator}" if word else f"per_{denominator}"
    return word


@lru_cache(maxsize=4096)
def label_name(key: str) -> str:
    """Return an attribute key as a label name."""
    name = _NOT_IN_LABEL.sub("_", key) or "_"
    return f"key_{name}" if name[0].isdigit() else _free_name(name)


@lru_cache(maxsize=4096)
def is_legacy(name: str) -> bool:
    """Tell whether a name needs no quotes in a format with UTF-8 names."""
    return _LEGACY.fullmatch(name) is not None


def label_pairs(attributes: Mapping[str, Any], *, utf8: bool = False) -> dict[str, str]:
    """Return label names and values, sorted by key; keys that become equal share one label."""
    merged: dict[str, str] = {}
    for key in sorted(attributes):
        name, value = _free_name(key) if utf8 else label_name(key), _text(attributes[key])
        merged[name] = f"{merged[name]};{value}" if name in merged else value
    return merged


def labels(attributes: Mapping[str, Any], *, utf8: bool = False) -> str:
    """Render attributes as ``a="1",b="x"``."""
    pairs = label_pairs(attributes, utf8=utf8)
    return ",".join(f'{_quoted(name)}="{escape(value)}"' for name, value in pairs.items())


def _free_name(key: str) -> str:
    """Keep off Prometheus' own names: ``__…`` and the label of a histogram's buckets."""
    if key.startswith("__"):
        return f"key{key}"
    return "exported_le" if key == "le" else key


def _quoted(name: str) -> str:
    return name if is_legacy(name) and ":" not in name else f'"{escape(name)}"'


class LabelCache:
    """Render the labels of a series once: the SDK gives the same mapping at each collection."""

    _MAX: Final = 100_000

    def __init__(self) -> None:
        self._known: dict[tuple[int, bool], tuple[Mapping[str, Any], str]] = {}

    def render(self, attributes: Mapping[str, Any], *, utf8: bool = False) -> str:
        """Return what :func:`labels` does."""
        if not attributes:
            return ""
        key = (id(attributes), utf8)
        known = self._known.get(key)
        if known is not None:
            return known[1]
        if len(self._known) >= self._MAX:
            self._known.clear()
        text = labels(attributes, utf8=utf8)
        # The mapping is kept beside its text, so that no other can get its id.
        self._known[key] = (attributes, text)
        return text


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else str(value)


def escape(value: str) -> str:
    """Escape a label value."""
    if "\\" in value or "\n" in value or '"' in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value


def escape_help(text: str, *, quotes: bool) -> str:
    """Escape a HELP text; OpenMetrics escapes quotes too."""
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace('"', r"\"") if quotes else text
