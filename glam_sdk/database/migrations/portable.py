"""Write migrations that run on PostgreSQL and SQLite alike, whichever they were generated on.

Alembic writes a default as the database at hand spells it (``0`` for false on SQLite), and in
``downgrade`` the types as that database calls them. Here both get the names that SQLAlchemy
translates for every database.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal

from alembic.autogenerate import rewriter
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Boolean, Column, Enum, TextClause, types
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import DefaultClause
from sqlalchemy.sql.elements import False_, True_
from sqlalchemy.sql.functions import Function
from sqlalchemy.types import TypeEngine

from glam_sdk.database.types import UtcDateTime

PRIVATE: Final = "glam_"
"""What the names of our own tables and of our keys in ``Table.info`` begin with."""

_BOOLEANS: Final = {"0": "false", "1": "true", "false": "false", "true": "true"}
_NOW: Final = re.compile(r"\(?(?:now\(\)|current_timestamp)\)?", re.IGNORECASE)
_CAST: Final = re.compile(r"'((?:[^']|'')*)'::[\w ]+(?:\([\d,]*\))?")
_HEX_OF_UUID: Final = 32
_MOMENT: Final = "sa.DateTime(timezone=True)"
_TYPES: Final[dict[type[TypeEngine[Any]], str]] = {
    # A migration is history: it must not change when our types do.
    UtcDateTime: _MOMENT,
    # What a database says it has, where another has no such word.
    postgresql.BYTEA: "sa.LargeBinary()",
    postgresql.DOUBLE_PRECISION: "sa.Double()",
    sqlite.DATE: "sa.Date()",
    sqlite.DATETIME: _MOMENT,
    sqlite.JSON: "sa.JSON()",
    sqlite.TIME: "sa.Time()",
    types.BLOB: "sa.LargeBinary()",
    types.UUID: "sa.Uuid()",
}


def render(kind: str, item: object, autogenerate: AutogenContext) -> str | Literal[False]:
    """Return the Python text of a type or default; False for what Alembic is to write itself."""
    if kind == "server_default":
        return _default(item)
    return _type(item, autogenerate) if isinstance(item, TypeEngine) else False


def rewriting() -> Callable[[MigrationContext, Any, list[ops.MigrationScript]], None]:
    """Return a hook for Alembic that changes what is about to be written."""
    rewrites = rewriter.Rewriter()

    @rewrites.rewrites(ops.DowngradeOps)
    def with_known_types(context: MigrationContext, _: object, op: ops.DowngradeOps) -> Any:
        # What comes back was read from the database, and SQLite has no word for a UUID.
        if context.dialect.name == "sqlite":
            for column in _columns_of(op):
                if isinstance(column.type, types.CHAR) and column.type.length == _HEX_OF_UUID:
                    column.type = types.Uuid()
        return op

    @rewrites.rewrites(ops.CreateTableOp)
    def without_private_info(_: object, __: object, op: ops.CreateTableOp) -> ops.CreateTableOp:
        op.info = {k: v for k, v in (op.info or {}).items() if not str(k).startswith(PRIVATE)}
        return op

    return rewrites


def _columns_of(op: ops.MigrateOperation) -> Iterator[Column[Any]]:
    if isinstance(op, ops.OpContainer):
        for inner in op.ops:
            yield from _columns_of(inner)
    elif isinstance(op, ops.CreateTableOp):
        yield from (item for item in op.columns if isinstance(item, Column))
    elif isinstance(op, ops.AddColumnOp):
        yield op.column


def _default(default: object) -> str | Literal[False]:
    if not isinstance(default, DefaultClause):
        return False
    value = default.arg
    if isinstance(value, (True_, False_)):
        return f"sa.{'true' if isinstance(value, True_) else 'false'}()"
    if isinstance(value, Function) and not value.packagenames and not list(value.clauses):
        return f"sa.func.{value.name}()"
    if not isinstance(value, TextClause):
        return False
    text = value.text
    column = getattr(default, "column", None)
    if column is not None and isinstance(column.type, Boolean):
        word = _BOOLEANS.get(text.strip("()'").lower())
        if word:
            return f"sa.{word}()"
    if _NOW.fullmatch(text):
        return "sa.func.now()"
    cast = _CAST.fullmatch(text)  # as PostgreSQL tells it: '7'::character varying
    return repr(cast[1].replace("''", "'")) if cast else f"sa.text({text!r})"


def _type(item: TypeEngine[Any], autogenerate: AutogenContext) -> str | Literal[False]:
    if item._variant_mapping:  # noqa: SLF001 - SQLAlchemy has no other name for it
        if isinstance(item, postgresql.JSON):
            autogenerate.imports.add("from sqlalchemy import Text")  # its repr names it so
        return False
    known = _TYPES.get(type(item))
    if known:
        return known
    if isinstance(item, postgresql.JSON):
        autogenerate.imports.add("from sqlalchemy.dialects import postgresql")
        return f"postgresql.{type(item).__name__}()"
    if isinstance(item, postgresql.ENUM):
        return f"sa.{Enum(*item.enums, name=item.name)!r}"
    module = type(item).__module__
    if not module.startswith("sqlalchemy."):
        autogenerate.imports.add(f"import {module}")
    return False
