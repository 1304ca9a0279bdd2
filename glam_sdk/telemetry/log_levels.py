"""Read and change the levels of loggers while the service runs."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

ROOT: Final = "root"
# Each writes lines that a caller can provoke or that a span already tells: one a request, or one
# for every malformed header.
_QUIET: Final = {
    "httpx": "WARNING",
    "httpcore": "WARNING",
    "opentelemetry.baggage": "ERROR",
    "opentelemetry.trace.propagation": "ERROR",
    "opentelemetry.trace.span": "ERROR",
}
_NAMES: Final = {"WARN": "WARNING", "FATAL": "CRITICAL"}
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def set_level(name: str, level: str | None) -> None:
    """Set the level of a logger, and so of all below it that have none of their own.

    Args:
        name: Dotted name, such as ``sqlalchemy.engine``; ``root`` for all.
        level: ``DEBUG``, ``INFO``, ``WARNING``, ``ERROR`` or ``CRITICAL`` in any case; None lets
            the logger follow the one above it again.

    Raises:
        ValueError: There is no such level.
    """
    chosen = "NOTSET" if level is None else _NAMES.get(level.strip().upper(), level.strip().upper())
    if chosen not in _LEVELS and level is not None:
        raise ValueError(f"There is no log level {level!r}. Use one of {', '.join(_LEVELS)}.")
    if level is None and name in {"", ROOT}:
        raise ValueError("The root logger needs a level: there is none above it to follow.")
    logging.getLogger("" if name == ROOT else name).setLevel(chosen)


def levels() -> dict[str, str]:
    """Return the level of ``root`` and of each logger that has one of its own, by name."""
    root = logging.getLogger()
    found = {ROOT: logging.getLevelName(root.level)}
    for name, logger in sorted(root.manager.loggerDict.items()):
        if isinstance(logger, logging.Logger) and logger.level != logging.NOTSET:
            found[name] = logging.getLevelName(logger.level)
    return found


def apply_levels(level: str, chosen: Mapping[str, str]) -> None:
    """Set the levels of the configuration, once at start.

    Args:
        level: Level of the root logger, such as ``INFO``.
        chosen: Logger name → level.
    """
    set_level(ROOT, level)
    for name, value in {**_QUIET, **chosen}.items():
        set_level(name, value)
