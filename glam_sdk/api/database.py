"""Give an endpoint a database session in the form services moving over know.

Flow: step 2. Without a manager of its own the session is that of the request's unit of work, so
that ``DBSessionDep`` and ``UnitOfWorkDep`` in one request are one transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import Depends
from starlette.requests import HTTPConnection

from glam_sdk.api.unit_of_work import request_unit_of_work
from glam_sdk.database.old_sessions import (
    AsyncSession,
    DatabaseHealth,
    find_database_manager,
    get_database_health,
    get_database_manager,
    set_database_manager,
)

__all__ = [
    "DBSessionDep",
    "DatabaseHealth",
    "get_database_health",
    "get_database_manager",
    "get_db_session",
    "set_database_manager",
]


async def get_db_session(connection: HTTPConnection) -> AsyncIterator[AsyncSession]:
    """Open a session that commits when the request is handled and rolls back when it raises.

    As ``Depends(get_db_session)`` it commits only after the response was sent, as FastAPI does it;
    ``DBSessionDep`` commits before.
    """
    manager = find_database_manager()
    if manager is not None:
        async with manager.session() as session:
            yield session
        return
    async with _request_unit(connection) as unit:
        yield unit.session


_request_unit = asynccontextmanager(request_unit_of_work)

DBSessionDep = Annotated[AsyncSession, Depends(get_db_session, scope="function")]
