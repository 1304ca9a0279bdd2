"""Choose the INSERT that knows ON CONFLICT, which PostgreSQL and SQLite each have of their own."""

from __future__ import annotations

from typing import Any


def insert_into(model: type[Any], dialect: str) -> Any:
    """Return an INSERT of the database in use; the other's dialect, 2 MB, need not be imported.

    Args:
        model: What is inserted.
        dialect: Name of the database, as SQLAlchemy has it.
    """
    if dialect == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(model)
    from sqlalchemy.dialects import sqlite

    return sqlite.insert(model)
