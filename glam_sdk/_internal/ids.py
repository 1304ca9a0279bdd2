"""Make identifiers: time-ordered UUIDs (RFC 9562, version 7) and short request ids."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable

import uuid_utils.compat


def _uuid7_source() -> Callable[[], uuid.UUID]:
    return getattr(uuid, "uuid7", uuid_utils.compat.uuid7)


uuid7: Callable[[], uuid.UUID] = _uuid7_source()
"""Return a UUID whose first 48 bits are the Unix time in milliseconds (RFC 9562, section 5.7)."""


def new_request_id() -> str:
    """Return ``req_`` and 12 random hex digits, the form old services know."""
    return "req_" + os.urandom(6).hex()


def new_correlation_id() -> str:
    """Return ``corr_`` and 12 random hex digits, the form old services know."""
    return "corr_" + os.urandom(6).hex()
