"""Turn filters, orders and page positions into SQL, with names checked against the model."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import orjson
from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticValidationError
from pydantic_core import to_jsonable_python
from sqlalchemy import ColumnElement, UnaryExpression, and_, bindparam, or_
from sqlalchemy.orm import InstrumentedAttribute, Mapper
from sqlalchemy.sql import operators
from sqlalchemy.types import TypeDecorator

from glam_sdk.database.values import checked_value
from glam_sdk.errors import ValidationError

T = TypeVar("T")

Order = str | ColumnElement[Any] | InstrumentedAttribute[Any]
"""``"created_at"``, ``"-created_at"`` for descending, or an SQLAlchemy expression."""

_LONGEST_CURSOR: Final = 2048


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Hold one page of a list and how long the whole list is."""

    items: Sequence[T]
    total: int
    page: int
    limit: int

    @property
    def pages(self) -> int:
        """How many pages there are."""
        return -(-self.total // self.limit)


@dataclass(frozen=True, slots=True)
class KeysetPage(Generic[T]):
    """Hold one page of a long list and where the next one begins."""

    items: Sequence[T]
    next_cursor: str | None
    """Opaque; None on the last page."""


def attribute(mapper: Mapper[Any], name: str) -> InstrumentedAttribute[Any]:
    """Return a column of a model by name.

    Raises:
        ValueError: For a column the model does not have.
    """
    if name not in mapper.column_attrs:
        raise ValueError(
            f"{mapper.class_.__name__} has no column {name!r}. "
            f"Its columns are {', '.join(sorted(mapper.column_attrs.keys()))}."
        )
    found: InstrumentedAttribute[Any] = getattr(mapper.class_, name)
    return found


def conditions(
    mapper: Mapper[Any], expressions: Sequence[ColumnElement[bool]], filters: Mapping[str, object]
) -> list[ColumnElement[bool]]:
    """Return expressions and exact filters as one list; ``None`` finds NULL.

    Raises:
        ValueError: For a column the model does not have.
        ValidationError: For a value that is none of its column's type.
    """
    exact: list[ColumnElement[bool]] = []
    for name, value in filters.items():
        column = attribute(mapper, name)
        exact.append(column == checked_value(mapper, name, value))
    return [*expressions, *exact]


def orders(
    mapper: Mapper[Any], order_by: Order | Sequence[Order], *, unique: bool = True
) -> list[ColumnElement[Any]]:
    """Return what to order by; the primary key comes last, so that pages never overlap."""
    given: Sequence[Order] = order_by if isinstance(order_by, (list, tuple)) else (order_by,)
    found = [_order(mapper, one) for one in given]
    if not unique:
        return found
    named = {id(_column(one)) for one in found}
    key = (mapper.get_property_by_column(column) for column in mapper.primary_key)
    rest = (getattr(mapper.class_, attr.key) for attr in key)
    return [*found, *(c for c in rest if id(_column(c)) not in named)]


def _order(mapper: Mapper[Any], order: Order) -> ColumnElement[Any]:
    if not isinstance(order, str):
        expression: ColumnElement[Any] = order  # type: ignore[assignment]  # an attribute is one
        return expression
    column = attribute(mapper, order.removeprefix("-"))
    return column.desc() if order.startswith("-") else column.asc()


def _column(order: Any) -> Any:
    """Return the table's column behind an order, whatever direction was put around it."""
    while isinstance(order, UnaryExpression):
        order = order.element
    return getattr(order, "property", order).columns[0] if hasattr(order, "property") else order


def _is_descending(order: Any) -> bool:
    """Tell the direction of an order, also one with ``nulls_last()`` around it."""
    while isinstance(order, UnaryExpression):
        if order.modifier is operators.desc_op:
            return True
        order = order.element
    return False


class Keyset:
    """Continue a list after a row, at the same cost on page ten thousand as on the first.

    Args:
        mapper: Of the model.
        order_by: What the list is ordered by; the primary key is added.

    Raises:
        ValueError: For an order that is no column, or one that may be NULL: NULLs don't compare.
    """

    def __init__(self, mapper: Mapper[Any], order_by: Order | Sequence[Order]) -> None:
        self._model = mapper.class_.__name__
        self.order = orders(mapper, order_by)
        self._keys: list[tuple[str, Any, bool]] = []
        for order in self.order:
            descending = _is_descending(order)
            column = _column(order)
            if column not in mapper.columns.values():
                raise ValueError(f"Keyset pages need columns to order by; {order} is none.")
            attr = mapper.get_property_by_column(column).key
            if column.nullable:
                raise ValueError(
                    f"{self._model}.{attr} may be NULL, and NULLs have no place in a keyset. "
                    "Order by columns that always have a value."
                )
            self._keys.append((attr, getattr(mapper.class_, attr), descending))
        types: Any = tuple[tuple(_python_type(column) for _, column, _ in self._keys)]  # type: ignore[misc]  # made at run time
        self._adapter: TypeAdapter[tuple[Any, ...]] = TypeAdapter(types)

    def cursor(self, entity: object) -> str:
        """Return the opaque position of an entity."""
        values = [getattr(entity, attr) for attr, _, _ in self._keys]
        return base64.urlsafe_b64encode(orjson.dumps(to_jsonable_python(values))).decode()

    def after(self, cursor: str) -> ColumnElement[bool]:
        """Return the condition for rows behind a position.

        Raises:
            ValidationError: For a cursor that is not one of this list's.
        """
        values = self._read(cursor)
        behind: list[ColumnElement[bool]] = []
        same: list[ColumnElement[bool]] = []
        for (_, column, descending), value in zip(self._keys, values, strict=True):
            # Bound explicitly: a plain True or None would be refused by "<" and ">".
            bound = bindparam(None, value, type_=column.type)
            behind.append(and_(*same, column < bound if descending else column > bound))
            same.append(column == bound)
        return or_(*behind)

    def _read(self, cursor: str) -> tuple[Any, ...]:
        try:
            if len(cursor) > _LONGEST_CURSOR:
                raise ValueError("too long")  # noqa: TRY301 - one answer for every bad cursor
            decoded = orjson.loads(base64.urlsafe_b64decode(cursor.encode("ascii")))
            return self._adapter.validate_python(decoded, strict=False)
        except (ValueError, binascii.Error, PydanticValidationError):
            raise ValidationError(
                "The cursor is not one of this list's. Start again without one.", field="cursor"
            ) from None  # what was sent is not repeated


def _python_type(column: Any) -> Any:
    kind = column.type
    try:
        # A decorated type says what it is stored as.
        return (kind.impl_instance if isinstance(kind, TypeDecorator) else kind).python_type
    except NotImplementedError:
        return Any
