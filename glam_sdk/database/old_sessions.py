"""Keep the session manager that services moving over still hold; new code takes ``Database``."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypedDict

from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession

from glam_sdk.config import DatabaseSettings
from glam_sdk.database.component import Database
from glam_sdk.errors import ConfigurationError

__all__ = [
    "AsyncSession",
    "DatabaseHealth",
    "DatabaseSessionManager",
    "get_database_health",
    "get_database_manager",
    "set_database_manager",
]


class DatabaseHealth(TypedDict):
    """Say how a database is, in the old form."""

    status: str
    detail: str


class DatabaseSessionManager:
    """Open sessions that commit when their block ends well and roll back when it raises.

    Args:
        database: The service's, as from ``service.use_database()``, or settings to make one from.
    """

    def __init__(self, database: Database | DatabaseSettings) -> None:
        self._database = database if isinstance(database, Database) else Database(database)

    @property
    def database(self) -> Database:
        """The database it stands on."""
        return self._database

    @property
    def engine(self) -> AsyncEngine:
        """The SQLAlchemy engine."""
        return self._database.engine

    async def init(self) -> None:
        """Connect; needless for a database that starts with its service."""
        await self._database.start()

    async def close(self) -> None:
        """Close every connection."""
        await self._database.stop()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """Open a session in a transaction of its own."""
        async with self._database.unit_of_work() as unit:
            yield unit.session

    async def health(self) -> DatabaseHealth:
        """Ask the database for a sign of life."""
        check = await self._database.check()
        return DatabaseHealth(
            status="healthy" if check.healthy else "unhealthy", detail=check.detail
        )


class _Slot:
    """Hold the process's manager: the old functions have no other way to find it."""

    manager: DatabaseSessionManager | None = None


def set_database_manager(manager: DatabaseSessionManager | None) -> None:
    """Make a manager the one that ``get_db_session`` uses; None forgets it."""
    _Slot.manager = manager


def get_database_manager() -> DatabaseSessionManager:
    """Return the manager of this process.

    Raises:
        ConfigurationError: When none was set.
    """
    manager = find_database_manager()
    if manager is None:
        raise ConfigurationError(
            "There is no database manager. Call set_database_manager(DatabaseSessionManager("
            "service.use_database())) at start-up, or use UnitOfWorkDep."
        )
    return manager


def find_database_manager() -> DatabaseSessionManager | None:
    """Return the manager of this process, if one was set."""
    return _Slot.manager


async def get_database_health() -> DatabaseHealth:
    """Ask the manager's database for a sign of life; without a manager it is unhealthy."""
    manager = find_database_manager()
    if manager is None:
        return DatabaseHealth(status="unhealthy", detail="no database manager was set")
    return await manager.health()
