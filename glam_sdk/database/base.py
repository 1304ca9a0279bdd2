"""Give a service's models one base: async attributes, portable types, names Alembic can find."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import MetaData
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase

from glam_sdk.database.types import UtcDateTime

NAMING_CONVENTION: Final = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""How constraints and indexes are named, so that a migration can refer to them."""


class Base(AsyncAttrs, DeclarativeBase):
    """Be the base of a service's models.

    ``Mapped[datetime]`` is a :class:`UtcDateTime`; ``Mapped[UUID]`` is native on PostgreSQL and 32
    hex digits on SQLite.
    """

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime()}  # noqa: RUF012 - SQLAlchemy reads this name
