"""Prove that a migration generated on one database runs unchanged on the other."""

from __future__ import annotations

import importlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from pydantic import SecretStr
from sqlalchemy import text

from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database
from glam_sdk.database.migrations import MigrationManager
from glam_sdk.errors import ConflictError, DatabaseError
from glam_sdk.testing.postgres import PostgresServer

MODELS = """
import enum
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Enum, ForeignKey, JSON, MetaData, false, text, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.database import (
    MerchantMixin, NAMING_CONVENTION, SoftDeleteMixin, TimestampedMixin, UtcDateTime, UuidKeyMixin,
    VersionedMixin,
)


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map = {datetime: UtcDateTime()}


class Color(enum.Enum):
    RED = "red"


class Order(UuidKeyMixin, TimestampedMixin, SoftDeleteMixin, VersionedMixin, MerchantMixin, Base):
    __tablename__ = "orders"

    code: Mapped[str] = mapped_column(unique=True)
    shade: Mapped[Color] = mapped_column(Enum(Color, native_enum=False))
    extra: Mapped[dict[str, Any]] = mapped_column(JSON().with_variant(JSONB(), "postgresql"))
    other: Mapped[dict[str, Any]] = mapped_column(JSONB().with_variant(JSON(), "sqlite"))
    visible: Mapped[bool] = mapped_column(server_default=true())
    written: Mapped[bool] = mapped_column(server_default=text("false"))
    moment: Mapped[datetime]
"""
LINES = """

class Line(UuidKeyMixin, Base):
    __tablename__ = "lines"

    order_id: Mapped[UUID] = mapped_column(ForeignKey("orders.id", ondelete="CASCADE"), index=True)
    paid: Mapped[bool] = mapped_column(server_default=false())
"""
CHANGED = MODELS.replace("    written: Mapped", "    # written: Mapped")
DATABASES = ["sqlite", "postgresql"]


@pytest.fixture
async def urls(postgres: PostgresServer, tmp_path: Path) -> AsyncIterator[dict[str, str]]:
    """Give an empty database of each kind."""
    name = f"portable_{uuid4().hex}"
    admin = Database(DatabaseSettings(url=SecretStr(postgres.url)))
    alone = admin.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with alone.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    sqlite = f"sqlite+aiosqlite:///{tmp_path / 'portable.sqlite3'}"
    yield {"sqlite": sqlite, "postgresql": postgres.url_of(name)}
    async with alone.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    await admin.stop()


class Models:
    """A module of models that changes while the service is being written."""

    def __init__(self, directory: Path) -> None:
        self.name = f"models_{uuid4().hex}"
        self._file = directory / f"{self.name}.py"

    def become(self, source: str) -> None:
        self._file.write_text(source)
        sys.modules.pop(self.name, None)
        # Source files are compared by whole seconds and size.
        for cached in self._file.parent.glob(f"__pycache__/{self.name}*"):
            cached.unlink()
        importlib.invalidate_caches()


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Models:
    monkeypatch.syspath_prepend(str(tmp_path))
    made = Models(tmp_path)
    made.become(MODELS + LINES)
    return made


def manager(url: str, tmp_path: Path) -> MigrationManager:
    return MigrationManager(
        DatabaseSettings(url=SecretStr(url)),
        service_name="orders",
        directory=tmp_path / "migrations",
    )


@pytest.mark.parametrize("first", DATABASES)
async def test_a_migration_runs_on_the_database_it_was_not_generated_on(
    first: str, urls: dict[str, str], models: Models, tmp_path: Path
) -> None:
    """Forth, a column less, and back again; models and database agree on both at every step."""
    home, other = manager(urls.pop(first), tmp_path), manager(urls.popitem()[1], tmp_path)
    home.init(models.name)
    made = await home.create_migration("First")
    for one in (home, other):
        await one.upgrade()
        assert await one.check() == []
    written = made.read_text()
    for foreign in ("sa.text('0')", "now()'", "CURRENT_TIMESTAMP", "info=", "glam_"):
        assert foreign not in written, written
    assert "server_default=sa.false()" in written
    assert "server_default=sa.func.now()" in written

    models.become(CHANGED)
    await home.create_migration("Lines and a column less")
    for one in (home, other):
        await one.upgrade()
        assert await one.check() == []
        await one.downgrade("-1")
        await one.upgrade()
        await one.downgrade("base")
        assert await one.current_revision() is None


async def test_changing_a_table_of_sqlite_keeps_the_rows_that_refer_to_it(
    urls: dict[str, str], models: Models, tmp_path: Path
) -> None:
    """SQLite's tables are changed by copying and dropping, which must not delete in cascade."""
    migrations = manager(urls["sqlite"], tmp_path)
    migrations.init(models.name)
    await migrations.create_migration("First")
    await migrations.upgrade()
    db = Database(DatabaseSettings(url=SecretStr(urls["sqlite"])))
    async with db.unit_of_work() as uow:
        await uow.session.execute(
            text(
                "INSERT INTO orders (id, code, shade, extra, other, moment, merchant_id, "
                "merchant_domain) VALUES ('o', 'c', 'RED', '{}', '{}', '2026-01-01', 'm', 'd')"
            )
        )
        await uow.session.execute(text("INSERT INTO lines (id, order_id) VALUES ('l', 'o')"))
    await db.stop()
    models.become(CHANGED + LINES)
    await migrations.create_migration("A column less")
    await migrations.upgrade()
    async with db.unit_of_work(read_only=True) as uow:
        assert await uow.session.scalar(text("SELECT count(*) FROM lines")) == 1
    with pytest.raises(ConflictError, match="does not exist"):
        async with db.unit_of_work() as uow:
            await uow.session.execute(text("INSERT INTO lines (id, order_id) VALUES ('x', 'no')"))
    await db.stop()


async def test_a_migration_that_leaves_references_to_nothing_is_refused(
    urls: dict[str, str], models: Models, tmp_path: Path
) -> None:
    """What SQLite would have said at once is said before the commit, and nothing is changed."""
    migrations = manager(urls["sqlite"], tmp_path)
    migrations.init(models.name)
    made = await migrations.create_migration("First", autogenerate=False)
    made.write_text(
        made.read_text().replace(
            "pass",
            """op.create_table('a', sa.Column('id', sa.Integer(), primary_key=True))
    op.create_table('b', sa.Column('a_id', sa.Integer(), sa.ForeignKey('a.id')))
    op.execute("INSERT INTO b VALUES (7)")""",
            1,
        )
    )
    with pytest.raises(DatabaseError, match="b to a"):
        await migrations.upgrade()
    assert await migrations.current_revision() is None
