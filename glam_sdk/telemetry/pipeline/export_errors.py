"""Learn why an export failed, in words that hold no address and no credential.

An OTLP exporter answers only that it failed; the reason goes to its own metrics, so that is where
we listen.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

_MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True)
class ExportError:
    """Name an error for a label, and say it for people."""

    kind: str = "export_failed"
    """A status (``401``, ``UNAVAILABLE``) or the type of an exception."""
    text: str = "The exporter did not say why."


class ExportErrors:
    """Stand in for an exporter's own metrics and keep the error of its last export.

    Args:
        exporter: Of OTLP; any other never says anything here.
    """

    def __init__(self, exporter: Any) -> None:
        self.last: ExportError | None = None
        own: Any = unwrapped(exporter)
        self._inner = getattr(own, "_metrics", None)
        if hasattr(self._inner, "export_operation"):
            own._metrics = self  # noqa: SLF001 - no public way

    @contextmanager
    def export_operation(self, count: int) -> Iterator[Any]:
        """Open one request; the exporter puts its error into what is given."""
        self.last = None
        inner: Any = self._inner
        with inner.export_operation(count) as result:
            try:
                yield result
            finally:
                self.last = describe(result.error, getattr(result, "error_attrs", None))


def unwrapped(exporter: object) -> object:
    """Return the SDK's exporter where ours encodes for it."""
    return getattr(exporter, "_inner", exporter)


def describe(error: BaseException | None, attributes: Any = None) -> ExportError | None:
    """Return an error without anything that it says itself, or None where there is none."""
    status = next(iter((attributes or {}).values()), None)
    if status is not None:
        return ExportError(str(status), f"HTTP {status}" if isinstance(status, int) else status)
    if error is None:
        return None
    kind, cause = type(error).__qualname__, _system_error(error)
    return ExportError(kind, f"{kind} ({cause})" if cause else kind)


def _system_error(error: object) -> str:
    """Return what the operating system or OpenSSL said, which is one of a fixed list of texts."""
    pending, seen = [error], 0
    while pending and seen < _MAX_DEPTH:
        each, seen = pending.pop(0), seen + 1
        if isinstance(each, ssl.SSLError):  # its numbers are not the operating system's
            return each.reason or ""
        if isinstance(each, OSError) and isinstance(each.errno, int) and each.errno > 0:
            return os.strerror(each.errno)
        if isinstance(each, BaseException):
            pending += [each.__cause__, getattr(each, "reason", None), *each.args]
    return ""
