"""Add the columns most models share: key, timestamps, version, soft deletion, merchant."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Boolean, Index, Integer, String, Table, Uuid, event, false, func
from sqlalchemy.orm import Mapped, Mapper, declared_attr, mapped_column

from glam_sdk._internal.ids import uuid7
from glam_sdk.database.types import UtcDateTime, utcnow


class UuidKeyMixin:
    """Give rows a UUIDv7 as primary key: new rows go to the end of the index, ids sort by age."""

    id: Mapped[UUID] = mapped_column(Uuid(), primary_key=True, default=uuid7, sort_order=-10)


class TimestampedMixin:
    """Record when a row was made and last changed.

    ``updated_at`` is set by every UPDATE that SQLAlchemy sends, bulk updates included; an explicit
    value wins.
    """

    created_at: Mapped[datetime] = mapped_column(
        UtcDateTime(), default=utcnow, server_default=func.now(), index=True
    )
    updated_at: Mapped[datetime] = mapped_column(
        UtcDateTime(), default=utcnow, onupdate=utcnow, server_default=func.now()
    )


class VersionedMixin:
    """Count a row's changes, so that a change made to an old state is a ConflictError."""

    version: Mapped[int] = mapped_column(Integer(), default=1, server_default="1")

    @declared_attr.directive
    @classmethod
    def __mapper_args__(cls) -> Mapping[str, Any]:
        """Let SQLAlchemy compare and count the column on every UPDATE and DELETE of an entity."""
        version: Any = cls.version
        return {"version_id_col": version}


class SoftDeleteMixin:
    """Keep deleted rows: they are marked, and every query leaves them out."""

    deleted_at: Mapped[datetime | None] = mapped_column(UtcDateTime(), default=None)
    is_deleted: Mapped[bool] = mapped_column(
        Boolean(), default=False, server_default=false(), index=True
    )

    def mark_deleted(self, at: datetime | None = None) -> None:
        """Mark the row as deleted, now unless told when; a row marked before keeps its moment."""
        if not self.is_deleted:
            self.is_deleted = True
            self.deleted_at = at or utcnow()

    def unmark_deleted(self) -> None:
        """Take the mark back."""
        self.is_deleted = False
        self.deleted_at = None


class MerchantMixin:
    """Say whose a row is; ``(merchant_id, merchant_domain)`` has an index of its own."""

    merchant_id: Mapped[UUID] = mapped_column(Uuid(), index=True)
    merchant_domain: Mapped[str] = mapped_column(String(255), index=True)


MERCHANT_TABLE: Final = "glam_merchant_table"
"""Key in ``Table.info`` of the tables that hold rows of merchants."""


SOFT_DELETE_TABLE: Final = "glam_soft_delete_table"
"""The same, of the tables that keep their deleted rows."""


@event.listens_for(SoftDeleteMixin, "after_mapper_constructed", propagate=True)
def _mark_table(mapper: Mapper[Any], _: type[Any]) -> None:
    table = mapper.local_table
    if isinstance(table, Table) and "is_deleted" in table.c:
        table.info[SOFT_DELETE_TABLE] = True


@event.listens_for(MerchantMixin, "after_mapper_constructed", propagate=True)
def _add_joint_index(mapper: Mapper[Any], _: type[Any]) -> None:
    # Not in __table_args__: a model that sets its own would silently lose the index.
    table = mapper.local_table
    if not isinstance(table, Table) or "merchant_id" not in table.c:
        return
    table.info[MERCHANT_TABLE] = True
    name = f"ix_{table.name}_merchant_id_merchant_domain"
    if name not in {index.name for index in table.indexes}:
        Index(name, table.c.merchant_id, table.c.merchant_domain)
