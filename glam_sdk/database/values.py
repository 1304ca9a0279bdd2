"""Check the values that callers select rows with, so that every database answers alike.

Without it, ``find_by_id("not-a-uuid")`` is one error on PostgreSQL and another on SQLite, and a
number given for a text is converted in silence by one of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, NamedTuple
from uuid import UUID

from pydantic import TypeAdapter
from pydantic import ValidationError as PydanticValidationError
from sqlalchemy import BigInteger, Integer, SmallInteger, Uuid
from sqlalchemy.orm import Mapper
from sqlalchemy.sql import ClauseElement
from sqlalchemy.types import TypeDecorator, TypeEngine

from glam_sdk.database.types import UtcDateTime
from glam_sdk.errors import ValidationError

_NAMES: Final[Mapping[type, str]] = {
    UUID: "a UUID",
    str: "a string",
    int: "an integer",
    bool: "a boolean",
    float: "a number",
    Decimal: "a decimal number",
    datetime: "a datetime",
    date: "a date",
    time: "a time",
    bytes: "bytes",
}
_SHOWN: Final = 100
"""Characters of a wrong value that its error repeats."""


def checked_value(mapper: Mapper[Any], name: str, value: object) -> object:
    """Return a value as its column takes it; expressions and NULL stay as they are.

    Args:
        mapper: Of the model.
        name: Of the mapped attribute.
        value: As the caller gave it.

    Raises:
        ValidationError: For a value that is none of the column's type.
    """
    rule = _rule(mapper, name)
    if type(value) is rule.plain:
        return value
    is_expression = isinstance(value, ClauseElement) or hasattr(value, "__clause_element__")
    if value is None or rule.expected is None or is_expression:
        return value
    if isinstance(value, rule.expected):
        fitting: Any = value
    else:
        try:
            fitting = _adapter(rule.expected).validate_python(value)
        except PydanticValidationError:
            raise _wrong(mapper, name, value, _NAMES[rule.expected]) from None  # says no more
    if rule.bound and not -rule.bound <= fitting < rule.bound:
        raise _wrong(mapper, name, value, f"between {-rule.bound} and {rule.bound - 1}")
    return str(fitting) if rule.as_text else fitting


def checked_key(mapper: Mapper[Any], key: Any) -> Any:
    """Return a primary key as its columns take it.

    Args:
        mapper: Of the model.
        key: One value; for several columns a tuple, a list or a mapping by name.

    Raises:
        ValidationError: For a value that is none of its column's type.
    """
    names = key_names(mapper)
    if len(names) == 1 and type(key) is _rule(mapper, names[0]).plain:
        return key
    if isinstance(key, Mapping):
        return {
            name: checked_value(mapper, name, value) if name in names else value
            for name, value in key.items()
        }
    values = key if isinstance(key, (tuple, list)) else (key,)
    if len(values) != len(names):
        return key  # SQLAlchemy says what is wrong with it
    if len(names) == 1 and values[0] is None:
        expected = _rule(mapper, names[0]).expected
        raise _wrong(mapper, names[0], None, _NAMES.get(expected or object, "a value"))
    return tuple(checked_value(mapper, *pair) for pair in zip(names, values, strict=True))


class _Rule(NamedTuple):
    """What is asked of the values of one column."""

    expected: type | None
    plain: type | None
    """The type whose values need no look at all."""
    bound: int
    """What a number must stay below; 0 for anything else."""
    as_text: bool


@lru_cache(maxsize=4096)
def _rule(mapper: Mapper[Any], name: str) -> _Rule:
    kind = mapper.column_attrs[name].columns[0].type
    expected = _python_type(kind)
    as_text = isinstance(kind, Uuid) and not kind.as_uuid
    bound = 0
    if isinstance(kind, Integer):
        bits = 16 if isinstance(kind, SmallInteger) else 64 if isinstance(kind, BigInteger) else 32
        bound = 1 << (bits - 1)
    return _Rule(expected, None if bound or as_text else expected, bound, as_text)


@lru_cache(maxsize=512)
def key_names(mapper: Mapper[Any]) -> tuple[str, ...]:
    """Return the attributes of the primary key, in its order."""
    return tuple(mapper.get_property_by_column(column).key for column in mapper.primary_key)


def at_least(least: int, **numbers: int | None) -> None:
    """Refuse a number that is too small.

    Args:
        least: The smallest allowed.
        **numbers: By the name their caller knows; None is no number.

    Raises:
        ValidationError: Naming the first one that is too small.
    """
    for name, number in numbers.items():
        if number is not None and number < least:
            raise ValidationError(
                f"{name} must be at least {least}, not {number}.", field=name, value=number
            )


def _wrong(mapper: Mapper[Any], name: str, value: object, wanted: str) -> ValidationError:
    shown = str(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"
    return ValidationError(
        f"{mapper.class_.__name__}.{name} must be {wanted}, not {shown}.", field=name, value=shown
    )


def _python_type(kind: TypeEngine[Any]) -> type | None:
    """Return the plain type a column's values have; None where only the column knows."""
    if isinstance(kind, Uuid):
        return UUID
    if isinstance(kind, UtcDateTime):
        return datetime
    if isinstance(kind, TypeDecorator):
        return None
    try:
        found = kind.python_type
    except NotImplementedError:
        return None
    return found if found in _NAMES else None


@lru_cache(maxsize=len(_NAMES))
def _adapter(expected: type) -> TypeAdapter[Any]:
    return TypeAdapter(expected)
