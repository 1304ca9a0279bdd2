"""Do the work that every peer serves, kept in one place so that it is the same for all."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import FastAPI
from pydantic import BaseModel
from sqlalchemy import String, select
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

LogItem = Callable[[int], None]
Sessions = Callable[[], AbstractAsyncContextManager[AsyncSession]]


class Base(DeclarativeBase):
    """Hold the benchmark's one table."""


class ItemRow(Base):
    """Map the rows that ``GET /db/{item_id}`` reads."""

    __tablename__ = "items"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))
    price: Mapped[float]


class Item(BaseModel):
    """Show an item to the caller."""

    id: int
    name: str
    price: float
    tags: list[str] = []


def database_url() -> str:
    """Return the URL of this peer's own copy of the database."""
    return f"sqlite+aiosqlite:///{os.environ['BENCH_DATABASE']}"


def make_engine() -> AsyncEngine:
    """Return a plain engine with a connection for each client."""
    return create_async_engine(database_url(), pool_size=16, max_overflow=0)


def plain_sessions(engine: AsyncEngine) -> Sessions:
    """Return sessions as SQLAlchemy's documentation opens them."""
    return async_sessionmaker(engine, expire_on_commit=False)


async def fetch(sessions: Sessions, item_id: int) -> Item:
    """Read a row by its key."""
    async with sessions() as session:
        found = await session.execute(select(ItemRow).where(ItemRow.id == item_id))
        row = found.scalar_one()
        return Item(id=row.id, name=row.name, price=row.price)


def add_routes(app: FastAPI, sessions: Sessions, log_item: LogItem | None = None) -> None:
    """Add the three routes.

    Args:
        app: The application to add them to.
        sessions: Opens a session for ``/db``.
        log_item: Writes the application's one log line of ``/items``; nothing is logged without.
    """

    @app.get("/ping")
    async def ping() -> dict[str, bool]:
        return {"ok": True}

    @app.get("/items/{item_id}")
    async def get_item(item_id: int) -> Item:
        if log_item is not None:
            log_item(item_id)
        return Item(id=item_id, name="lipstick", price=9.5, tags=["red", "matte"])

    @app.get("/db/{item_id}")
    async def get_row(item_id: int) -> Item:
        return await fetch(sessions, item_id)
