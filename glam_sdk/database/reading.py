"""Load one kind of model: by key, by filters, page by page, chunk by chunk.

Flow: step 5. Each call is part of the caller's transaction.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

from opentelemetry.trace import Span
from sqlalchemy import ColumnElement, ScalarResult, Select, func, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapper
from sqlalchemy.orm.interfaces import ORMOption

from glam_sdk.database.deletion import INCLUDE_DELETED
from glam_sdk.database.entities import is_marked_deleted, joins_collections, not_found
from glam_sdk.database.errors import translated
from glam_sdk.database.operations import mark_failed, open_operation, operation
from glam_sdk.database.query import Keyset, KeysetPage, Order, Page, conditions, orders
from glam_sdk.database.values import at_least, checked_key, key_names

M = TypeVar("M", bound=DeclarativeBase)

Condition = ColumnElement[bool]
Orders = Order | Sequence[Order]

_SOFT_DELETE_COLUMNS = frozenset({"is_deleted", "deleted_at"})


class ReadRepository(Generic[M]):
    """Offer the everyday ways of reading one model; ``session`` has the rest.

    What narrows a list down is given as expressions (``Order.total > 10``), as exact values by
    name (``status="open"``), or both. Rows that a ``SoftDeleteMixin`` model marked as deleted are
    left out, unless a filter names ``is_deleted`` or ``deleted_at``.
    """

    __slots__ = ("_execution", "_mapper", "_options", "model", "session")

    def __init__(
        self,
        session: AsyncSession,
        model: type[M],
        *,
        options: Sequence[ORMOption] = (),
        include_deleted: bool = False,
    ) -> None:
        self.session = session
        self.model = model
        self._mapper: Mapper[M] = sa_inspect(model)
        self._options = tuple(options)
        self._execution: dict[str, Any] = {INCLUDE_DELETED: True} if include_deleted else {}

    def with_options(self, *options: ORMOption, include_deleted: bool = False) -> Self:
        """Return a repository that loads in another way.

        Args:
            *options: Loader options, such as ``selectinload(Order.lines)``.
            include_deleted: See rows marked as deleted too; deleting then removes them for good.
        """
        return type(self)(
            self.session,
            self.model,
            options=(*self._options, *options),
            include_deleted=include_deleted or bool(self._execution),
        )

    @operation
    async def find_by_id(self, entity_id: object, *, lock: bool = False) -> M | None:
        """Return the entity with this primary key (a tuple when it has several columns).

        Args:
            entity_id: Its primary key.
            lock: Read it anew and keep others from changing it until the transaction ends.
        """
        return await self._find(entity_id, lock=lock)

    @operation
    async def get(self, entity_id: object, *, lock: bool = False) -> M:
        """Return the entity with this primary key.

        Args:
            entity_id: Its primary key.
            lock: As for :meth:`find_by_id`.

        Raises:
            NotFoundError: If there is none.
        """
        entity = await self._find(entity_id, lock=lock)
        if entity is None:
            raise not_found(self.model, entity_id)
        return entity

    @operation
    async def find_one(self, *where: Condition, **filters: object) -> M | None:
        """Return the only entity that matches; several are an error."""
        return (await self._scalars(self._select(where, filters).limit(2), filters)).one_or_none()

    @operation
    async def find_all(
        self,
        *where: Condition,
        limit: int | None = None,
        offset: int = 0,
        order_by: Orders = (),
        **filters: object,
    ) -> Sequence[M]:
        """Return the entities that match, in the order of their primary key by default.

        Args:
            *where: Conditions, such as ``Order.total > 10``.
            limit: At most so many.
            offset: Leave out so many first.
            order_by: ``"created_at"``, ``"-created_at"`` or expressions; the key decides ties.
            **filters: Column name = value; ``None`` finds NULL.

        Raises:
            ValueError: For a column the model does not have.
            ValidationError: For a value that is none of its column's type.
        """
        at_least(0, limit=limit, offset=offset)
        return await self._list(where, filters, limit=limit, offset=offset, order_by=order_by)

    @operation
    async def exists(self, *where: Condition, **filters: object) -> bool:
        """Tell whether anything matches."""
        key = [getattr(self.model, name) for name in key_names(self._mapper)]
        statement = self._select(where, filters).with_only_columns(*key)
        found = await self.session.execute(
            statement.limit(1), execution_options=self._seeing(filters)
        )
        return found.first() is not None

    @operation
    async def count(self, *where: Condition, **filters: object) -> int:
        """Return how many entities match."""
        return await self._count(where, filters)

    @operation
    async def page(
        self,
        *where: Condition,
        page: int = 1,
        limit: int = 50,
        order_by: Orders = (),
        **filters: object,
    ) -> Page[M]:
        """Return one page and the number of all that match; two statements.

        Args:
            *where: Conditions.
            page: From 1.
            limit: Entities a page.
            order_by: As for :meth:`find_all`.
            **filters: Exact values by column name.
        """
        at_least(1, page=page, limit=limit)
        total = await self._count(where, filters)
        offset = (page - 1) * limit
        items: Sequence[M] = ()
        if offset < total:
            items = await self._list(where, filters, limit=limit, offset=offset, order_by=order_by)
        return Page(items, total, page, limit)

    @operation
    async def page_after(
        self,
        cursor: str | None,
        *where: Condition,
        limit: int = 50,
        order_by: Orders = (),
        **filters: object,
    ) -> KeysetPage[M]:
        """Return the page behind a cursor; page ten thousand costs what page one does.

        Args:
            cursor: ``next_cursor`` of the page before; None for the first.
            *where: Conditions; the same ones for every page.
            limit: Entities a page.
            order_by: Columns without NULLs; the same ones for every page.
            **filters: Exact values by column name.

        Raises:
            ValidationError: For a cursor that is not one of this list's.
        """
        at_least(1, limit=limit)
        keyset = Keyset(self._mapper, order_by)
        statement = self._select(where, filters).order_by(*keyset.order).limit(limit + 1)
        if cursor is not None:
            statement = statement.where(keyset.after(cursor))
        found = (await self._scalars(statement, filters)).all()
        items = found[:limit]
        return KeysetPage(items, keyset.cursor(items[-1]) if len(found) > limit else None)

    async def stream(
        self,
        *where: Condition,
        chunk_size: int = 500,
        order_by: Orders = (),
        **filters: object,
    ) -> AsyncIterator[Sequence[M]]:
        """Yield the entities that match in chunks; only one chunk is in memory at a time.

        Args:
            *where: Conditions.
            chunk_size: Entities a chunk.
            order_by: As for :meth:`find_all`.
            **filters: Exact values by column name.
        """
        at_least(1, chunk_size=chunk_size)
        statement = self._select(where, filters).order_by(*orders(self._mapper, order_by))
        options = {**self._seeing(filters), "yield_per": chunk_size}
        span: Span | None = open_operation(self, "stream")
        try:
            with translated():
                result = await self.session.stream_scalars(statement, execution_options=options)
                try:
                    async for chunk in result.partitions():
                        yield chunk
                finally:
                    await result.close()
        except BaseException as error:
            if span is not None and not isinstance(error, GeneratorExit):
                mark_failed(span, error)
            raise
        finally:
            if span is not None:
                span.end()

    async def _find(
        self, entity_id: object, *, lock: bool = False, include_deleted: bool = False
    ) -> M | None:
        execution = {INCLUDE_DELETED: True} if include_deleted else self._execution
        entity = await self.session.get(
            self.model,
            checked_key(self._mapper, entity_id),
            options=self._options or None,
            # One in hand would come back without what the options ask to be loaded.
            populate_existing=True if self._options else None,
            with_for_update=lock or None,
            execution_options=execution,
        )
        return entity if entity is None or execution or not is_marked_deleted(entity) else None

    async def _list(
        self,
        where: Sequence[Condition],
        filters: Mapping[str, object],
        *,
        limit: int | None,
        offset: int,
        order_by: Orders,
    ) -> Sequence[M]:
        statement = self._select(where, filters).order_by(*orders(self._mapper, order_by))
        if limit is not None:
            statement = statement.limit(limit)
        if offset:
            statement = statement.offset(offset)
        return (await self._scalars(statement, filters)).all()

    async def _count(self, where: Sequence[Condition], filters: Mapping[str, object]) -> int:
        statement = select(func.count()).select_from(self.model)
        statement = statement.where(*conditions(self._mapper, where, filters))
        found = await self.session.execute(statement, execution_options=self._seeing(filters))
        return found.scalar_one()

    def _select(self, where: Sequence[Condition], filters: Mapping[str, object]) -> Select[M]:
        statement = select(self.model).where(*conditions(self._mapper, where, filters))
        return statement.options(*self._options) if self._options else statement

    async def _scalars(
        self, statement: Select[M], filters: Mapping[str, object]
    ) -> ScalarResult[M]:
        found = await self.session.scalars(statement, execution_options=self._seeing(filters))
        # A collection that is loaded by a join repeats its entity in each row.
        return found.unique() if self._options or joins_collections(self._mapper) else found

    def _seeing(self, filters: Mapping[str, object]) -> dict[str, Any]:
        """Return the execution options; a filter that asks for deleted rows finds them."""
        if filters.keys() & _SOFT_DELETE_COLUMNS:
            return {INCLUDE_DELETED: True}
        return self._execution
