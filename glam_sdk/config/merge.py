"""Merge nested mappings, and turn them into flat ones and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def deep_merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``base`` with ``override`` laid over it, mapping by mapping.

    A mapping on both sides is merged; anything else, lists too, is replaced. Neither argument is
    changed, and no mapping of the result is shared with them.
    """
    merged: dict[str, Any] = {key: _copy(value) for key, value in base.items()}
    for key, value in override.items():
        below = merged.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            merged[key] = deep_merge(below, value)
        else:
            merged[key] = _copy(value)
    return merged


def flatten_config(data: Mapping[str, Any], sep: str = ".") -> dict[str, Any]:
    """Return ``{"a": {"b": 1}}`` as ``{"a.b": 1}``; an empty mapping stays as a value."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            for inner, leaf in flatten_config(value, sep).items():
                flat[f"{key}{sep}{inner}"] = leaf
        else:
            flat[key] = _copy(value)
    return flat


def expand_config(flat: Mapping[str, Any], sep: str = ".") -> dict[str, Any]:
    """Return ``{"a.b": 1}`` as ``{"a": {"b": 1}}``; the opposite of :func:`flatten_config`.

    Only the outermost keys are split; where two keys meet, the later one is merged over.
    """
    nested: dict[str, Any] = {}
    for key, value in flat.items():
        tree: Any = value
        for part in reversed(key.split(sep)):
            tree = {part: tree}
        nested = deep_merge(nested, tree)
    return nested


def _copy(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copy(inner) for key, inner in value.items()}
    return value
