from __future__ import annotations

import sqlite3

import pytest
from sqlalchemy import exc
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect

from glam_sdk.database.errors import translate, translated
from glam_sdk.database.redaction import status_code
from glam_sdk.database.sqlstates import is_retryable
from glam_sdk.database.types import NaiveDatetimeError
from glam_sdk.errors import ConflictError, DatabaseError, GlamBaseError, ValidationError

SECRET = "ann@example.com"


def postgres_error(driver_class: str, message: str, **attributes: str) -> exc.DBAPIError:
    asyncpg = pytest.importorskip("asyncpg")
    dbapi = asyncpg_dialect.import_dbapi()
    driver = getattr(asyncpg.exceptions, driver_class)(message)
    for name, value in attributes.items():
        setattr(driver, name, value)
    translate_to = dbapi._asyncpg_error_translate
    adapter = next(translate_to[c] for c in type(driver).__mro__ if c in translate_to)
    wrapped = exc.DBAPIError.instance(
        "INSERT INTO users (email) VALUES ($1)", [SECRET], adapter(message, driver), dbapi.Error,
        hide_parameters=True, dialect=asyncpg_dialect(dbapi=dbapi),
    )  # fmt: skip
    assert isinstance(wrapped, exc.DBAPIError)
    return wrapped


def shown(error: BaseException) -> str:
    assert isinstance(error, GlamBaseError)
    return f"{error} {error.to_dict()} {error!r}"


def test_a_unique_violation_names_the_column_and_not_the_value() -> None:
    """The row belongs to a user; its values stay out of messages, details and logs."""
    error = translate(
        postgres_error(
            "UniqueViolationError",
            'duplicate key value violates unique constraint "uq_users_email"',
            detail=f"Key (email)=({SECRET}) already exists.",
            table_name="users",
            constraint_name="uq_users_email",
        )
    )
    assert isinstance(error, ConflictError)
    assert error.details == {
        "conflicting_resource": "users", "columns": ["email"],
        "constraint": "uq_users_email", "error_code": "23505",
    }  # fmt: skip
    assert SECRET not in shown(error)


def test_a_missing_value_is_the_field_s_fault() -> None:
    """NOT NULL reads like a validation error of that column."""
    error = translate(
        postgres_error(
            "NotNullViolationError", "null value", table_name="users", column_name="email",
            detail=f"Failing row contains (1, {SECRET}).",
        )
    )  # fmt: skip
    assert isinstance(error, ValidationError)
    assert error.details["field"] == "email"
    assert SECRET not in shown(error)


@pytest.mark.parametrize(
    ("driver_class", "sqlstate", "retryable"),
    [
        ("SerializationError", "40001", True),
        ("DeadlockDetectedError", "40P01", True),
        ("QueryCanceledError", "57014", True),
        ("TooManyConnectionsError", "53300", True),
        ("UndefinedTableError", "42P01", False),
        ("DivisionByZeroError", "22012", False),
        ("DiskFullError", "53100", False),
        ("TransactionResolutionUnknownError", "08007", False),
        ("IdleInTransactionSessionTimeoutError", "25P03", True),
    ],
)
def test_only_what_may_pass_is_retryable(
    driver_class: str, sqlstate: str, *, retryable: bool
) -> None:
    """The same statement again helps against a conflict, never against a mistake."""
    error = translate(postgres_error(driver_class, "it said so"))
    assert isinstance(error, DatabaseError)
    assert error.details["error_code"] == sqlstate
    assert error.details["retryable"] is retryable
    assert (error.details["operation"], error.details["table"]) == ("INSERT", "users")


# By PostgreSQL's appendix A: what passes by itself, and what does not.
MAY_PASS = """
    08000 08001 08003 08004 08006 08P01 25P03 25P04 40001 40P01 53000 53200 53300 55P03 57014
    57P01 57P02 57P03 57P05 SQLITE_BUSY SQLITE_BUSY_SNAPSHOT SQLITE_LOCKED
"""
STAYS = """
    08007 0A000 21000 22012 23505 23514 25006 25P02 28P01 2BP01 3D000 40002 40003 42601 42P01
    53100 53400 55006 57P04 58030 P0001 P0004 XX000 XX001 SQLITE_ERROR SQLITE_FULL SQLITE_READONLY
"""


@pytest.mark.parametrize("code", MAY_PASS.split())
def test_what_passes_by_itself_is_worth_another_try(code: str) -> None:
    """Collisions, timeouts, a server that is busy, starting or out of reach."""
    assert is_retryable(code)


@pytest.mark.parametrize("code", [None, *STAYS.split()])
def test_what_stays_wrong_or_unknown_is_not_tried_again(code: str | None) -> None:
    """Mistakes, full disks, and transactions nobody knows the outcome of."""
    assert not is_retryable(code)


def test_a_value_that_does_not_fit_is_the_callers_fault() -> None:
    """A text too long for its column is no failure of the database."""
    error = translate(postgres_error("StringDataRightTruncationError", f"too long: {SECRET}"))
    assert isinstance(error, ValidationError)
    assert error.details == {"error_code": "22001"}
    assert SECRET not in shown(error)


def test_what_a_trigger_refuses_is_said_to_be_refused_by_a_trigger() -> None:
    """Not that the connection failed; what the trigger says may hold a row's values."""
    error = translate(postgres_error("RaiseError", f"no {SECRET}"))
    assert isinstance(error, DatabaseError)
    assert error.message == (
        "INSERT users was refused by a trigger or function of the database (P0001)."
    )
    assert (error.retryable, error.error_code) == (False, "P0001")


def test_a_value_the_server_quotes_is_not_repeated() -> None:
    """Class 22 messages quote the value that did not fit."""
    message = f'invalid input syntax for type integer: "{SECRET}"'
    error = translate(postgres_error("InvalidTextRepresentationError", message))
    assert SECRET not in shown(error)


def test_a_message_about_the_schema_is_kept() -> None:
    """A missing table can be mended only by who knows its name."""
    message = 'relation "users" does not exist'
    assert message in shown(translate(postgres_error("UndefinedTableError", message)))


def test_what_the_driver_could_not_ask_is_said() -> None:
    """A list that is too long is found by who sent it, and has no code."""
    message = "the number of query arguments cannot exceed 32767"
    error = exc.DBAPIError("SELECT 1", None, pytest.importorskip("asyncpg").InterfaceError(message))
    assert message in shown(translate(error))


def test_a_mistake_in_the_program_stays_what_it_is() -> None:
    """Calling it a database error would send its reader to the wrong place."""
    mistake = exc.InvalidRequestError("wrong")
    assert translate(mistake) is mistake


def test_what_a_type_refuses_shows_the_value_only_where_its_author_said_so() -> None:
    """Python's own errors quote it; an error class that a type has for this is its answer."""
    ours = translate(exc.StatementError("x", "UPDATE users", None, ValueError(f"not {SECRET}")))
    assert isinstance(ours, ValidationError)
    assert SECRET not in shown(ours)
    naive = NaiveDatetimeError("no zone")
    assert translate(exc.StatementError("x", "SELECT 1", None, naive)) is naive


def test_the_cause_with_its_values_is_not_printed() -> None:
    """A traceback in the log shows our error alone."""
    with pytest.raises(ConflictError) as caught, translated():
        raise postgres_error("UniqueViolationError", "dup", detail=f"Key (email)=({SECRET})")
    assert caught.value.__suppress_context__
    assert caught.value.__cause__ is None


def test_sqlite_names_its_errors_itself() -> None:
    """SQLite has no SQLSTATE; its own symbol says as much."""
    connection = sqlite3.connect(":memory:")
    with pytest.raises(sqlite3.OperationalError) as caught:
        connection.execute("SELECT * FROM nowhere")
    connection.close()
    assert status_code(caught.value) == "SQLITE_ERROR"
