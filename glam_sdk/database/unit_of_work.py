"""Do the writes of one use case in one transaction: all of them happen, or none.

Flow: step 4, between the handler and its repositories; in a consumer, around the handler.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, Protocol, Self, TypeVar
from uuid import UUID

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm.exc import DetachedInstanceError

from glam_sdk._internal.guard import guarded
from glam_sdk.database.errors import outcome_unknown, raise_translated
from glam_sdk.database.repository import Repository
from glam_sdk.database.scope import limit_to_merchant, merchant_of
from glam_sdk.database.session import read_only_error
from glam_sdk.database.transactions import TransactionTelemetry

M = TypeVar("M", bound=DeclarativeBase)

Isolation = Literal["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]


class EventWriter(Protocol):
    """Write an event so that it is kept if, and only if, the transaction commits."""

    def write(self, session: AsyncSession, event: object) -> None:
        """Add the event to the session's transaction."""
        ...


@dataclass(frozen=True, slots=True)
class TransactionOptions:
    """Say how a transaction is to be."""

    read_only: bool = False
    isolation: Isolation | None = None
    merchant_id: UUID | None = None


class UnitOfWorkHost(Protocol):
    """Open sessions for a unit of work and hear what became of it."""

    @property
    def event_writer(self) -> EventWriter | None:
        """Who writes emitted events, if anybody."""
        ...

    def begin_telemetry(self, options: TransactionOptions) -> TransactionTelemetry | None:
        """Open what observes a transaction, if anything does."""
        ...

    def open_session(self, options: TransactionOptions) -> AsyncSession:
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

    __slots__ = (
        "_after_commit", "_emitted", "_host", "_options", "_session", "_stage", "_telemetry",
    )  # fmt: skip

    def __init__(self, host: UnitOfWorkHost, options: TransactionOptions) -> None:
        self._host = host
        self._options = options
        self._session: AsyncSession | None = None
        self._after_commit: list[Callable[[], None]] = []
        self._emitted = False
        self._stage: Literal["new", "open", "closed"] = "new"
        self._telemetry: TransactionTelemetry | None = None

    @property
    def session(self) -> AsyncSession:
        """The SQLAlchemy session, for what a repository does not offer."""
        if self._session is None:
            if self._stage != "open":
                raise RuntimeError(
                    f"The unit of work is not open (it is {self._stage}). "
                    "Use it inside: async with db.unit_of_work()."
                )
            self._session = self._host.open_session(self._options)
            if self._options.merchant_id is not None:
                self.limit_to_merchant(self._options.merchant_id)
        return self._session

    @property
    def merchant_id(self) -> UUID | None:
        """The one merchant whose rows this transaction may touch, if it was limited."""
        return merchant_of(self.session.sync_session)

    def repository(self, model: type[M]) -> Repository[M]:
        """Return the repository of a model in this transaction."""
        return Repository(self.session, model)

    def limit_to_merchant(self, merchant_id: UUID) -> None:
        """Hide and protect every other merchant's rows until the end; it can't be undone.

        It holds for every statement on ``MerchantMixin`` models, relationships and ``session``
        included. What can't be limited, such as a SQL text, is refused.

        Raises:
            RuntimeError: When it is limited to another, or has loaded another's rows already.
        """
        limit_to_merchant(self.session.sync_session, merchant_id)

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
        if self._options.read_only:
            raise RuntimeError(
                f"{type(event).__name__} cannot be emitted: this unit of work is read-only."
            )
        writer.write(self.session, event)
        self._emitted = True

    def after_commit(self, callback: Callable[[], None]) -> None:
        """Call back once the transaction has committed, and never if it does not.

        Inside a savepoint that is rolled back, the callback is forgotten with the rest. The commit
        can't be taken back by then: an exception is logged and goes no further.
        """
        self._after_commit.append(callback)

    @asynccontextmanager
    async def savepoint(self) -> AsyncIterator[None]:
        """Let a part of the work fail alone: what its block wrote is undone when it raises.

        The error goes on; catch it around the block. Entities changed in it must be loaded anew.
        """
        kept, emitted = len(self._after_commit), self._emitted
        try:
            async with self.session.begin_nested():
                yield
        except BaseException as error:
            del self._after_commit[kept:]
            self._emitted = emitted
            if isinstance(error, exc.SQLAlchemyError):
                raise_translated(error)
            raise

    async def __aenter__(self) -> Self:
        if self._stage != "new":
            raise RuntimeError("A unit of work is entered once. Open another one.")
        self._stage = "open"
        self._telemetry = self._host.begin_telemetry(self._options)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        failure = error
        try:
            await self._end(error)
        except BaseException as raised:
            failure = raised
            raise
        finally:
            if self._telemetry is not None:
                self._telemetry.close(failure)
        if error is None:
            self._run_callbacks()

    async def _end(self, error: BaseException | None) -> None:
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
        unloaded = error.orig if isinstance(error, exc.StatementError) else error
        if isinstance(unloaded, (exc.MissingGreenlet, DetachedInstanceError)):
            unloaded.add_note(
                "An attribute that was not loaded was read. Load it with the entity: "
                "repository.with_options(selectinload(...)), or await entity.awaitable_attrs.x."
            )
        if isinstance(error, exc.SQLAlchemyError):
            raise_translated(error)

    async def _commit(self, session: AsyncSession) -> None:
        if self._options.read_only:
            if session.new or session.deleted or session.dirty:
                raise read_only_error()
            # Unlike a rollback, closing leaves entities as they were loaded.
            await session.close()
            return
        try:
            await session.commit()
        except exc.DBAPIError as failure:
            # What failed without a statement is the COMMIT itself.
            if failure.connection_invalidated and failure.statement is None:
                raise outcome_unknown(failure) from None  # the cause's text may hold a row
            raise

    def _run_callbacks(self) -> None:
        if self._emitted:
            self._host.events_committed()
        for callback in self._after_commit:
            with guarded("database.after_commit"):
                callback()
