"""Load and save one kind of model inside a unit of work.

Flow: step 5. Each call is part of the caller's transaction; none commits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, func, select
from sqlalchemy import inspect as sa_inspect
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapper

from glam_sdk.database.errors import translated
from glam_sdk.database.mixins import SoftDeleteMixin, TimestampedMixin
from glam_sdk.database.types import utcnow
from glam_sdk.errors import NotFoundError

M = TypeVar("M", bound=DeclarativeBase)

_SOFT_DELETE_COLUMNS = frozenset({"is_deleted", "deleted_at"})


class Repository(Generic[M]):
    """Offer the everyday operations on one model; ``session`` has the rest.

    Rows that a :class:`SoftDeleteMixin` model marked as deleted are left out, unless a filter
    names ``is_deleted`` or ``deleted_at``.
    """

    __slots__ = ("_mapper", "model", "session")

    def __init__(self, session: AsyncSession, model: type[M]) -> None:
        self.session = session
        self.model = model
        self._mapper: Mapper[M] = sa_inspect(model)

    async def save(self, entity: M) -> M:
        """Insert a new entity, or write what changed on a loaded one, and return it."""
        with translated():
            self.session.add(entity)
            await self.session.flush()
        return entity

    async def update(self, entity: M) -> M:
        """Write an entity that may come from elsewhere; return the one that lives in the session.

        Raises:
            NotFoundError: If no such row exists.
        """
        with translated():
            merged = await self.session.merge(entity)
            if merged is not entity and sa_inspect(merged).pending:
                self.session.expunge(merged)
                raise self._not_found(self._mapper.primary_key_from_instance(entity))
            if self.session.is_modified(merged):
                _touch(merged)
            await self.session.flush()
        return merged

    async def delete(self, entity: M) -> None:
        """Delete a row, or mark it when its model is a :class:`SoftDeleteMixin`."""
        with translated():
            if entity not in self.session:
                entity = await self.session.merge(entity)
                if sa_inspect(entity).pending:
                    self.session.expunge(entity)
                    return
            if not _mark_deleted(entity):
                await self.session.delete(entity)
            await self.session.flush()

    async def delete_by_id(self, entity_id: object) -> bool:
        """Delete by primary key; return whether there was such a row."""
        entity = await self.find_by_id(entity_id)
        if entity is None:
            return False
        await self.delete(entity)
        return True

    async def find_by_id(self, entity_id: object) -> M | None:
        """Return the entity with this primary key (a tuple when it has several columns)."""
        with translated():
            entity = await self.session.get(self.model, entity_id)
        return None if entity is None or _is_marked_deleted(entity) else entity

    async def get(self, entity_id: object) -> M:
        """Return the entity with this primary key.

        Raises:
            NotFoundError: If there is none.
        """
        entity = await self.find_by_id(entity_id)
        if entity is None:
            raise self._not_found(entity_id)
        return entity

    async def find_all(
        self, *, limit: int | None = None, offset: int = 0, **filters: object
    ) -> Sequence[M]:
        """Return entities in the order of their primary key.

        Args:
            limit: At most so many.
            offset: Leave out so many first.
            **filters: Column name = value; ``None`` finds NULL.

        Raises:
            ValueError: For a column the model does not have.
        """
        statement = select(self.model).where(*self._conditions(filters))
        statement = statement.order_by(*self._mapper.primary_key)
        if limit is not None:
            statement = statement.limit(limit)
        if offset:
            statement = statement.offset(offset)
        with translated():
            return (await self.session.scalars(statement)).all()

    async def count(self, **filters: object) -> int:
        """Return how many entities there are.

        Args:
            **filters: As for :meth:`find_all`.
        """
        statement = select(func.count()).select_from(self.model).where(*self._conditions(filters))
        with translated():
            return (await self.session.execute(statement)).scalar_one()

    def _conditions(self, filters: dict[str, object]) -> list[ColumnElement[bool]]:
        columns = self._mapper.column_attrs
        conditions: list[ColumnElement[bool]] = []
        for name, value in filters.items():
            if name not in columns:
                raise ValueError(
                    f"{self.model.__name__} has no column {name!r}. "
                    f"Its columns are {', '.join(sorted(columns.keys()))}."
                )
            conditions.append(getattr(self.model, name) == value)
        soft: type[object] = self.model
        if issubclass(soft, SoftDeleteMixin) and not filters.keys() & _SOFT_DELETE_COLUMNS:
            conditions.append(soft.is_deleted.is_(False))
        return conditions

    def _not_found(self, entity_id: Any) -> NotFoundError:
        if isinstance(entity_id, (list, tuple)):
            entity_id = entity_id[0] if len(entity_id) == 1 else tuple(map(str, entity_id))
        name = self.model.__name__
        return NotFoundError(
            f"{name} {entity_id} does not exist.", resource=name, resource_id=entity_id
        )


def _touch(entity: object) -> None:
    if isinstance(entity, TimestampedMixin):
        entity.updated_at = utcnow()  # what was merged brought its own, older moment along


def _mark_deleted(entity: object) -> bool:
    if isinstance(entity, SoftDeleteMixin):
        entity.mark_deleted()
        return True
    return False


def _is_marked_deleted(entity: object) -> bool:
    return isinstance(entity, SoftDeleteMixin) and entity.is_deleted
