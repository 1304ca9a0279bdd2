"""Know what a database's error code says: whose fault it is, and whether to try again.

Codes are SQLSTATEs (PostgreSQL, appendix A) or SQLite's names of its errors.
"""

from __future__ import annotations

from typing import Final

UNIQUE: Final = frozenset({
    "23505", "23P01",
    "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID",
})  # fmt: skip
FOREIGN: Final = frozenset({"23503", "23001", "SQLITE_CONSTRAINT_FOREIGNKEY"})
NOT_NULL: Final = frozenset({"23502", "SQLITE_CONSTRAINT_NOTNULL"})
RAISED: Final = frozenset({"P0001", "SQLITE_CONSTRAINT_TRIGGER"})
"""A trigger or function of the service's own schema said no."""
# Of class 22 only what a value is to blame for; the rest are mistakes in the SQL.
BAD_VALUE: Final = frozenset({
    "22000",  # what asyncpg itself can't convert
    "22001", "22003", "22007", "22008", "22009", "22021", "22026", "22P02", "22P05",
    "SQLITE_MISMATCH", "SQLITE_TOOBIG",
})  # fmt: skip

# Nothing was kept, or nothing was begun, and a moment later it may be otherwise.
_RETRYABLE: Final = frozenset({
    "25P03", "25P04",  # the server ended a transaction that took too long
    "40001", "40P01",  # collided with another transaction
    "55P03",  # a lock was not free
    "57014",  # statement timeout, or cancelled by an operator
    "57P01", "57P02", "57P03", "57P05",  # the server shuts down, crashed, starts, hung up
})  # fmt: skip
_RETRYABLE_CLASSES: Final = ("08", "53", "SQLITE_BUSY", "SQLITE_LOCKED")
_NOT_RETRYABLE: Final = frozenset({
    "08007",  # the outcome of a transaction is unknown: doing it again may do it twice
    "53100",  # disk full: nobody makes room within a retry
    "53400",  # a configured limit is the same next time
})  # fmt: skip


def is_retryable(code: str | None) -> bool:
    """Tell whether the same work may succeed later.

    Args:
        code: None for an error without one.
    """
    if code is None or code in _NOT_RETRYABLE:
        return False
    return code in _RETRYABLE or code.startswith(_RETRYABLE_CLASSES)
