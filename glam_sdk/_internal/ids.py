"""Make identifiers: time-ordered UUIDs (RFC 9562, version 7) and short request ids."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable

import uuid_utils
import uuid_utils.compat


def _uuid7_source() -> Callable[[], uuid.UUID]:
    return getattr(uuid, "uuid7", uuid_utils.compat.uuid7)


uuid7: Callable[[], uuid.UUID] = _uuid7_source()
"""Return a UUID whose first 48 bits are the Unix time in milliseconds (RFC 9562, section 5.7)."""


def new_event_id() -> str:
    """Return the text of a :func:`uuid7`, without the object in between."""
    return str(uuid_utils.uuid7())


# Not the system's entropy: these ids identify and protect nothing, and a system call costs more
# than the rest of the request's telemetry. The generator seeds itself anew in a forked child.
_bits = random.getrandbits


def random_bits(count: int) -> int:
    """Return a random number that is not 0, for ids of spans and traces.

    Args:
        count: How many bits it may have.
    """
    return _bits(count) or 1


def new_ids() -> tuple[str, str]:
    """Return a new request id and a new correlation id, in the forms old services know.

    They have the same digits, which halves what they cost.
    """
    digits = _bits(48).to_bytes(6).hex()
    return "req_" + digits, "corr_" + digits


def new_correlation_id() -> str:
    """Return ``corr_`` and 12 random hex digits, the form old services know."""
    return "corr_" + _bits(48).to_bytes(6).hex()
