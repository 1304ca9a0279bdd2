"""Translate what SQLAlchemy and its drivers raise, once, without a row's values.

Translated errors carry names only: table, column, constraint, SQLSTATE. They are raised ``from
None``: SQLAlchemy's error says the same at more length. It stays reachable as ``__context__``,
which no traceback shows, and :mod:`~glam_sdk.database.redaction` has taken the values out of it.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Final

from sqlalchemy import event, exc
from sqlalchemy.engine import Dialect, Engine, ExceptionContext
from sqlalchemy.orm.exc import StaleDataError

from glam_sdk.database.redaction import (
    driver_error,
    hide_values,
    key_columns,
    reason,
    refuses_value,
    status_code,
)
from glam_sdk.database.sqlstates import (
    BAD_VALUE,
    FOREIGN,
    NOT_NULL,
    RAISED,
    UNIQUE,
    is_retryable,
)
from glam_sdk.database.statements import describe
from glam_sdk.errors import ConflictError, DatabaseError, GlamBaseError, ValidationError

_SQLITE_FAILED: Final = re.compile(r"constraint failed: (.+)")


class translated:  # noqa: N801 - reads as a statement: `with translated():`
    """Raise our errors for SQLAlchemy's in the block; everything else passes unchanged."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(error, exc.SQLAlchemyError):
            raise_translated(error)


def raise_translated(error: exc.SQLAlchemyError) -> None:
    """Raise what :func:`translate` makes of an error; return when it leaves the error as it is."""
    ours = translate(error)
    if ours is not error:
        raise ours from None  # the cause says the same at more length


def translate(error: exc.SQLAlchemyError) -> BaseException:
    """Return our error for one of SQLAlchemy's.

    Unique and foreign keys become ConflictError, other constraints ValidationError, the rest
    DatabaseError with ``retryable``. Mistakes in the program (such as InvalidRequestError) are
    returned unchanged. A value that a column type refused is a ValidationError, unless the type
    raised an error class of its own.
    """
    if isinstance(error, exc.TimeoutError):
        return DatabaseError(
            "No database connection became free in time. "
            "Raise database.pool_size or shorten the transactions.",
            operation="connect",
        )
    if isinstance(error, exc.IntegrityError) and status_code(error.orig) not in RAISED:
        return _integrity_error(error)
    if isinstance(error, exc.DBAPIError):
        return _database_error(error)
    if isinstance(error, exc.StatementError):
        return _refused_value(error)
    if isinstance(error, exc.PendingRollbackError):
        return nothing_kept(None)
    if isinstance(error, StaleDataError):
        return ConflictError(
            "The row was changed or deleted by somebody else meanwhile. Load it anew.",
            current_state="changed",
        )
    return error


def nothing_kept(code: str | None) -> DatabaseError:
    """Return the error for a transaction that goes on after a statement that ended it.

    Args:
        code: That the database has for it.
    """
    return DatabaseError(
        "A statement of this transaction failed, so nothing of it can be kept. Let its error "
        "end the unit of work, or put what may fail into uow.savepoint().",
        operation="COMMIT",
        error_code=code,
        retryable=False,
    )


def outcome_unknown(error: exc.DBAPIError) -> DatabaseError:
    """Return the error for a connection that was lost while it committed."""
    return DatabaseError(
        "The connection was lost during COMMIT, so nobody knows whether the changes were kept. "
        "Look before doing them again.",
        operation="COMMIT",
        error_code=status_code(error.orig),
        retryable=False,
    )


def unreachable(where: str, reason: BaseException) -> DatabaseError:
    """Return the error for a server that does not answer.

    Args:
        where: The URL without its password.
        reason: What the attempt to connect ended with.
    """
    cause = "no answer in time" if isinstance(reason, TimeoutError) else describe_os_error(reason)
    return DatabaseError(f"Database {where} is not reachable: {cause}.", operation="connect")


def describe_os_error(reason: BaseException) -> str:
    """Say in few words why a connection failed."""
    text = getattr(reason, "strerror", None) or str(reason)
    return f"{type(reason).__name__}: {text}" if text else type(reason).__name__


def translate_driver_errors(engine: Engine, where: str) -> None:
    """Take the values of rows out of an engine's errors, and make ours of bare ones.

    Drivers raise an OSError for refused and broken connections, and SQLite's an OverflowError for
    a number that no column can hold.

    Args:
        engine: Whose.
        where: The URL without its password.
    """

    def connect(
        dialect: Dialect, _: object, args: tuple[Any, ...], params: dict[str, Any]
    ) -> object:
        try:
            return dialect.connect(*args, **params)
        except OSError as error:
            raise unreachable(where, error) from error

    def bare(context: ExceptionContext) -> BaseException | None:
        original = context.original_exception
        if isinstance(original, OSError):
            context.is_disconnect = True
            return unreachable(where, original)
        if isinstance(original, OverflowError):
            return _bad_value(context.statement, None)
        return None

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "handle_error", bare)
    hide_values(engine)


def _bad_value(statement: str | None, code: str | None) -> ValidationError:
    what = describe(statement or "").summary or "the statement"
    details: dict[str, object] = {"error_code": code} if code else {}
    return ValidationError(f"A value in {what} does not fit its column.", details=details)


def _refused_value(error: exc.StatementError) -> BaseException:
    """Return the error for a value that its column's type could not convert."""
    refused = error.orig
    if isinstance(refused, AttributeError) and refused.name in ("hex", "replace"):
        # SQLAlchemy's Uuid asks any value for its digits.
        return ValidationError("A value that is no uuid.UUID was given for a UUID column.")
    return _bad_value(error.statement, None) if refuses_value(refused) else refused or error


def _integrity_error(error: exc.IntegrityError) -> GlamBaseError:
    code = status_code(error.orig) or ""
    table, columns, constraint = _violated(error)
    details: dict[str, object] = {"error_code": code}
    if constraint:
        details["constraint"] = constraint
    if columns:
        details["columns"] = columns
    row = f"A row of {table}" if table else "A row"
    if code in UNIQUE:
        same = f" with the same {', '.join(columns)}" if columns else ""
        return ConflictError(
            f"{row}{same} exists already.", conflicting_resource=table, details=details
        )
    if code in FOREIGN:
        return ConflictError(
            f"{row} refers to one that does not exist, or is still referred to.",
            conflicting_resource=table,
            details=details,
        )
    field = columns[0] if len(columns) == 1 else None
    if code in NOT_NULL:
        return ValidationError(
            f"{field or 'A column'} must have a value.", field=field, details=details
        )
    broken = f" constraint {constraint}" if constraint else " a constraint"
    return ValidationError(f"{row} breaks{broken}.", field=field, details=details)


def _violated(error: exc.IntegrityError) -> tuple[str | None, list[str], str | None]:
    """Return table, columns and constraint; each only if the driver tells."""
    orig = driver_error(error.orig) if error.orig is not None else None
    table = getattr(orig, "table_name", None)
    constraint = getattr(orig, "constraint_name", None)
    column = getattr(orig, "column_name", None)
    columns = [column] if column else key_columns(orig)
    found = _SQLITE_FAILED.search(str(orig)) if hasattr(orig, "sqlite_errorname") else None
    if found and "CHECK" in str(orig):
        constraint = found[1]
    elif found:
        names = [name.rpartition(".") for name in found[1].split(", ")]
        table, columns = names[0][0] or None, [name[2] for name in names]
    return table or describe(error.statement or "").collection, columns, constraint


def _database_error(error: exc.DBAPIError) -> GlamBaseError:
    code = status_code(error.orig)
    orig = driver_error(error.orig) if error.orig is not None else error
    if code in BAD_VALUE or _is_unbindable(orig):
        return _bad_value(error.statement, code)
    statement = describe(error.statement or "")
    return DatabaseError(
        _what_failed(error, statement.summary, code, reason(orig, code)),
        operation=statement.operation or None,
        table=statement.collection,
        error_code=code,
        retryable=error.connection_invalidated or is_retryable(code) or _is_stale_plan(orig),
    )


def _is_stale_plan(driver: BaseException) -> bool:
    """Tell whether asyncpg's plan was older than the schema; it has forgotten it by now."""
    return type(driver).__name__ == "InvalidCachedStatementError"


def _is_unbindable(driver: BaseException) -> bool:
    """Tell whether SQLite was given a value of a type it does not know."""
    return type(driver).__module__ == "sqlite3" and str(driver).startswith("Error binding")


def _what_failed(error: exc.DBAPIError, summary: str, code: str | None, why: str) -> str:
    if code in RAISED:
        what = summary or ("A statement" if error.statement else "The COMMIT")
        return f"{what} was refused by a trigger or function of the database ({code})."
    if summary or error.statement:
        return f"{summary or 'A statement'} failed: {why}."
    is_connection = error.connection_invalidated or (code or "").startswith(("08", "28", "3D"))
    return f"The {'database connection' if is_connection else 'transaction'} failed: {why}."
