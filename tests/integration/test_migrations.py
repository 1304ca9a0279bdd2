"""Prove migrations on real SQLite and real PostgreSQL with one suite, and ``glam db`` beside."""

from __future__ import annotations

import asyncio
import importlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import SecretStr
from sqlalchemy import text

from glam_sdk.cli import main
from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database, DatabaseTelemetry
from glam_sdk.database.migrations import MigrationManager, create_alembic_env_template
from glam_sdk.errors import ConfigurationError, DatabaseError
from glam_sdk.testing.postgres import PostgresServer
from tests.conftest import new_tracers

MODELS = """
from decimal import Decimal

from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.database import (
    Base as _, MerchantMixin, NAMING_CONVENTION, SoftDeleteMixin, TimestampedMixin, UuidKeyMixin,
    VersionedMixin,
)
from sqlalchemy import MetaData


class Base(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Order(
    UuidKeyMixin, TimestampedMixin, SoftDeleteMixin, VersionedMixin, MerchantMixin, Base
):
    __tablename__ = "orders"

    code: Mapped[str] = mapped_column(unique=True)
    total: Mapped[Decimal]
"""

SECOND = '''
"""Add a note."""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "0002", {first!r}, None, None
def upgrade():
    op.add_column("orders", sa.Column("note", sa.String()))
def downgrade():
    with op.batch_alter_table("orders") as orders:
        orders.drop_column("note")
'''


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: Any, tmp_path: Path) -> AsyncIterator[str]:
    if request.param == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'm.sqlite3'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = f"migrated_{uuid4().hex}"
    admin = Database(DatabaseSettings(url=SecretStr(server.url)))
    alone = admin.engine.execution_options(isolation_level="AUTOCOMMIT")
    async with alone.connect() as connection:
        await connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.url_of(name)
    async with alone.connect() as connection:
        await connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    await admin.stop()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Give the importable name of a module with the models of a service."""
    name = f"models_{uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(MODELS)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    return name


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def migrations(
    url: str, module: str, tmp_path: Path, exporter: InMemorySpanExporter
) -> MigrationManager:
    """Give a service whose first migration is written and not applied."""
    tracers = new_tracers()
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    made = MigrationManager(
        DatabaseSettings(url=SecretStr(url)),
        service_name="orders",
        directory=tmp_path / "migrations",
        telemetry=DatabaseTelemetry(tracer=tracers.get_tracer("t")),
    )
    made.init(module)
    await made.create_migration("Create the tables")
    return made


def first_revision(tmp_path: Path) -> str:
    (file,) = (tmp_path / "migrations/versions").glob("*.py")
    return file.name.partition("_")[0]


async def test_models_and_migrations_agree_once_applied(migrations: MigrationManager) -> None:
    """Autogenerate finds every column, index and type of the mixins, and nothing afterwards."""
    assert await migrations.current_revision() is None
    assert await migrations.check() == [
        "There are migrations that were not applied. Upgrade the database."
    ]
    await migrations.upgrade()
    assert await migrations.check() == []
    assert await migrations.current_revision() is not None
    assert await migrations.get_current_revision() == await migrations.current_revision()


async def test_a_model_without_a_migration_is_found(
    migrations: MigrationManager, module: str, tmp_path: Path
) -> None:
    """The difference is told in words."""
    await migrations.upgrade()
    file = tmp_path / f"{module}.py"
    file.write_text(f"{MODELS}\n    note: Mapped[str | None]\n")
    sys.modules.pop(module)
    importlib.invalidate_caches()
    assert await migrations.check() == ["add column orders.note"]


async def test_migrations_go_forth_and_back(migrations: MigrationManager, tmp_path: Path) -> None:
    """One step at a time, and all the way to the empty database."""
    first = first_revision(tmp_path)
    (tmp_path / "migrations/versions/0002_note.py").write_text(SECOND.format(first=first))
    await migrations.upgrade(first)
    assert await migrations.current_revision() == first
    await migrations.upgrade()
    assert await migrations.current_revision() == "0002"
    await migrations.downgrade("-1")
    assert await migrations.current_revision() == first
    await migrations.downgrade("base")
    assert await migrations.current_revision() is None


async def test_a_migration_that_fails_leaves_no_half_of_it(
    migrations: MigrationManager, tmp_path: Path
) -> None:
    """On SQLite too: the schema and its revision are one transaction."""
    first = first_revision(tmp_path)
    broken = SECOND.format(first=first).replace(
        "sa.String()))", 'sa.String()))\n    op.execute("SELECT * FROM nowhere")'
    )
    (tmp_path / "migrations/versions/0002_note.py").write_text(broken)
    await migrations.upgrade(first)
    with pytest.raises(DatabaseError, match="nowhere"):
        await migrations.upgrade()
    assert await migrations.current_revision() == first
    (tmp_path / "migrations/versions/0002_note.py").write_text(SECOND.format(first=first))
    await migrations.upgrade()
    assert await migrations.current_revision() == "0002"


async def test_each_migration_is_a_span_with_its_statements(
    migrations: MigrationManager, exporter: InMemorySpanExporter, tmp_path: Path
) -> None:
    """Who waits for a start-up sees which migration took how long."""
    exporter.clear()
    await migrations.upgrade()
    spans = exporter.get_finished_spans()
    (step,) = [s for s in spans if s.name == "migrate upgrade"]
    (whole,) = [s for s in spans if s.name == "migrations upgrade"]
    assert dict(step.attributes or {}) == {
        "glam.db.migration.revision": first_revision(tmp_path),
        "glam.db.migration.direction": "upgrade",
    }
    assert step.parent == whole.get_span_context()
    (table,) = [s for s in spans if s.name == "CREATE orders"]
    assert table.parent == step.get_span_context()


async def test_the_sql_can_be_had_without_a_connection(
    migrations: MigrationManager, url: str, tmp_path: Path
) -> None:
    """For databases whose schema somebody else changes."""
    sql = migrations.offline_sql()
    assert "CREATE TABLE orders" in sql
    assert "INSERT INTO alembic_version" in sql
    assert ("TIMESTAMP WITH TIME ZONE" in sql) == url.startswith("postgresql")
    back = migrations.offline_downgrade_sql(f"{first_revision(tmp_path)}:base")
    assert "DROP TABLE orders" in back
    assert await migrations.current_revision() is None


async def test_a_schema_is_created_once(migrations: MigrationManager, url: str) -> None:
    """Asking again is nothing; SQLite has no schemas."""
    await migrations.ensure_schema_exists("billing")
    await migrations.ensure_schema_exists("billing")
    if url.startswith("postgresql"):
        db = Database(DatabaseSettings(url=SecretStr(url)))
        async with db.unit_of_work() as uow:
            await uow.session.execute(text("CREATE TABLE billing.x (id int)"))
        await db.stop()


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
async def test_tables_in_a_schema_of_their_own_are_compared(
    url: str, module: str, tmp_path: Path
) -> None:
    """Once applied, models and migrations agree; schemas of others are left alone."""
    models = tmp_path / f"{module}.py"
    table = '__tablename__ = "orders"'
    models.write_text(
        MODELS.replace(table, f'{table}\n    __table_args__ = {{"schema": "billing"}}')
    )
    migrations = MigrationManager(
        DatabaseSettings(url=SecretStr(url)), service_name="orders", directory=tmp_path / "m"
    )
    migrations.init(module)
    for schema in ("billing", "others"):
        await migrations.ensure_schema_exists(schema)
    db = Database(DatabaseSettings(url=SecretStr(url)))
    async with db.unit_of_work() as uow:
        await uow.session.execute(text("CREATE TABLE others.x (id int)"))
    await migrations.create_migration("Create the tables")
    await migrations.upgrade()
    assert await migrations.check() == []
    assert await migrations.create_migration("Nothing") is None
    async with db.unit_of_work() as uow:
        await uow.session.execute(text("ALTER TABLE billing.orders DROP COLUMN total"))
    await db.stop()
    assert await migrations.check() == ["add column billing.orders.total"]


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
async def test_an_upgrade_of_sqlite_waits_longer_than_a_request_would(
    migrations: MigrationManager, url: str, tmp_path: Path
) -> None:
    """Another instance may take its time to migrate; ten minutes, as on PostgreSQL."""
    asking = SECOND.format(first=first_revision(tmp_path)).replace(
        'op.add_column("orders", sa.Column("note", sa.String()))',
        'op.execute("CREATE TABLE waited AS SELECT timeout FROM pragma_busy_timeout")',
    )
    (tmp_path / "migrations/versions/0002_ask.py").write_text(asking)
    await migrations.upgrade()
    db = Database(DatabaseSettings(url=SecretStr(url)))
    async with db.unit_of_work(read_only=True) as uow:
        assert await uow.session.scalar(text("SELECT timeout FROM waited")) == 600_000
    await db.stop()


async def test_the_sdks_own_tables_are_left_alone(migrations: MigrationManager, url: str) -> None:
    """Autogenerate does not want to drop what the outbox has made."""
    await migrations.upgrade()
    db = Database(DatabaseSettings(url=SecretStr(url)))
    async with db.unit_of_work() as uow:
        await uow.session.execute(text("CREATE TABLE glam_outbox (id int)"))
        await uow.session.execute(text("CREATE TABLE stray (id int)"))
    await db.stop()
    assert await migrations.check() == ["remove table stray"]


async def test_the_outbox_has_migrations_where_the_service_names_it(
    migrations: MigrationManager, tmp_path: Path
) -> None:
    """Taking the comment out of the file is all."""
    env = tmp_path / "migrations/env.py"
    *head, _ = env.read_text().replace("# from", "from").replace("# run", "run").splitlines()
    env.write_text("\n".join(head))
    await migrations.upgrade()
    await migrations.create_migration("Add the outbox")
    await migrations.upgrade()
    assert await migrations.check() == []
    assert "glam_inbox" in migrations.offline_sql()


async def test_any_message_makes_a_migration_that_can_be_read(
    migrations: MigrationManager,
) -> None:
    """Quotes and backslashes would end or change the docstring."""
    await migrations.upgrade()
    message = r'Say """hi""" in C:\Users\new "'
    file = await migrations.create_migration(message, autogenerate=False)
    assert file is not None
    compile(file.read_text(), str(file), "exec")
    await migrations.upgrade()


async def test_an_existing_environment_is_not_overwritten(
    migrations: MigrationManager, module: str, tmp_path: Path
) -> None:
    """Nor does a missing one end in a traceback."""
    with pytest.raises(ConfigurationError, match="exists already"):
        migrations.init(module)
    with pytest.raises(ConfigurationError, match="nosuch"):
        await migrations.upgrade("nosuch")


def test_the_template_is_two_imports_and_a_call() -> None:
    """Services reuse the environment instead of copying it."""
    env = create_alembic_env_template("orders", "orders.models:Tables")
    assert "from orders.models import Tables" in env
    assert 'run_migrations(Tables.metadata, service_name="orders")' in env


# The command line, as a deployment runs it


ROOT = str(Path(__file__).parents[2])
GLAM = "import sys; from glam_sdk.cli import main; sys.exit(main())"


def glam(directory: Path, url: str, *arguments: str) -> subprocess.Popen[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PYTEST"))}
    environment["PYTHONPATH"] = ROOT
    return subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from glam_sdk.cli import main; sys.exit(main())",
            *arguments,
        ],
        cwd=directory,
        env={**environment, "ORDERS_DATABASE__URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def outcome(process: subprocess.Popen[str]) -> tuple[int, str]:
    try:
        said, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    return process.returncode, said


async def upgrade_at_once(directory: Path, url: str, *, instances: int) -> None:
    """Hold the migration up until every instance has come as far as it can, then let it go."""
    (file,) = (directory / "migrations/versions").glob("*.py")
    held = "op.execute('SELECT pg_advisory_xact_lock(42)')"
    file.write_text(file.read_text().replace("    # ### commands", f"    {held}\n    # ###", 1))
    waiting = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    several: list[subprocess.Popen[str]] = []
    db = Database(DatabaseSettings(url=SecretStr(url)))
    autocommit = db.engine.execution_options(isolation_level="AUTOCOMMIT")
    try:
        async with autocommit.connect() as connection:
            await connection.execute(text("SELECT pg_advisory_lock(42)"))
            several += [glam(directory, url, "db", "upgrade", "orders") for _ in range(instances)]
            async with asyncio.timeout(120):
                while await connection.scalar(waiting) < instances:  # noqa: ASYNC110 - a lock sets no event
                    await asyncio.sleep(0.05)
            await connection.execute(text("SELECT pg_advisory_unlock(42)"))
    finally:
        await db.stop()
        codes = [outcome(one)[0] for one in several]
    assert codes == [0] * instances


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_the_command_line_does_the_same(
    url: str,
    module: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """init, revision, check, upgrade, current, downgrade; several upgrades at once take turns."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORDERS_DATABASE__URL", url)

    def run(*arguments: str) -> tuple[int, str]:
        code = main(["db", *arguments])
        said = capsys.readouterr()
        return code, said.out + said.err

    code, said = run("init", "orders", "--models", module)
    assert (code, "migrations/env.py" in said) == (0, True)
    code, said = run("revision", "orders", "-m", "First")
    assert (code, said.strip().endswith("_first.py")) == (0, True)
    code, said = run("check", "orders")
    assert (code, "not applied" in said) == (1, True)
    asyncio.run(upgrade_at_once(tmp_path, url, instances=2))
    code, said = run("check", "orders")
    assert (code, "agree" in said) == (0, True)
    code, said = outcome(glam(tmp_path, url, "db", "downgrade", "orders", "-1"))
    assert (code, "orders is at base" in said) == (0, True)
    code, said = run("upgrade", "orders", "--sql")
    assert (code, "CREATE TABLE orders" in said) == (0, True)
    code, said = run("current", "orders")
    assert (code, said) == (0, "base\n")


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_alembics_own_command_works_with_the_same_files(
    url: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who knows Alembic can go on using it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORDERS_DATABASE__URL", url)
    assert main(["db", "init", "orders", "--models", module]) == 0
    assert main(["db", "revision", "orders", "-m", "First"]) == 0
    done = subprocess.run(
        [sys.executable, "-m", "alembic", "upgrade", "head"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ROOT},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert main(["db", "check", "orders"]) == 0
