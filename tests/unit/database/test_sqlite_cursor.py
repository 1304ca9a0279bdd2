"""Our cursor of SQLite is aiosqlite's in all but the number of trips to the thread."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from glam_sdk.database.sqlite_cursor import OneTripConnection

ROWS = 250
Connect = Callable[[Path], aiosqlite.Connection]


def ours(path: Path) -> aiosqlite.Connection:
    return OneTripConnection(partial(sqlite3.connect, path, check_same_thread=False))


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


@pytest.fixture(params=[ours, aiosqlite.connect], ids=["ours", "theirs"])
async def connection(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[aiosqlite.Connection]:
    connect: Connect = request.param
    async with connect(tmp_path / "db.sqlite3") as made:
        await made.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
        names = [(f"n{number}",) for number in range(ROWS)]
        await made.executemany("INSERT INTO things (name) VALUES (?)", names)
        await made.commit()
        yield made


ALL = "SELECT id FROM things ORDER BY id"
NUMBERS = [(number,) for number in range(1, ROWS + 1)]


@pytest.mark.parametrize("limit", [0, 1, 99, 100, 101, ROWS])
async def test_all_rows_come(connection: aiosqlite.Connection, limit: int) -> None:
    """However many come with the answer."""
    cursor = await connection.cursor()
    assert await cursor.execute(f"{ALL} LIMIT ?", (limit,)) is cursor
    assert [column[0] for column in cursor.description] == ["id"]
    assert list(await cursor.fetchall()) == NUMBERS[:limit]
    assert list(await cursor.fetchall()) == []
    await cursor.close()


async def test_rows_come_in_pieces(connection: aiosqlite.Connection) -> None:
    """One by one, in chunks of any size, and the rest."""
    async with connection.cursor() as cursor:
        await cursor.execute(ALL)
        found = [await cursor.fetchone()]
        for size in (1, 98, 30, 0):
            found += await cursor.fetchmany(size)
        found += await cursor.fetchmany()
        found += await cursor.fetchall()
        assert found == NUMBERS
        assert await cursor.fetchone() is None
        assert list(await cursor.fetchmany(5)) == []


async def test_a_cursor_can_be_iterated(connection: aiosqlite.Connection) -> None:
    """Across the end of what came with the answer."""
    async with connection.cursor() as cursor:
        await cursor.execute(ALL)
        assert [row async for row in cursor] == NUMBERS


async def test_a_cursor_executes_again(connection: aiosqlite.Connection) -> None:
    """What was left of the statement before is gone."""
    async with connection.cursor() as cursor:
        await cursor.execute(ALL)
        await cursor.execute("SELECT 1")
        assert await cursor.fetchall() == [(1,)]
        await cursor.execute(ALL)
        await cursor.execute("DELETE FROM things WHERE id = 1")
        assert cursor.description is None
        assert cursor.rowcount == 1
        assert list(await cursor.fetchall()) == []


async def test_a_write_tells_what_it_did(connection: aiosqlite.Connection) -> None:
    """Rows, the last key, and what RETURNING returns."""
    async with connection.cursor() as cursor:
        await cursor.execute("INSERT INTO things (name) VALUES ('new')")
        assert cursor.lastrowid == ROWS + 1
        await cursor.execute("UPDATE things SET name = 'x' WHERE id <= 3 RETURNING id")
        assert sorted(await cursor.fetchall()) == [(1,), (2,), (3,)]
        assert cursor.rowcount == 3
        await cursor.executemany("INSERT INTO things (name) VALUES (?)", [("a",), ("b",)])
        assert cursor.rowcount == 2


async def test_an_error_is_sqlites_own_and_leaves_the_connection_usable(
    connection: aiosqlite.Connection,
) -> None:
    """What was fetched before is gone with it, and other cursors go on."""
    async with connection.cursor() as cursor, connection.cursor() as other:
        await cursor.execute(ALL)
        with pytest.raises(sqlite3.OperationalError, match="nowhere"):
            await cursor.execute("SELECT * FROM nowhere")
        await other.execute("SELECT 1")
        assert await other.fetchone() == (1,)


@pytest.mark.parametrize(
    "sql", ["INSERT INTO things VALUES (1, 'again')", "SELECT CAST(x'ff' AS TEXT)"]
)
async def test_an_error_that_is_kept_keeps_no_statement_open(tmp_path: Path, sql: str) -> None:
    """Neither one that cannot be executed nor one whose rows cannot be read; nor a batch."""
    connection = ours(tmp_path / "kept.sqlite3")
    async with connection:
        await connection.execute("PRAGMA journal_mode = wal")
        await connection.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, name TEXT)")
        cursor = await connection.cursor()
        await cursor.executemany("INSERT INTO things VALUES (?, ?)", [(1, "a"), (2, "b")])
        await connection.commit()
        await cursor.close()
        failing = await connection.cursor()
        with pytest.raises(sqlite3.Error) as kept:
            await failing.execute(sql)
        await connection.rollback()
    # SQLite takes its journal away with the last handle of the file.
    assert names(tmp_path) == ["kept.sqlite3"]
    assert kept.value is not None


async def test_a_closed_cursor_holds_no_lock(connection: aiosqlite.Connection) -> None:
    """A read that was not read to its end does not keep the table from being dropped."""
    cursor = await connection.cursor()
    await cursor.execute(ALL)
    await cursor.close()
    await connection.execute("DROP TABLE things")


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Return what is asked of a connection's thread from now on."""
    found: list[object] = []
    execute: Any = aiosqlite.Connection._execute

    async def counted(self: aiosqlite.Connection, function: Any, *arguments: Any) -> Any:
        found.append(function)
        return await execute(self, function, *arguments)

    monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
    return found


async def test_an_answer_is_one_trip(connection: aiosqlite.Connection, trips: list[object]) -> None:
    """That is what it is for; aiosqlite makes four."""
    trips.clear()
    async with connection.cursor() as cursor:
        await cursor.execute(f"{ALL} LIMIT 5")
        await cursor.fetchall()
    assert len(trips) == (1 if isinstance(connection, OneTripConnection) else 4)


async def test_a_batch_is_one_trip(connection: aiosqlite.Connection, trips: list[object]) -> None:
    """Nothing is left of it that would have to be closed; aiosqlite makes three."""
    trips.clear()
    async with connection.cursor() as cursor:
        await cursor.executemany("DELETE FROM things WHERE id = ?", [(1,), (2,)])
        assert cursor.rowcount == 2
    assert len(trips) == (1 if isinstance(connection, OneTripConnection) else 3)


async def test_a_cursor_executes_again_after_a_batch(connection: aiosqlite.Connection) -> None:
    """Another statement or another batch, whether the last one failed or not."""
    add = "INSERT INTO things VALUES (?, 'new')"
    async with connection.cursor() as cursor:
        await cursor.executemany(add, [(1001,), (1002,)])
        assert await cursor.fetchall() == []
        with pytest.raises(sqlite3.IntegrityError):
            await cursor.executemany(add, [(1003,), (1,)])
        await cursor.executemany(add, [(1004,)])
        assert cursor.rowcount == 1
        await cursor.execute("SELECT id FROM things WHERE id > 1000 ORDER BY id")
        assert await cursor.fetchall() == [(1001,), (1002,), (1003,), (1004,)]


async def test_a_cursor_is_itself_after_a_batch(connection: aiosqlite.Connection) -> None:
    """What was set on it holds for the next statement, which may be a script."""
    async with connection.cursor() as cursor:
        cursor.row_factory, cursor.arraysize = sqlite3.Row, 3
        await cursor.executemany("DELETE FROM things WHERE id = ?", [(1,), (2,)])
        await cursor.execute(ALL)
        rows = list(await cursor.fetchmany())
        assert (len(rows), cursor.arraysize, type(rows[0])) == (3, 3, sqlite3.Row)
        await cursor.executemany("DELETE FROM things WHERE id = ?", [(3,), (4,)])
        await cursor.executescript("DELETE FROM things; INSERT INTO things VALUES (1, 'new')")
        await cursor.execute(ALL)
        assert len(list(await cursor.fetchall())) == 1


async def test_a_closed_cursor_executes_nothing(connection: aiosqlite.Connection) -> None:
    """Whatever it did before: one statement, a batch or a script."""

    async def closed(how: str) -> aiosqlite.Cursor:
        cursor = await connection.cursor()
        if how == "many":
            await cursor.executemany("DELETE FROM things WHERE id = ?", [(1,), (2,)])
        elif how == "script":
            await cursor.executescript("DELETE FROM things WHERE id = 3")
        elif how == "one":
            await cursor.execute("DELETE FROM things WHERE id = 4")
        await cursor.close()
        return cursor

    for how in ("nothing", "one", "many", "script"):
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            await (await closed(how)).execute("SELECT 1")
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            await (await closed(how)).executemany("DELETE FROM things WHERE id = ?", [(1,)])
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            await (await closed(how)).executescript("SELECT 1")
