"""Hold the one process-wide slot: the running service."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from glam_sdk.runtime.service import Service

lock = threading.RLock()
_current: Service | None = None


def current() -> Service | None:
    """Return the service of this process, if ``init`` was called."""
    return _current


def set_current(service: Service | None) -> None:
    """Fill or empty the slot; hold ``lock`` while doing so."""
    global _current  # noqa: PLW0603 - this is the one slot
    _current = service
