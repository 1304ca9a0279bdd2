"""Prove the repository on real SQLite and real PostgreSQL with one suite."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import ForeignKey, MetaData, UniqueConstraint, func, select
from sqlalchemy.exc import MissingGreenlet, MultipleResultsFound
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship, selectinload

from glam_sdk.database import (
    INCLUDE_DELETED,
    NAMING_CONVENTION,
    Database,
    Repository,
    SoftDeleteMixin,
    TimestampedMixin,
    UuidKeyMixin,
    VersionedMixin,
)
from glam_sdk.errors import ConflictError, NotFoundError, ValidationError
from glam_sdk.testing.postgres import PostgresServer

OLD = datetime(2020, 1, 1, tzinfo=UTC)


class Model(DeclarativeBase):
    metadata = MetaData(naming_convention=NAMING_CONVENTION)


class Shop(UuidKeyMixin, TimestampedMixin, Model):
    __tablename__ = "shops"

    name: Mapped[str] = mapped_column(unique=True)
    rank: Mapped[int] = mapped_column(default=0)
    note: Mapped[str | None]
    items: Mapped[list[Item]] = relationship(back_populates="shop", order_by="Item.sku")


class Item(UuidKeyMixin, TimestampedMixin, SoftDeleteMixin, VersionedMixin, Model):
    __tablename__ = "items"
    __table_args__ = (UniqueConstraint("shop_id", "sku"),)

    shop_id: Mapped[UUID] = mapped_column(ForeignKey("shops.id"))
    sku: Mapped[str]
    stock: Mapped[int] = mapped_column(default=0)
    shop: Mapped[Shop] = relationship(back_populates="items")


@pytest.fixture
async def db(url: str, open_database: Any) -> Database:
    observed = await open_database(url, Model.metadata)
    database: Database = observed.db
    return database


async def shops(db: Database, *names: str) -> list[Shop]:
    async with db.unit_of_work() as uow:
        made = [Shop(name=name, rank=rank) for rank, name in enumerate(names)]
        return await uow.repository(Shop).save_all(made)


async def items(db: Database, *skus: str) -> list[Item]:
    (shop,) = await shops(db, "shop")
    async with db.unit_of_work() as uow:
        return await uow.repository(Item).save_all(Item(shop_id=shop.id, sku=s) for s in skus)


def test_the_class_stays_small() -> None:
    """At most 20 public methods and 6 parameters each."""
    public = {n: m for n, m in inspect.getmembers(Repository) if callable(m) and n[0] != "_"}
    assert len(public) <= 20, sorted(public)
    assert {n for n, m in public.items() if len(inspect.signature(m).parameters) > 6} == set()


async def test_saved_entities_are_whole_without_another_query(db: Database) -> None:
    """Keys, defaults and timestamps are there to be read, in the unit of work and after it."""
    (shop,) = await shops(db, "a")
    assert shop.id.version == 7
    assert (shop.name, shop.rank, shop.note) == ("a", 0, None)
    assert shop.created_at.tzinfo is UTC
    async with db.unit_of_work() as uow:
        live = await uow.repository(Shop).get(shop.id)
        live.note = "changed"
        await uow.repository(Shop).save(live)
        assert live.updated_at > shop.updated_at


async def test_conditions_and_exact_filters_narrow_a_list(db: Database) -> None:
    """Expressions are the operators: typed, and whatever SQL can do."""
    await shops(db, "a", "b", "c", "d")
    async with db.unit_of_work(read_only=True) as uow:
        repository = uow.repository(Shop)
        found = await repository.find_all(Shop.rank >= 1, Shop.name.in_(["b", "d"]), note=None)
        assert [shop.name for shop in found] == ["b", "d"]
        assert await repository.count(Shop.rank > 1) == 2
        assert await repository.exists(name="a")
        assert not await repository.exists(Shop.rank > 99)
        one = await repository.find_one(name="c")
        assert one is not None
        assert one.rank == 2
        assert await repository.find_one(name="z") is None
        with pytest.raises(MultipleResultsFound):
            await repository.find_one(Shop.rank > 1)


async def test_a_list_is_ordered_by_names_or_expressions(db: Database) -> None:
    """A minus sign turns the order round; an unknown name is an error."""
    await shops(db, "b", "a", "c")
    async with db.unit_of_work(read_only=True) as uow:
        repository = uow.repository(Shop)
        by_name = [s.name for s in await repository.find_all(order_by="-name")]
        assert by_name == ["c", "b", "a"]
        several = await repository.find_all(order_by=[func.length(Shop.name), Shop.name.asc()])
        assert [s.name for s in several] == ["a", "b", "c"]
        assert len(await repository.find_all(order_by=Shop.rank)) == 3
        with pytest.raises(ValueError, match="no column 'nmae'"):
            await repository.find_all(order_by="-nmae")


async def test_a_page_knows_how_long_the_list_is(db: Database) -> None:
    """A page behind the end is empty, and the total is still right."""
    await shops(db, *"abcde")
    async with db.unit_of_work(read_only=True) as uow:
        page = await uow.repository(Shop).page(page=2, limit=2, order_by="name")
        assert ([s.name for s in page.items], page.total, page.pages) == (["c", "d"], 5, 3)
        beyond = await uow.repository(Shop).page(page=9, limit=2)
        assert (list(beyond.items), beyond.total) == ([], 5)


@pytest.mark.parametrize("order", ["name", "-rank", ["-rank", "name"], "created_at", "id"])
async def test_keyset_pages_give_every_row_once(db: Database, order: Any) -> None:
    """Ties are decided by the key, also when rows come in between the pages."""
    async with db.unit_of_work() as uow:
        await uow.repository(Shop).save_all(Shop(name=f"{n:02}", rank=n % 3) for n in range(11))
    async with db.unit_of_work(read_only=True) as uow:
        repository = uow.repository(Shop)
        whole = [s.name for s in await repository.find_all(Shop.rank < 9, order_by=order)]
        seen, cursor = [], None
        while True:
            page = await repository.page_after(cursor, Shop.rank < 9, limit=4, order_by=order)
            seen += [s.name for s in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
        assert seen == whole


@pytest.mark.parametrize("down", [True, False])
async def test_keyset_pages_go_the_way_the_order_says_whatever_is_around_it(
    db: Database, *, down: bool
) -> None:
    """``nulls_last()`` around a descending column, which on one without NULLs says nothing."""
    await shops(db, *"abcde")
    order = Shop.rank.desc().nulls_last() if down else Shop.rank.asc().nulls_first()
    async with db.unit_of_work(read_only=True) as uow:
        first = await uow.repository(Shop).page_after(None, limit=3, order_by=order)
        rest = await uow.repository(Shop).page_after(first.next_cursor, limit=3, order_by=order)
    seen = [shop.name for shop in (*first.items, *rest.items)]
    assert seen == (list("edcba") if down else list("abcde"))


@given(
    cursor=st.one_of(st.text(max_size=60), st.sampled_from(["W10=", "WzFd", "e30=", "A" * 9999]))
)
def test_a_cursor_that_is_not_ours_is_a_validation_error(cursor: str) -> None:
    """Whatever a client sends, it is told so, and nothing of it is repeated."""
    from glam_sdk.database.query import Keyset

    keyset = Keyset(inspect_mapper(), "-rank")
    with pytest.raises(ValidationError, match="cursor") as caught:
        keyset.after(cursor)
    assert caught.value.details == {"field": "cursor"}


@given(rank=st.integers(-(2**31), 2**31 - 1), key=st.uuids(), at=st.datetimes())
def test_a_cursor_reads_back_what_it_was_made_of(rank: int, key: UUID, at: datetime) -> None:
    """Moments, numbers and ids come back as they are."""
    from glam_sdk.database.query import Keyset

    keyset = Keyset(inspect_mapper(), ["rank", "-created_at"])
    moment = at.replace(tzinfo=UTC)
    cursor = keyset.cursor(Shop(id=key, rank=rank, created_at=moment))
    assert keyset._read(cursor) == (rank, moment, key)


def inspect_mapper() -> Any:
    from sqlalchemy import inspect as sa_inspect

    return sa_inspect(Shop)


async def test_a_keyset_refuses_columns_without_a_place_for_every_row(db: Database) -> None:
    """NULLs don't compare, so their rows would be lost."""
    async with db.unit_of_work(read_only=True) as uow:
        with pytest.raises(ValueError, match=r"Shop\.note may be NULL"):
            await uow.repository(Shop).page_after(None, order_by="note")
        with pytest.raises(ValueError, match="need columns"):
            await uow.repository(Shop).page_after(None, order_by=func.lower(Shop.name))


async def test_a_stream_gives_all_rows_in_chunks(db: Database) -> None:
    """Only a chunk is in memory at a time; leaving early gives the cursor back."""
    await shops(db, *"abcdefg")
    async with db.unit_of_work(read_only=True) as uow:
        chunks = [
            [shop.name for shop in chunk]
            async for chunk in uow.repository(Shop).stream(chunk_size=3, order_by="name")
        ]
        assert chunks == [["a", "b", "c"], ["d", "e", "f"], ["g"]]
        async for chunk in uow.repository(Shop).stream(chunk_size=2):
            assert len(chunk) == 2
            break
        assert await uow.repository(Shop).count() == 7


async def test_many_rows_are_inserted_from_mappings_with_their_defaults(db: Database) -> None:
    """Keys and timestamps are filled in; the number is that of all chunks."""
    async with db.unit_of_work() as uow:
        rows = [{"name": f"{n:05}", "rank": n} for n in range(2500)]
        assert await uow.repository(Shop).insert_many(rows) == 2500
        assert await uow.repository(Shop).count() == 2500
        one = await uow.repository(Shop).find_one(name="02499")
        assert one is not None
        assert (one.rank, one.id.version) == (2499, 7)
        with pytest.raises(ValueError, match="no column 'nmae'"):
            await uow.repository(Shop).insert_many([{"nmae": "x"}])
        assert await uow.repository(Shop).insert_many([]) == 0


async def test_an_upsert_inserts_or_updates_and_returns_the_live_entities(db: Database) -> None:
    """``updated_at`` moves, ``created_at`` stays, and what the session holds is refreshed."""
    async with db.unit_of_work() as uow:
        repository = uow.repository(Shop)
        kept = await repository.save(Shop(name="a", rank=1, created_at=OLD, updated_at=OLD))
        rows = [{"name": "a", "rank": 5}, {"name": "b", "rank": 6}]
        written = await repository.upsert(rows, on=["name"])
        assert {(s.name, s.rank) for s in written} == {("a", 5), ("b", 6)}
        assert kept in written
        assert (kept.rank, kept.created_at) == (5, OLD)
        assert kept.updated_at > OLD
        untouched = await repository.upsert([{"name": "a", "rank": 9}], on=["name"], update=())
        assert untouched == []
        await uow.session.refresh(kept)
        assert kept.rank == 5
        assert await repository.upsert([], on=["name"]) == []


async def test_a_bulk_update_moves_moment_and_version(db: Database) -> None:
    """One statement changes the rows that match and nothing else; deleted ones are left out."""
    first, second, third = await items(db, "a", "b", "c")
    async with db.unit_of_work() as uow:
        repository = uow.repository(Item)
        await repository.delete_by_id(third.id)
        assert await repository.update_all({"stock": Item.stock + 4}, Item.sku != "b") == 1
        changed, same = await repository.get(first.id), await repository.get(second.id)
        await uow.session.refresh(changed)
        assert (changed.stock, changed.version, same.stock, same.version) == (4, 2, 0, 1)
        assert changed.updated_at > first.updated_at
        with pytest.raises(ValueError, match="no column 'stokc'"):
            await repository.update_all({"stokc": 1})


async def test_a_change_made_to_an_old_state_is_a_conflict(db: Database) -> None:
    """The version column catches both a stale copy and a concurrent writer."""
    (item,) = await items(db, "a")
    async with db.unit_of_work() as uow:
        (await uow.repository(Item).get(item.id)).stock = 1
    item.stock = 99
    with pytest.raises(ConflictError, match="meanwhile"):
        async with db.unit_of_work() as uow:
            await uow.repository(Item).update(item)
    async with db.unit_of_work(read_only=True) as uow:
        stored = await uow.repository(Item).get(item.id)
        assert (stored.stock, stored.version) == (1, 2)


async def test_deleted_rows_are_invisible_everywhere(db: Database) -> None:
    """In lists, counts, relationships, joins, streams and statements of the session alike."""
    first, _ = await items(db, "a", "b")
    async with db.unit_of_work() as uow:
        await uow.repository(Item).delete_by_id(first.id)
    async with db.unit_of_work(read_only=True) as uow:
        repository = uow.repository(Item)
        assert await repository.count() == 1
        assert not await repository.exists(sku="a")
        assert await repository.find_by_id(first.id) is None
        with pytest.raises(NotFoundError):
            await repository.get(first.id)
        assert [i.sku for i in (await uow.session.scalars(select(Item))).all()] == ["b"]
        shop = await uow.repository(Shop).with_options(selectinload(Shop.items)).find_one()
        assert shop is not None
        assert [item.sku for item in shop.items] == ["b"]
        joined = select(func.count()).select_from(Shop).join(Shop.items)
        assert await uow.session.scalar(joined) == 1
        streamed = [item.sku async for chunk in repository.stream() for item in chunk]
        assert streamed == ["b"]


async def test_deleted_rows_can_be_asked_for_and_brought_back(db: Database) -> None:
    """The way round is explicit: an option of the repository, of a statement, or a filter."""
    first, _ = await items(db, "a", "b")
    async with db.unit_of_work() as uow:
        repository = uow.repository(Item)
        assert await repository.delete_all(sku="a") == 1
        everything = repository.with_options(include_deleted=True)
        assert await everything.count() == 2
        gone = await everything.get(first.id)
        assert gone.is_deleted
        assert len(await repository.find_all(is_deleted=True)) == 1
        statement = select(func.count()).select_from(Item)
        assert await uow.session.scalar(statement, execution_options={INCLUDE_DELETED: True}) == 2
        restored = await repository.restore(first.id)
        assert (restored.is_deleted, restored.deleted_at) == (False, None)
        assert await repository.count() == 2
        with pytest.raises(NotFoundError):
            await repository.restore(uuid4())
        with pytest.raises(TypeError, match="no SoftDeleteMixin"):
            await uow.repository(Shop).restore(uuid4())
        await everything.delete(restored)
        assert await everything.count() == 1
        assert await everything.delete_all() == 1
        assert await everything.count() == 0


async def test_an_upsert_brings_a_deleted_row_back(db: Database) -> None:
    """What is written again is there again, with the same id."""
    (item,) = await items(db, "a")
    async with db.unit_of_work() as uow:
        await uow.repository(Item).delete_by_id(item.id)
        row = {"shop_id": item.shop_id, "sku": "a", "stock": 3}
        (back,) = await uow.repository(Item).upsert([row], on=["shop_id", "sku"])
        assert (back.id, back.stock, back.is_deleted, back.version) == (item.id, 3, False, 3)


async def test_a_relationship_read_without_loading_says_what_to_do(
    postgres: PostgresServer, open_database: Any
) -> None:
    """The pitfall of asynchronous sessions comes with its cure."""
    db = (await open_database(postgres.url, Model.metadata)).db
    await items(db, "a")

    async def read() -> None:
        async with db.unit_of_work(read_only=True) as uow:
            shop = await uow.repository(Shop).find_one()
            assert shop.items

    with pytest.raises(MissingGreenlet) as caught:
        await read()
    assert "with_options(selectinload" in "".join(caught.value.__notes__)


async def test_a_locked_row_is_read_anew(db: Database) -> None:
    """What another transaction committed meanwhile is seen before it is changed."""
    (shop,) = await shops(db, "a")
    async with db.unit_of_work() as uow:
        locked = await uow.repository(Shop).get(shop.id, lock=True)
        assert locked.updated_at <= datetime.now(UTC) + timedelta(seconds=1)
        assert await uow.repository(Shop).find_by_id(uuid4(), lock=True) is None


class Shops(Repository[Shop]):
    """A repository with a question of its own, as services write them."""

    async def best(self) -> Shop | None:
        found = await self.find_all(order_by="-rank", limit=1)
        return found[0] if found else None


async def test_a_service_s_own_repository_stands_on_ours(db: Database) -> None:
    """It takes the unit of work's session; every method and option is there."""
    await shops(db, "a", "b")
    async with db.unit_of_work(read_only=True) as uow:
        own = Shops(uow.session, Shop)
        best = await own.best()
        assert best is not None
        assert best.name == "b"
        eager = own.with_options(selectinload(Shop.items))
        assert isinstance(eager, Shops)
        assert (await eager.get(best.id)).name == "b"


async def test_an_entity_in_hand_gets_what_the_options_ask_for(db: Database) -> None:
    """Otherwise reading it would fail though it was asked for; changes in hand are kept."""
    (item,) = await items(db, "a")
    async with db.unit_of_work() as uow:
        held = await uow.repository(Shop).get(item.shop_id)
        held.note = "changed"
        whole = await uow.repository(Shop).with_options(selectinload(Shop.items)).get(held.id)
        assert whole is held
        assert [one.sku for one in whole.items] == ["a"]
        assert whole.note == "changed"


class Flag(UuidKeyMixin, Model):
    """A row of nothing but its key, and a boolean to sort by."""

    __tablename__ = "flags"

    code: Mapped[str] = mapped_column(unique=True)
    featured: Mapped[bool] = mapped_column(default=False)


async def test_an_upsert_of_nothing_but_the_key_returns_the_rows(db: Database) -> None:
    """The second time too, when every row is there already."""
    rows = [{"code": str(number)} for number in range(5)]
    for _ in range(2):
        async with db.unit_of_work() as uow:
            found = await uow.repository(Flag).upsert(rows, on=["code"])
            assert sorted(flag.code for flag in found) == ["0", "1", "2", "3", "4"]


async def test_an_upsert_of_rows_with_different_columns_is_refused(db: Database) -> None:
    """A column the first row has not would be lost in silence."""
    async with db.unit_of_work() as uow:
        with pytest.raises(ValueError, match="Row 1 has the columns"):
            await uow.repository(Flag).upsert(
                [{"code": "a"}, {"code": "b", "featured": True}], on=["code"]
            )


async def test_keyset_pages_can_be_ordered_by_a_boolean(db: Database) -> None:
    """Each row once, also from the second page on."""
    async with db.unit_of_work() as uow:
        flags = [Flag(code=f"{number:02}", featured=number % 3 == 0) for number in range(10)]
        await uow.repository(Flag).save_all(flags)
        cursor, seen = None, []
        while True:
            page = await uow.repository(Flag).page_after(
                cursor, limit=3, order_by=("-featured", "code")
            )
            seen += [flag.code for flag in page.items]
            cursor = page.next_cursor
            if cursor is None:
                break
    assert seen == ["00", "03", "06", "09", "01", "02", "04", "05", "07", "08"]
