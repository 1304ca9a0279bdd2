"""Make SQLite keep its promises: real transactions, foreign keys, readers beside a writer."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import event, exc
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.pool import PoolResetState

from glam_sdk.errors import DatabaseError

if TYPE_CHECKING:
    import aiosqlite

BEGIN: Final = "glam_sqlite_begin"
"""Execution option with the statement that begins a transaction; plain ``BEGIN`` by default.

``BEGIN IMMEDIATE`` takes the write lock at once and waits for it. A transaction that reads first
and then writes can't wait: SQLite fails it as soon as somebody else has written in between.
"""
WRITING: Final = "BEGIN IMMEDIATE"
QUERY_ONLY: Final = "glam_sqlite_query_only"
"""Execution option of transactions that SQLite lets write nothing, however they ask for it."""

_BUSY_TIMEOUT_S: Final = 5.0
_BUSY_PAUSE_S: Final = 0.02
_KNOWN_AIOSQLITE: Final = "0.22."
"""The versions whose connections and cursors we know well enough to save trips."""


def engine_options(url: URL, pool_options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of ``create_engine`` for a SQLite database.

    Args:
        url: Of the database.
        pool_options: As the settings have them.
    """
    connect_args = {
        "timeout": _BUSY_TIMEOUT_S,
        "async_creator_fn": _connect,
        "check_same_thread": False,  # a cursor is made in one thread and used in another
    }
    # Our own listener resets: a rollback is a trip to the connection's thread.
    options: dict[str, Any] = {
        "connect_args": connect_args,
        "pool_reset_on_return": None,
        **pool_options,
    }
    options["pool_pre_ping"] = False  # the connection is a file handle; it does not go stale
    if is_in_memory(url):
        # The database lives in one connection: units of work take turns on it.
        options |= {"pool_size": 1, "max_overflow": 0, "pool_recycle": -1}
    return options


def is_in_memory(url: URL) -> bool:
    """Tell whether the database vanishes with its connection."""
    return url.database in (None, "", ":memory:")


async def _connect(*where: Any, **how: Any) -> aiosqlite.Connection:
    import aiosqlite

    if aiosqlite.__version__.startswith(_KNOWN_AIOSQLITE):
        from glam_sdk.database.sqlite_cursor import OneTripConnection

        connection: aiosqlite.Connection = OneTripConnection(lambda: sqlite3.connect(*where, **how))
    else:
        connection = aiosqlite.connect(*where, **how)
    thread: Thread = connection._thread  # noqa: SLF001 - as SQLAlchemy does
    thread.daemon = True
    try:
        return await connection
    except Exception:
        # It reports its end to the event loop, which may be closed if nobody waits for it.
        await asyncio.to_thread(thread.join, _BUSY_TIMEOUT_S)
        raise


async def _wait_for(connection: aiosqlite.Connection, sql: str) -> None:
    """Execute what SQLite refuses at once while another connection holds the write lock."""
    deadline = time.monotonic() + _BUSY_TIMEOUT_S
    while True:
        try:
            await (await connection.execute(sql)).close()
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_BUSY_PAUSE_S)
        else:
            return


async def _abandon(connection: aiosqlite.Connection) -> None:
    await connection.interrupt()
    if (let_go := getattr(connection, "let_go", None)) is not None:  # one of ours
        let_go()
    await asyncio.shield(connection.rollback())


def prepare(engine: Engine) -> None:
    """Set up each new connection, and begin transactions where SQLAlchemy says so.

    Python's sqlite3 begins a transaction only before INSERT, UPDATE and DELETE, so reads would not
    repeat and savepoints would not be rolled back with what surrounds them.
    """

    def set_up(connection: Any, _: object) -> None:
        connection.isolation_level = None
        for pragma in ("journal_mode = WAL", "foreign_keys = ON"):
            connection.run_async(lambda driver, sql=f"PRAGMA {pragma}": _wait_for(driver, sql))

    def begin(connection: Connection) -> None:
        options = connection.get_execution_options()
        sql: str = options.get(BEGIN, "BEGIN")
        query_only: bool = options.get(QUERY_ONLY, False)
        raw: Any = connection.connection.dbapi_connection
        try:
            if connection.info.get(QUERY_ONLY, False) is not query_only:
                switch = f"PRAGMA query_only = {int(query_only)}"
                raw.run_async(lambda driver: driver.execute(switch))
                connection.info[QUERY_ONLY] = query_only
            # Not by a cursor of SQLAlchemy's: that is three trips to the connection's thread.
            raw.run_async(lambda driver: driver.execute(sql))
        except sqlite3.Error as error:
            raise exc.OperationalError(sql, None, error) from error
        except asyncio.CancelledError as error:
            connection.invalidate(error)  # it may still begin, with nobody to end it
            raise

    def reset(connection: Any, _record: object, state: PoolResetState) -> None:
        if not state.terminate_only and connection.driver_connection.in_transaction:
            connection.rollback()

    def give_up(connection: Any, _record: object, _error: object) -> None:
        # A cancelled statement would go on in its thread, and closing its connection leaves the
        # transaction open, write lock and all, until the last reference to its cursor is gone.
        with suppress(exc.MissingGreenlet, sqlite3.Error, ValueError):
            connection.run_async(_abandon)

    event.listen(engine, "connect", set_up)
    event.listen(engine, "invalidate", give_up)
    event.listen(engine, "reset", reset)
    event.listen(engine, "begin", begin)


def wait_for_others(connection: Connection, milliseconds: int) -> None:
    """Let a connection wait so long for whoever is writing; nothing on another database."""
    if connection.dialect.name == "sqlite":
        raw: Any = connection.connection.dbapi_connection
        pragma = f"PRAGMA busy_timeout = {milliseconds}"
        raw.run_async(lambda driver: driver.execute(pragma))


@contextmanager
def lenient(connection: Connection) -> Iterator[Callable[[], None]]:
    """Let tables be copied and dropped for the block; nothing on another database.

    SQLite changes a table by making another and dropping the first, which deletes what refers to
    its rows. Call what is yielded before the commit: it raises when references lead nowhere.

    Args:
        connection: Not in a transaction, where SQLite takes no notice of the setting.
    """
    if connection.dialect.name != "sqlite":
        yield lambda: None
        return

    def enforce(word: str) -> None:
        raw: Any = connection.connection.dbapi_connection
        raw.run_async(lambda driver: driver.execute(f"PRAGMA foreign_keys = {word}"))

    enforce("OFF")
    try:
        yield lambda: _verify(connection)
    finally:
        enforce("ON")


def _verify(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
    if broken:
        pairs = sorted({f"{child} to {parent}" for child, _, parent, _ in broken})
        raise DatabaseError(
            f"Rows would refer to rows that are not there: {', '.join(pairs)}. "
            "Nothing was changed; let the migration change or delete those rows first.",
            operation="migrate",
        )
