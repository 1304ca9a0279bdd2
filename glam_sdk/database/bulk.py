"""Build the statements that write many rows at once, for PostgreSQL and SQLite alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.orm import Mapper, Session

from glam_sdk.database.changes import always_changed
from glam_sdk.database.inserting import insert_into
from glam_sdk.database.mixins import MerchantMixin
from glam_sdk.database.query import attribute
from glam_sdk.database.scope import merchant_of
from glam_sdk.errors import ForbiddenError

CHUNK: Final = 1000
"""Rows a statement; what is sent at once stays small however many there are."""

Row = Mapping[str, object]


def checked_rows(
    session: Session, mapper: Mapper[Any], rows: Iterable[Row]
) -> list[dict[str, object]]:
    """Return rows whose names are the model's and whose merchant is the session's.

    Raises:
        ValueError: For a column the model does not have.
        ForbiddenError: For a row of another merchant.
    """
    merchant_id = merchant_of(session) if issubclass(mapper.class_, MerchantMixin) else None
    checked: list[dict[str, object]] = []
    known: set[str] = set()
    for row in rows:
        for name in row.keys() - known:
            attribute(mapper, name)
            known.add(name)
        copy = dict(row)
        if merchant_id is not None and copy.setdefault("merchant_id", merchant_id) != merchant_id:
            raise ForbiddenError(
                f"This {mapper.class_.__name__} belongs to another merchant.",
                resource=mapper.class_.__name__,
            )
        checked.append(copy)
    return checked


def refuse_repeated(rows: Sequence[Row], on: Sequence[str]) -> None:
    """Refuse rows that are the same row: PostgreSQL can't write one twice in a statement.

    Raises:
        ValueError: Naming the first two.
    """
    seen: dict[tuple[object, ...], int] = {}
    for number, row in enumerate(rows):
        key = tuple(row.get(name) for name in on)
        if None in key:
            continue  # a default, or NULL, which equals nothing
        before = seen.setdefault(key, number)
        if before != number:
            raise ValueError(
                f"Rows {before} and {number} have the same {', '.join(on)}. "
                "Give each row of an upsert once."
            )


def upsert_statement(
    session: Session, mapper: Mapper[Any], on: Sequence[str], update: Sequence[str]
) -> Any:
    """Return INSERT … ON CONFLICT … RETURNING for rows given later.

    Args:
        session: Tells the database, and the merchant whose rows alone may be changed.
        mapper: Of the model.
        on: Columns of the unique constraint or key.
        update: Columns an existing row takes over from the new one; none leaves it as it is.
    """
    dialect = session.get_bind().dialect.name
    model = mapper.class_
    insert = insert_into(model, dialect)
    columns = [attribute(mapper, name) for name in on]
    target = {"index_elements": columns, "index_where": _partial(mapper, columns, dialect)}
    if not update:
        return insert.on_conflict_do_nothing(**target).returning(model)
    taken: dict[str, Any] = {}
    for name in update:
        column = attribute(mapper, name).property.columns[0].name
        taken[column] = insert.excluded[column]
    for name, value in always_changed(model).items():
        if name not in update:
            taken[mapper.column_attrs[name].columns[0].name] = value
    merchant_id = merchant_of(session)
    own = model.merchant_id == merchant_id if _is_scoped(model, merchant_id) else None
    return insert.on_conflict_do_update(**target, set_=taken, where=own).returning(model)


def _partial(mapper: Mapper[Any], columns: Sequence[Any], dialect: str) -> Any:
    """Return the condition of a unique index over these columns for a part of the rows, if any."""
    names = {one.property.columns[0].name for one in columns}
    for index in getattr(mapper.local_table, "indexes", ()):
        if index.unique and {column.name for column in index.columns} == names:
            return index.dialect_options[dialect].get("where")
    return None


def _is_scoped(model: type[Any], merchant_id: object) -> bool:
    return merchant_id is not None and issubclass(model, MerchantMixin)
