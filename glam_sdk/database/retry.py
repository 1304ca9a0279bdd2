"""Do a whole transaction again when the database says that it collided with another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Protocol, TypeVar

from opentelemetry import trace

from glam_sdk.database.unit_of_work import Isolation, UnitOfWork
from glam_sdk.errors import DatabaseError
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.logs import get_logger

R = TypeVar("R")

# After these the database has undone everything and says so. A lost connection is not among them:
# whether its COMMIT arrived is unknown, and a write must never be done twice in silence.
_COLLISIONS: Final = frozenset({"40001", "40P01"})
_SQLITE_COLLISIONS: Final = ("SQLITE_BUSY", "SQLITE_LOCKED")
_log = get_logger("glam_sdk.database")


class OpensUnitsOfWork(Protocol):
    """Name what is needed of a database."""

    def unit_of_work(self, *, isolation: Isolation | None = None) -> UnitOfWork:
        """Return a transaction."""
        ...


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Say how often a transaction is tried and how long it waits in between.

    The wait is random between nothing and a bound that doubles each time, so that two transactions
    that collided don't meet again.
    """

    attempts: int = 5
    first_wait: timedelta = timedelta(milliseconds=20)
    max_wait: timedelta = timedelta(seconds=1)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


_DEFAULT: Final = RetryPolicy()


async def retry_transaction(
    db: OpensUnitsOfWork,
    work: Callable[[UnitOfWork], Awaitable[R]],
    *,
    isolation: Isolation | None = "SERIALIZABLE",
    policy: RetryPolicy = _DEFAULT,
) -> R:
    """Run ``work`` in a unit of work of its own, again from the start when it collides.

    Only serialization failures and deadlocks are retried, for then nothing was kept. Everything
    ``work`` does outside the database is done again too.

    Args:
        db: Where.
        work: Gets a new unit of work for each attempt.
        isolation: SERIALIZABLE lets concurrent transactions be as if one came after the other.
        policy: How often, and how long to wait.

    Raises:
        DatabaseError: That of the last attempt.
    """
    attempt = 1
    while True:
        try:
            async with db.unit_of_work(isolation=isolation) as uow:
                return await work(uow)
        except DatabaseError as error:
            if attempt >= policy.attempts or not is_collision(error):
                raise
            code = error.error_code
        bound = min(policy.first_wait * 2 ** (attempt - 1), policy.max_wait)
        attempt += 1
        current = trace.get_current_span()
        current.set_attribute(conv.GLAM_DB_TRANSACTION_ATTEMPT, attempt)
        _log.info("database.transaction_retried", attempt=attempt, error_code=code)
        await policy.sleep(random.uniform(0, bound.total_seconds()))  # noqa: S311 - no secret


def is_collision(error: DatabaseError) -> bool:
    """Tell whether the database undid a transaction because of another one."""
    code = error.error_code or ""
    return code in _COLLISIONS or code.startswith(_SQLITE_COLLISIONS)
