"""Prove the old session names and the request's one transaction through a real application."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Depends, FastAPI
from pydantic import SecretStr
from sqlalchemy import MetaData, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from glam_sdk.api import (
    DBSessionDep,
    UnitOfWorkDep,
    get_database_health,
    get_database_manager,
    get_db_session,
    set_database_manager,
)
from glam_sdk.config import DatabaseSettings
from glam_sdk.database import DatabaseSessionManager
from glam_sdk.errors import ConfigurationError
from glam_sdk.testing import capture_telemetry


class Model(DeclarativeBase):
    metadata = MetaData()


class Word(Model):
    __tablename__ = "words"

    text: Mapped[str] = mapped_column(primary_key=True)


@pytest.fixture(autouse=True)
def no_manager() -> Iterator[None]:
    yield
    set_database_manager(None)


@pytest.fixture
def settings(tmp_path: Path) -> DatabaseSettings:
    return DatabaseSettings(url=SecretStr(f"sqlite+aiosqlite:///{tmp_path / 'w.sqlite3'}"))


async def create_table(manager: DatabaseSessionManager) -> None:
    async with manager.engine.begin() as connection:
        await connection.run_sync(Model.metadata.create_all)


async def test_a_manager_commits_on_success_and_rolls_back_on_error(
    settings: DatabaseSettings,
) -> None:
    """Its session context is a unit of work."""
    manager = DatabaseSessionManager(settings)
    await manager.init()
    await create_table(manager)

    async def fail() -> None:
        async with manager.session() as session:
            session.add(Word(text="lost"))
            raise KeyError

    async with manager.session() as session:
        session.add(Word(text="kept"))
    with pytest.raises(KeyError):
        await fail()
    async with manager.session() as session:
        assert (await session.scalars(select(Word.text))).all() == ["kept"]
    assert await manager.health() == {"status": "healthy", "detail": ""}
    await manager.close()


async def test_without_a_manager_the_old_functions_say_what_to_do() -> None:
    """No call on a missing method any more."""
    with pytest.raises(ConfigurationError, match="set_database_manager"):
        get_database_manager()
    assert (await get_database_health())["status"] == "unhealthy"


async def test_the_set_manager_is_the_one_that_is_used(settings: DatabaseSettings) -> None:
    """Also by the dependency, in an application without a running service."""
    manager = DatabaseSessionManager(settings)
    set_database_manager(manager)
    assert get_database_manager() is manager
    await create_table(manager)
    app = FastAPI()

    @app.post("/words/{text}")
    async def add(text: str, session: Annotated[AsyncSession, Depends(get_db_session)]) -> None:
        session.add(Word(text=text))

    assert (await post(app, "/words/a")).status_code == 200
    async with manager.session() as session:
        assert (await session.scalars(select(Word.text))).all() == ["a"]
    assert (await get_database_health())["status"] == "healthy"
    await manager.close()


async def test_all_dependencies_of_a_request_share_one_transaction(tmp_path: Path) -> None:
    """Session and unit of work write together or not at all, and commit before the answer."""
    url = f"sqlite+aiosqlite:///{tmp_path / 's.sqlite3'}"
    with capture_telemetry("words", overrides={"database": {"url": url}}) as captured:
        database = captured.service.use_database(Model.metadata)
        app = captured.service.install(FastAPI())

        @app.post("/words/{text}")
        async def add(
            text: str,
            session: DBSessionDep,
            unit: UnitOfWorkDep,
            plain: Annotated[AsyncSession, Depends(get_db_session)],
        ) -> dict[str, bool]:
            session.add(Word(text=text))
            await session.flush()
            await unit.repository(Word).save(Word(text=f"{text}{text}"))
            if text == "bad":
                raise KeyError(text)
            return {"one": session is unit.session is plain}

        async with captured.service:
            assert (await post(app, "/words/a")).json() == {"one": True}
            assert (await post(app, "/words/bad")).status_code == 500
            async with database.unit_of_work(read_only=True) as uow:
                assert (await uow.session.scalars(select(Word.text))).all() == ["a", "aa"]


async def test_the_pool_is_on_the_services_scrape(tmp_path: Path) -> None:
    """Without anything to be set up."""
    url = f"sqlite+aiosqlite:///{tmp_path / 'p.sqlite3'}"
    with capture_telemetry("words", overrides={"database": {"url": url}}) as captured:
        captured.service.use_database(Model.metadata)
        async with captured.service:
            scrape = captured.scrape()
    for name in ("count", "max", "idle_max", "pending_requests", "wait_time_seconds_bucket"):
        assert f"db_client_connection_{name}" in scrape
    assert 'db_client_connection_pool_name="words/p.sqlite3"' in scrape


async def post(app: Any, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(path)
