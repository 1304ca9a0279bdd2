"""Take the values of rows out of a driver's error before anybody can print it.

PostgreSQL quotes the row it refuses (``Key (email)=(ann@example.com) already exists``), and the
text goes from the driver's error through SQLAlchemy's adapter into SQLAlchemy's own: a log line
with the traceback of any of them would show it. So all three are rewritten as soon as they are
raised, and who catches them sees names only.
"""

from __future__ import annotations

import re
from typing import Final

from sqlalchemy import event, exc
from sqlalchemy.engine import Engine, ExceptionContext

from glam_sdk._internal.guard import guarded
from glam_sdk.database.statements import describe

# Classes whose message names objects of the schema or the server, never a row's values.
_SPEAKING_CLASSES: Final = ("08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58")
_SYNTAX_ERROR: Final = "42601"  # quotes what it could not read
# Of SQLite, and of asyncpg where it asked no server.
_SPEAKING_TEXT: Final = re.compile(
    r"no such (?:table|column)|database (?:table )?is locked|unable to open database file"
    r"|attempt to write a readonly|disk I/O error|database or disk is full|file is not a database"
    r"|(?:UNIQUE|NOT NULL|CHECK|FOREIGN KEY) constraint failed"
    r"|Error binding parameter \S+ type '\w+' is not supported"
    r"|the number of query arguments cannot exceed|cannot perform operation: another operation"
)
_KEY: Final = re.compile(r"Key \((.*?)\)=\(")
_OF_A_VALUE: Final = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
_NAMED: Final = ("table_name", "column_name", "constraint_name")


def refuses_value(error: BaseException | None) -> bool:
    """Tell whether Python or SQLAlchemy found that a value is none of its column's type.

    The text of such an error quotes the value. An error class of the type's own author does not.
    """
    return isinstance(error, _OF_A_VALUE) and type(error).__module__ in ("builtins", "decimal")


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


def key_columns(driver: BaseException | None) -> list[str]:
    """Return the columns of the key that a constraint refused, where the driver tells."""
    key = _KEY.match(getattr(driver, "detail", None) or "")
    return key[1].split(", ") if key else []


def reason(driver: BaseException, code: str | None) -> str:
    """Say why a statement failed: in the database's words where they hold no value.

    Args:
        driver: The driver's own exception.
        code: Its SQLSTATE or SQLite's name.
    """
    name = type(driver).__name__
    if _speaks(driver, code):
        return f"{str(driver.args[0]).rstrip('.')} ({code or name})"
    return f"{name} ({code})" if code else name


def hide_values(engine: Engine) -> None:
    """Let no error of an engine show the values of a row, whoever prints it."""
    event.listen(engine, "handle_error", _hide)


def _speaks(driver: BaseException, code: str | None) -> bool:
    if not driver.args:
        return False
    if code is None or code.startswith("SQLITE"):
        return _SPEAKING_TEXT.match(str(driver.args[0])) is not None
    if code == _SYNTAX_ERROR or not code.startswith(_SPEAKING_CLASSES):
        return False
    # What a trigger raises has whatever text its author made, whatever its code.
    where = (getattr(driver, "context", None) or "").partition("\n")[0]
    return not where.endswith("at RAISE")


def _hide(context: ExceptionContext) -> None:
    wrapped, adapter = context.sqlalchemy_exception, context.original_exception
    if not isinstance(wrapped, exc.DBAPIError):
        if isinstance(wrapped, exc.StatementError) and refuses_value(adapter):
            said = type(adapter).__name__
            adapter.args, wrapped.args = (said,), (f"(builtins.{said}) a value was refused",)
        return
    with guarded("database.redaction"):
        driver = driver_error(adapter)
        code = status_code(adapter)
        said = reason(driver, code)
        if not _speaks(driver, code):
            named = (str(getattr(driver, name, None) or "") for name in _NAMED)
            said = " ".join([said, *filter(None, named)])
            driver.args = (said,)
        columns = ", ".join(key_columns(driver))
        for attribute, shown in (("detail", f"Key ({columns})=(…)" if columns else None),
                                 ("hint", None)):  # fmt: skip
            if getattr(driver, attribute, None):
                setattr(driver, attribute, shown)
        # Where the driver itself could not convert a value, its cause quotes it once more.
        driver.__cause__ = driver.__context__ = None
        if adapter is not driver:
            adapter.args = (said,)
        wrapped.args = (f"({type(adapter).__module__}.{type(adapter).__name__}) {said}",)
        if wrapped.statement:
            wrapped.statement = describe(wrapped.statement).text
