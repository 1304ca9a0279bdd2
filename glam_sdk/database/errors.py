"""Translate what SQLAlchemy and its drivers raise, once, without a row's values.

A driver's own text may quote the row it refused (``Key (email)=(...)``), so translated errors
carry names only: table, column, constraint, SQLSTATE; and they are raised ``from None``.
"""

from __future__ import annotations

import re
from types import TracebackType
from typing import Any, Final

from sqlalchemy import event, exc
from sqlalchemy.engine import Dialect, Engine, ExceptionContext
from sqlalchemy.orm.exc import StaleDataError

from glam_sdk.database.statements import describe
from glam_sdk.errors import ConflictError, DatabaseError, GlamBaseError, ValidationError

# SQLSTATEs after which the same work may succeed (PostgreSQL, appendix A).
_RETRYABLE: Final = frozenset({"40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03"})
_RETRYABLE_CLASSES: Final = ("08", "53", "SQLITE_BUSY", "SQLITE_LOCKED")
_DISK_FULL: Final = "53100"  # of a retryable class, but nobody makes room within a retry
# Classes whose message names objects of the schema or the server, never a row's values.
_SPEAKING_CLASSES: Final = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58")
_SYNTAX_ERROR: Final = "42601"
_SPEAKING_SQLITE: Final = re.compile(
    r"no such (?:table|column)|database (?:table )?is locked|unable to open database file"
    r"|attempt to write a readonly|disk I/O error|database or disk is full|file is not a database"
)
_SQLITE_FAILED: Final = re.compile(r"constraint failed: (.+)")
_PG_KEY: Final = re.compile(r"Key \((.*?)\)=\(")

_UNIQUE: Final = frozenset({
    "23505", "23P01",
    "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_ROWID",
})  # fmt: skip
_FOREIGN: Final = frozenset({"23503", "23001", "SQLITE_CONSTRAINT_FOREIGNKEY"})
_NOT_NULL: Final = frozenset({"23502", "SQLITE_CONSTRAINT_NOTNULL"})


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
        raise ours from None  # the cause's text may hold the values of a row


def translate(error: exc.SQLAlchemyError) -> BaseException:
    """Return our error for one of SQLAlchemy's.

    Unique and foreign keys become ConflictError, other constraints ValidationError, the rest
    DatabaseError with ``retryable``. Mistakes in the program (such as InvalidRequestError) are
    returned unchanged, and a value that a column type refused as the type's own error.
    """
    if isinstance(error, exc.TimeoutError):
        return DatabaseError(
            "No database connection became free in time. "
            "Raise database.pool_size or shorten the transactions.",
            operation="connect",
        )
    if isinstance(error, exc.IntegrityError):
        return _integrity_error(error)
    if isinstance(error, exc.DBAPIError):
        return _database_error(error)
    if isinstance(error, exc.StatementError):
        return error.orig or error
    if isinstance(error, StaleDataError):
        return ConflictError(
            "The row was changed or deleted by somebody else meanwhile. Load it anew.",
            current_state="changed",
        )
    return error


def outcome_unknown(error: exc.DBAPIError) -> DatabaseError:
    """Return the error for a connection that was lost while it committed."""
    return DatabaseError(
        "The connection was lost during COMMIT, so nobody knows whether the changes were kept. "
        "Look before doing them again.",
        operation="COMMIT",
        error_code=status_code(error.orig),
        retryable=False,
    )


def status_code(driver_error: BaseException | None) -> str | None:
    """Return the SQLSTATE, or SQLite's name of the error, as ``db.response.status_code``."""
    code = getattr(driver_error, "sqlstate", None) or getattr(
        driver_error, "sqlite_errorname", None
    )
    return code if isinstance(code, str) else None


def driver_error(error: BaseException) -> BaseException:
    """Return the driver's own exception behind SQLAlchemy's adapter for it."""
    inner = getattr(error, "orig", None)
    return inner if isinstance(inner, BaseException) else error


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


def translate_lost_connections(engine: Engine, where: str) -> None:
    """Make refused and broken connections DatabaseErrors; drivers raise a bare OSError for them."""

    def connect(
        dialect: Dialect, _: object, args: tuple[Any, ...], params: dict[str, Any]
    ) -> object:
        try:
            return dialect.connect(*args, **params)
        except OSError as error:
            raise unreachable(where, error) from error

    def broken(context: ExceptionContext) -> BaseException | None:
        original = context.original_exception
        if isinstance(original, OSError):
            context.is_disconnect = True
            return unreachable(where, original)
        return None

    event.listen(engine, "do_connect", connect)
    event.listen(engine, "handle_error", broken)


def _integrity_error(error: exc.IntegrityError) -> GlamBaseError:
    code = status_code(error.orig) or ""
    table, columns, constraint = _violated(error)
    details: dict[str, object] = {"error_code": code}
    if constraint:
        details["constraint"] = constraint
    if columns:
        details["columns"] = columns
    row = f"A row of {table}" if table else "A row"
    if code in _UNIQUE:
        same = f" with the same {', '.join(columns)}" if columns else ""
        return ConflictError(
            f"{row}{same} exists already.", conflicting_resource=table, details=details
        )
    if code in _FOREIGN:
        return ConflictError(
            f"{row} refers to one that does not exist, or is still referred to.",
            conflicting_resource=table,
            details=details,
        )
    field = columns[0] if len(columns) == 1 else None
    if code in _NOT_NULL:
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
    key = _PG_KEY.match(getattr(orig, "detail", None) or "")
    columns = [column] if column else key[1].split(", ") if key else []
    found = _SQLITE_FAILED.search(str(orig)) if hasattr(orig, "sqlite_errorname") else None
    if found and "CHECK" in str(orig):
        constraint = found[1]
    elif found:
        names = [name.rpartition(".") for name in found[1].split(", ")]
        table, columns = names[0][0] or None, [name[2] for name in names]
    return table or describe(error.statement or "").collection, columns, constraint


def _database_error(error: exc.DBAPIError) -> DatabaseError:
    code = status_code(error.orig)
    statement = describe(error.statement or "")
    what = statement.summary or "The database connection"
    return DatabaseError(
        f"{what} failed: {_reason(error, code)}.",
        operation=statement.operation or None,
        table=statement.collection,
        error_code=code,
        retryable=error.connection_invalidated or _is_retryable(code),
    )


def _is_retryable(code: str | None) -> bool:
    if code is None or code == _DISK_FULL:
        return False
    return code in _RETRYABLE or code.startswith(_RETRYABLE_CLASSES)


def _reason(error: exc.DBAPIError, code: str | None) -> str:
    orig = driver_error(error.orig) if error.orig is not None else error
    text = str(orig.args[0]).rstrip(".") if orig.args else ""
    speaks = (
        _SPEAKING_SQLITE.match(text) is not None
        if code is None or code.startswith("SQLITE")
        else code.startswith(_SPEAKING_CLASSES) and code != _SYNTAX_ERROR
    )
    name = type(orig).__name__
    return f"{text} ({code or name})" if speaks else f"{name} ({code})" if code else name
