"""Give an endpoint the request's unit of work.

Flow: step 2 opens it; it commits after the handler returned and before the response is sent, so
that a client never reads a success that was not committed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Protocol

from fastapi import Depends
from starlette.requests import HTTPConnection

from glam_sdk.database import UnitOfWork
from glam_sdk.errors import InternalError


class UnitsOfWork(Protocol):
    """Name what the running service must offer for the dependency."""

    def unit_of_work(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Open a unit of work on the service's database."""
        ...


_OPEN = "glam.unit_of_work"


async def request_unit_of_work(connection: HTTPConnection) -> AsyncIterator[UnitOfWork]:
    """Open the request's unit of work, or give the one that is open: one request, one."""
    unit: UnitOfWork | None = connection.scope.get(_OPEN)
    if unit is not None:
        yield unit
        return
    runtime: UnitsOfWork | None = connection.scope.get("glam.runtime")
    if runtime is None:
        raise InternalError(
            "UnitOfWorkDep needs a running service. Call service.install(app) at start-up."
        )
    async with runtime.unit_of_work() as unit:
        connection.scope[_OPEN] = unit
        try:
            yield unit
        finally:
            connection.scope.pop(_OPEN, None)


UnitOfWorkDep = Annotated[UnitOfWork, Depends(request_unit_of_work, scope="function")]
