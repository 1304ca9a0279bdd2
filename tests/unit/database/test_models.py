from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest
from sqlalchemy import CheckConstraint, ForeignKey, MetaData, UniqueConstraint, Uuid
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncAttrs
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.database import (
    NAMING_CONVENTION,
    Base,
    MerchantMixin,
    SoftDeleteMixin,
    TimestampedMixin,
    UtcDateTime,
)


class Own(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Shop(MerchantMixin, TimestampedMixin, SoftDeleteMixin, Own):
    __tablename__ = "shops"
    __table_args__ = (UniqueConstraint("name"), CheckConstraint("name <> ''", name="named"))

    id: Mapped[UUID] = mapped_column(primary_key=True)
    name: Mapped[str]


class Shelf(Own):
    __tablename__ = "shelves"

    id: Mapped[int] = mapped_column(primary_key=True)
    shop_id: Mapped[UUID] = mapped_column(ForeignKey("shops.id"))


def test_the_base_has_async_attributes_and_the_naming_convention() -> None:
    """Services and their migrations rely on both."""
    assert issubclass(Base, AsyncAttrs)
    assert Base.metadata.naming_convention["ck"] == "ck_%(table_name)s_%(constraint_name)s"


def test_constraints_and_indexes_have_the_agreed_names() -> None:
    """Alembic finds by name what it has to change."""
    shops = Own.metadata.tables["shops"]
    shelves = Own.metadata.tables["shelves"]
    names = {str(c.name) for table in (shops, shelves) for c in table.constraints}
    assert names == {
        "pk_shops", "uq_shops_name", "ck_shops_named", "pk_shelves", "fk_shelves_shop_id_shops",
    }  # fmt: skip
    assert {str(index.name) for index in shops.indexes} == {
        "ix_shops_merchant_id", "ix_shops_merchant_domain", "ix_shops_created_at",
        "ix_shops_is_deleted", "ix_shops_merchant_id_merchant_domain",
    }  # fmt: skip


def test_a_uuid_column_is_native_where_there_is_one() -> None:
    """The same model serves PostgreSQL and SQLite."""
    column = Own.metadata.tables["shops"].c.id.type
    assert isinstance(column, Uuid)
    assert column.compile(postgresql.dialect()) == "UUID"
    assert column.compile(sqlite.dialect()) == "CHAR(32)"


def test_a_merchants_domain_has_room_for_any_domain() -> None:
    """255 characters, as services' tables have it; neither column may be missing."""
    shops = Own.metadata.tables["shops"]
    assert shops.c.merchant_domain.type.length == 255
    assert not shops.c.merchant_id.nullable
    assert not shops.c.merchant_domain.nullable


def test_a_naive_datetime_is_refused() -> None:
    """Nobody knows which instant it means."""
    with pytest.raises(ValueError, match="has no time zone"):
        UtcDateTime().process_bind_param(datetime(2026, 1, 1), sqlite.dialect())  # noqa: DTZ001


def test_an_aware_datetime_is_stored_as_utc() -> None:
    """SQLite has no zones, so all rows have the same one."""
    moment = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    utc = datetime(2025, 12, 31, 23, tzinfo=UTC)
    assert UtcDateTime().process_bind_param(moment, sqlite.dialect()) == utc.replace(tzinfo=None)
    assert UtcDateTime().process_bind_param(moment, postgresql.dialect()) == utc
    assert UtcDateTime().process_result_value(utc.replace(tzinfo=None), sqlite.dialect()) == utc


def test_marking_twice_keeps_the_first_moment() -> None:
    """When a row was deleted is a fact; deleting it again does not change it."""
    shop = Shop(name="x")
    first = datetime(2026, 1, 1, tzinfo=UTC)
    shop.mark_deleted(first)
    shop.mark_deleted()
    assert (shop.is_deleted, shop.deleted_at) == (True, first)
