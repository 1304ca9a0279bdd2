"""Ask SQLite in one trip to its thread.

Each call of aiosqlite is a trip to the connection's thread and back, which costs more than what
SQLite does meanwhile. SQLAlchemy makes four of them for a statement: for a cursor, to execute, to
fetch and to close.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final
from weakref import WeakSet

import aiosqlite
from aiosqlite.context import contextmanager

_FETCHED_AT_ONCE: Final = 100
"""Rows that come with the answer; the rest of a long one stays where it is until asked for."""


class OneTripCursor(aiosqlite.Cursor):
    """Execute, fetch the first rows, and close if they are all, in one trip.

    A statement that fails closes the cursor.
    """

    _conn: OneTripConnection
    _rows: Sequence[Any] = ()
    _has_more = False
    _is_spent = False
    _is_closed = False

    async def execute(self, sql: str, parameters: Iterable[Any] | None = None) -> aiosqlite.Cursor:
        """Execute a statement and fetch its first rows."""
        await self._trip(self._ask, sql, () if parameters is None else parameters)
        return self

    async def executemany(self, sql: str, parameters: Iterable[Iterable[Any]]) -> aiosqlite.Cursor:
        """Execute a statement for each set of parameters."""
        await self._trip(self._do_all, sql, parameters)
        return self

    async def executescript(self, sql_script: str) -> aiosqlite.Cursor:
        """Execute several statements."""
        await self._trip(self._do_script, sql_script)
        return self

    async def _trip(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return await self._execute(function, *arguments)  # type: ignore[no-untyped-call]  # theirs

    def _do_all(self, sql: str, parameters: Iterable[Iterable[Any]]) -> None:
        self._begin()
        try:
            self._cursor.executemany(sql, parameters)  # type: ignore[arg-type]  # any iterable will do
        finally:
            # Else it keeps the statement, and so a closed database, open. It still says what it
            # did; whoever executes once more gets another one.
            self._is_spent = True
            self._cursor.close()

    def _do_script(self, sql: str) -> None:
        self._begin()
        self._cursor.executescript(sql)

    def _begin(self) -> None:
        if self._is_closed:
            raise sqlite3.ProgrammingError("Cannot operate on a closed cursor.")
        self._rows, self._has_more = (), False
        if self._is_spent:
            self._is_spent = False
            spent, self._cursor = self._cursor, self._cursor.connection.cursor()
            self._cursor.row_factory, self._cursor.arraysize = spent.row_factory, spent.arraysize

    def _ask(self, sql: str, parameters: Iterable[Any]) -> None:
        self._begin()
        try:
            self._cursor.execute(sql, parameters)  # type: ignore[arg-type]  # any iterable will do
            if self._cursor.description is not None:
                self._rows = self._cursor.fetchmany(_FETCHED_AT_ONCE)
                self._has_more = len(self._rows) == _FETCHED_AT_ONCE
                if self._has_more:
                    self._conn.being_read.add(self._cursor)
        except BaseException:
            self._cursor.close()  # else it keeps the statement, and so the database, open
            raise

    async def fetchone(self) -> Any:
        """Return the next row, or None."""
        return next(iter(await self.fetchmany(1)), None)

    async def fetchmany(self, size: int | None = None) -> list[Any]:
        """Return the next rows, ``arraysize`` of them by default."""
        wanted = self.arraysize if size is None else size
        rows, self._rows = list(self._rows[:wanted]), self._rows[wanted:]
        if self._has_more and len(rows) < wanted:
            rows += await self._trip(self._cursor.fetchmany, wanted - len(rows))
        return rows

    async def fetchall(self) -> list[Any]:
        """Return all rows that are left."""
        rows, self._rows = list(self._rows), ()
        if self._has_more:
            rows += await self._trip(self._cursor.fetchall)
        return rows

    async def close(self) -> None:
        """Let go of what was not fetched."""
        self._rows, self._is_closed = (), True
        if self._has_more:  # else the statement has ended by itself
            self._has_more = False
            await super().close()


class OneTripConnection(aiosqlite.Connection):
    """Be aiosqlite's connection with cursors that save trips."""

    def __init__(self, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__(connect, iter_chunk_size=_FETCHED_AT_ONCE)
        self.being_read: WeakSet[sqlite3.Cursor] = WeakSet()
        """Cursors that may have rows left; changed in the connection's thread."""

    @contextmanager
    async def cursor(self) -> aiosqlite.Cursor:
        """Return a new cursor, without a trip."""
        return OneTripCursor(self, self._conn.cursor())

    def let_go(self) -> None:
        """Close what is being read, as soon as the connection's thread comes to it.

        After an interrupt SQLite stops whatever comes, a rollback too, until no statement is open.
        """
        self._tx.put_nowait((None, self._close_cursors))

    def _close_cursors(self) -> None:
        for cursor in list(self.being_read):
            cursor.close()
