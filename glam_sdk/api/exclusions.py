"""Decide by its path, never by its Host, whether a request is left out of all three signals."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from glam_sdk.config import HttpSettings


def excluded_paths(settings: HttpSettings) -> tuple[str, ...]:
    """Return the patterns: the metrics and health endpoints, and the service's own."""
    health = f"{settings.health_prefix.rstrip('/')}/health"
    return (settings.metrics_path, health, f"{health}/*", *settings.exclude)


def path_matcher(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return a test for paths; a pattern is an exact path, or a prefix when it ends in ``*``."""
    patterns = tuple(patterns)
    exact = frozenset(p for p in patterns if not p.endswith("*"))
    prefixes = tuple(p[:-1] for p in patterns if p.endswith("*"))
    if not prefixes:
        return exact.__contains__
    return lambda path: path in exact or path.startswith(prefixes)
