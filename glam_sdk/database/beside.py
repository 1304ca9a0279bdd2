"""Limit what an UPDATE or DELETE reads beside the table it changes.

SQLAlchemy adds loader criteria to the table that is changed and to subqueries, but not to what
stands beside it (``UPDATE lines … FROM orders``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import Alias, ColumnElement, Table
from sqlalchemy.orm import ORMExecuteState

from glam_sdk.database.mixins import MERCHANT_TABLE, SOFT_DELETE_TABLE


def limit_beside(state: ORMExecuteState, *, only_live: bool, merchant_id: UUID | None) -> None:
    """Add what every other table of the statement has to fulfil.

    Args:
        state: Of an UPDATE or DELETE of an entity.
        only_live: Leave out rows that are marked as deleted.
        merchant_id: Whose rows alone are read; None for everybody's.
    """
    statement: Any = state.statement
    found = list(_criteria(statement, only_live=only_live, merchant_id=merchant_id))
    if found:
        state.statement = statement.where(*found)


def _criteria(
    statement: Any, *, only_live: bool, merchant_id: UUID | None
) -> Iterator[ColumnElement[bool]]:
    # SQLAlchemy has no public way to read the tables of an UPDATE.
    sources = [source for one in statement._where_criteria for source in one._from_objects]  # noqa: SLF001 - as above
    for source in dict.fromkeys(sources):
        table = source.element if isinstance(source, Alias) else source
        if source == statement.table or not isinstance(table, Table):
            continue
        if only_live and SOFT_DELETE_TABLE in table.info:
            yield source.c.is_deleted.is_(False)
        if merchant_id is not None and MERCHANT_TABLE in table.info:
            yield source.c.merchant_id == merchant_id
