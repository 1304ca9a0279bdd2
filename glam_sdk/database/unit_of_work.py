"""Do the writes of one use case in one transaction: all of them happen, or none.

Flow: step 4, between the handler and its repositories; in a consumer, around the handler.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase

from glam_sdk._internal.guard import guarded
from glam_sdk.database.errors import raise_translated
from glam_sdk.database.repository import Repository
from glam_sdk.database.session import read_only_error

M = TypeVar("M", bound=DeclarativeBase)


class EventWriter(Protocol):
    """Write an event so that it is kept if, and only if, the transaction commits."""

    def write(self, session: AsyncSession, event: object) -> None:
        """Add the event to the session's transaction."""
        ...


class UnitOfWorkHost(Protocol):
    """Open sessions for a unit of work and hear what became of it."""

    @property
    def event_writer(self) -> EventWriter | None:
        """Who writes emitted events, if anybody."""
        ...

    def open_session(self, *, read_only: bool) -> AsyncSession:
        """Return a new session; it connects when first used."""
        ...

    async def close_session(self, session: AsyncSession) -> None:
        """Roll back what is open and give the connection back, also when cancelled."""
        ...

    def events_committed(self) -> None:
        """Hear that events were committed."""
        ...


class UnitOfWork:
    """Commit when the block ends well; roll back when it raises or is cancelled.

    Get one from ``Database.unit_of_work()`` and enter it once. The connection is taken at the
    first statement, not at entry.
    """

    __slots__ = ("_after_commit", "_emitted", "_host", "_read_only", "_session", "_stage")

    def __init__(self, host: UnitOfWorkHost, *, read_only: bool = False) -> None:
        self._host = host
        self._read_only = read_only
        self._session: AsyncSession | None = None
        self._after_commit: list[Callable[[], None]] = []
        self._emitted = False
        self._stage: Literal["new", "open", "closed"] = "new"

    @property
    def session(self) -> AsyncSession:
        """The SQLAlchemy session, for what a repository does not offer."""
        if self._session is None:
            if self._stage != "open":
                raise RuntimeError(
                    f"The unit of work is not open (it is {self._stage}). "
                    "Use it inside: async with db.unit_of_work()."
                )
            self._session = self._host.open_session(read_only=self._read_only)
        return self._session

    def repository(self, model: type[M]) -> Repository[M]:
        """Return the repository of a model in this transaction."""
        return Repository(self.session, model)

    def emit(self, event: object) -> None:
        """Write an event in the same transaction; it is sent after the commit.

        Raises:
            RuntimeError: If the database has no event writer, or the unit of work is read-only.
        """
        writer = self._host.event_writer
        if writer is None:
            raise RuntimeError(
                f"{type(event).__name__} cannot be emitted: the database has no event writer. "
                "Give it one: Database(settings, event_writer=OutboxWriter(service_name))."
            )
        if self._read_only:
            raise RuntimeError(
                f"{type(event).__name__} cannot be emitted: this unit of work is read-only."
            )
        writer.write(self.session, event)
        self._emitted = True

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the transaction has committed, and never if it does not.

        The commit can't be taken back by then: an exception is logged and goes no further.
        """
        self._after_commit.append(callback)

    async def __aenter__(self) -> Self:
        if self._stage != "new":
            raise RuntimeError("A unit of work is entered once. Open another one.")
        self._stage = "open"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        try:
            if error is None and self._session is not None:
                await self._commit(self._session)
        except exc.SQLAlchemyError as failure:
            raise_translated(failure)
            raise
        finally:
            session, self._session = self._session, None
            self._stage = "closed"
            if session is not None:
                await self._host.close_session(session)
        if isinstance(error, exc.SQLAlchemyError):
            raise_translated(error)
        if error is None:
            self._run_callbacks()

    async def _commit(self, session: AsyncSession) -> None:
        if not self._read_only:
            await session.commit()
        elif session.new or session.deleted or session.dirty:
            raise read_only_error()

    def _run_callbacks(self) -> None:
        if self._emitted:
            self._host.events_committed()
        for callback in self._after_commit:
            with guarded("database.after_commit"):
                callback()
