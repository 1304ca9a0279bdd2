"""Save one kind of model inside a unit of work.

Flow: step 5. Each call is part of the caller's transaction; none commits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import CursorResult, Delete, Update, delete, insert, update
from sqlalchemy import inspect as sa_inspect

from glam_sdk.database import bulk
from glam_sdk.database.changes import bumped, deletion
from glam_sdk.database.deletion import deleting_for_good, mark
from glam_sdk.database.entities import not_found, reload_expired, touch
from glam_sdk.database.mixins import SoftDeleteMixin
from glam_sdk.database.operations import operation
from glam_sdk.database.query import attribute, conditions
from glam_sdk.database.reading import Condition, M, ReadRepository
from glam_sdk.database.scope import ALL_MERCHANTS
from glam_sdk.errors import ConflictError


class Repository(ReadRepository[M]):
    """Offer the everyday operations on one model; ``session`` has the rest."""

    __slots__ = ()

    @operation
    async def save(self, entity: M) -> M:
        """Insert a new entity, or write what changed on a loaded one, and return it."""
        self.session.add(entity)
        await self.session.flush()
        return entity

    @operation
    async def save_all(self, entities: Iterable[M]) -> list[M]:
        """Do for many what :meth:`save` does for one, in as few statements as possible."""
        saved = list(entities)
        self.session.add_all(saved)
        await self.session.flush()
        return saved

    @operation
    async def insert_many(self, rows: Iterable[bulk.Row]) -> int:
        """Insert rows given as mappings, without making entities; return how many.

        Args:
            rows: Column name = value; columns left out get their defaults.

        Raises:
            ValueError: For a column the model does not have.
        """
        checked = bulk.checked_rows(self.session.sync_session, self._mapper, rows)
        for start in range(0, len(checked), bulk.CHUNK):
            await self.session.execute(
                insert(self.model),
                checked[start : start + bulk.CHUNK],
                execution_options={ALL_MERCHANTS: True},  # the rows were checked one by one
            )
        return len(checked)

    @operation
    async def upsert(
        self, rows: Iterable[bulk.Row], *, on: Sequence[str], update: Sequence[str] | None = None
    ) -> list[M]:
        """Insert rows, or update those that are there; return the entities that were written.

        A row that was marked as deleted is there again.

        Args:
            rows: Column name = value; all with the same columns.
            on: Columns of the primary key or unique constraint that says whether a row is there.
            update: Columns taken over from the new row: all it has by default; with ``()`` a row
                that is there stays as it is.

        Raises:
            ConflictError: When a row that is there belongs to another merchant.
        """
        session = self.session.sync_session
        checked = bulk.checked_rows(session, self._mapper, rows)
        if not checked:
            return []
        names = list(checked[0])
        for number, row in enumerate(checked):
            if row.keys() != checked[0].keys():
                raise ValueError(
                    f"Row {number} has the columns {sorted(row)}, the first {sorted(names)}. "
                    "Give all rows of an upsert the same columns."
                )
        bulk.refuse_repeated(checked, on)
        # Where nothing else is left to take over, the key itself is: the row is then returned.
        taken = update if update is not None else [n for n in names if n not in on] or list(on)
        statement = bulk.upsert_statement(session, self._mapper, on, taken)
        options = {"populate_existing": True, ALL_MERCHANTS: True}
        written: list[M] = []
        for start in range(0, len(checked), bulk.CHUNK):
            chunk = checked[start : start + bulk.CHUNK]
            written += await self.session.scalars(statement, chunk, execution_options=options)
        if taken and len(written) < len(checked):
            name = self.model.__name__
            raise ConflictError(
                f"A {name} with the same {', '.join(on)} belongs to somebody else.",
                conflicting_resource=name,
            )
        return written

    @operation
    async def update(self, entity: M) -> M:
        """Write an entity that may come from elsewhere; return the one that lives in the session.

        Raises:
            NotFoundError: If no such row exists.
            ConflictError: If a ``VersionedMixin`` row has changed since it was loaded.
        """
        merged = await self.session.merge(entity)
        if merged is not entity and sa_inspect(merged).pending:
            self.session.expunge(merged)
            raise not_found(self.model, self._mapper.primary_key_from_instance(entity))
        if self.session.is_modified(merged):
            touch(merged)
        await self.session.flush()
        return merged

    @operation
    async def update_all(
        self, values: Mapping[str, Any], *where: Condition, **filters: object
    ) -> int:
        """Change every row that matches, in one statement; return how many.

        Args:
            values: Column name = new value or expression.
            *where: Conditions.
            **filters: Exact values by column name.

        Raises:
            ValueError: For a column the model does not have.
        """
        for name in values:
            attribute(self._mapper, name)
        statement = update(self.model).where(*conditions(self._mapper, where, filters))
        return await self._change(statement.values(bumped(self.model, values)), filters)

    @operation
    async def delete(self, entity: M) -> None:
        """Delete a row, or mark it when its model is a ``SoftDeleteMixin``.

        Either goes on along ``delete`` cascades.
        """
        await self._delete(entity)

    @operation
    async def delete_by_id(self, entity_id: object) -> bool:
        """Delete by primary key; return whether there was such a row."""
        entity = await self._find(entity_id)
        if entity is None:
            return False
        await self._delete(entity)
        return True

    @operation
    async def delete_all(self, *where: Condition, **filters: object) -> int:
        """Delete or mark every row that matches, in one statement; return how many."""
        matching = conditions(self._mapper, where, filters)
        marks = None if self._execution else deletion(self.model)
        if marks is None:
            return await self._change(delete(self.model).where(*matching), filters)
        # Of live rows only, whatever the filters name: a row marked before keeps its moment.
        return await self._change(update(self.model).where(*matching).values(marks), {})

    @operation
    async def restore(self, entity_id: object) -> M:
        """Take back the deletion of a row and return it.

        Raises:
            NotFoundError: If there is no such row, deleted or not.
            TypeError: If the model is no ``SoftDeleteMixin``.
        """
        model: type[object] = self.model
        if not issubclass(model, SoftDeleteMixin):
            raise TypeError(f"{self.model.__name__} is no SoftDeleteMixin: its rows are gone.")
        entity = await self._find(entity_id, include_deleted=True)
        if entity is None:
            raise not_found(self.model, entity_id)
        cast("SoftDeleteMixin", entity).unmark_deleted()
        await self.session.flush()
        return entity

    async def _delete(self, entity: M) -> None:
        if entity not in self.session:
            entity = await self.session.merge(entity)
            if sa_inspect(entity).pending:
                self.session.expunge(entity)
                return
        if self._execution:
            with deleting_for_good(self.session.sync_session):
                await self.session.delete(entity)
                await self.session.flush()
            return
        if not await self.session.run_sync(mark, entity):
            await self.session.delete(entity)
        await self.session.flush()

    async def _change(self, statement: Update | Delete, filters: Mapping[str, object]) -> int:
        result = await self.session.execute(statement, execution_options=self._seeing(filters))
        await reload_expired(self.session, self._mapper)
        return cast("CursorResult[Any]", result).rowcount
