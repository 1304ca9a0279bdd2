"""What a service is made of is left alone by garbage collections, while it runs and no longer."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from glam_sdk.errors import DatabaseError
from glam_sdk.runtime.heap import Heap
from glam_sdk.testing import capture_telemetry


class Node:
    """Be part of a cycle."""

    def __init__(self) -> None:
        self.me = self


def is_walked_over(thing: object) -> bool:
    """Tell whether a full collection visits an object."""
    return any(each is thing for each in gc.get_objects())


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


async def test_what_exists_at_start_is_left_alone_until_the_stop(telemetry) -> None:
    """Later objects are the collector's as ever; in the end all of them are."""
    before = Node()
    async with telemetry.service:
        after = Node()
        assert not is_walked_over(before)
        assert is_walked_over(after)
    assert is_walked_over(before)


async def test_it_lasts_until_the_last_stop(telemetry) -> None:
    """A service that was started twice runs until it was stopped twice."""
    before = Node()
    async with telemetry.service:
        async with telemetry.service:
            pass
        assert not is_walked_over(before)
    assert is_walked_over(before)


async def test_what_the_applications_own_lifespan_loads_is_left_alone_too(telemetry) -> None:
    """It starts after the service; a model that it loads is often the biggest thing there is."""
    model, later = Node(), []

    @asynccontextmanager
    async def lifespan(_):
        later.append(Node())
        yield

    app = telemetry.service.install(FastAPI(lifespan=lifespan))
    async with app.router.lifespan_context(app):
        assert not is_walked_over(model)
        assert not is_walked_over(later[0])
    assert is_walked_over(later[0])


async def test_something_big_can_be_set_aside_later(telemetry) -> None:
    """``freeze`` is for whoever loads it while the service runs; else it does nothing."""
    idle = Node()
    telemetry.service.freeze()
    assert is_walked_over(idle)
    async with telemetry.service:
        model = Node()
        telemetry.service.freeze()
        assert not is_walked_over(model)
    assert is_walked_over(model)


async def test_a_model_that_is_loaded_anew_replaces_the_old_one(telemetry) -> None:
    """The old one was set aside, and is a cycle; it goes with the next call."""
    async with telemetry.service:
        model = Node()
        telemetry.service.freeze()
        old = weakref.ref(model)
        model = Node()
        telemetry.service.freeze()
        assert old() is None
        assert not is_walked_over(model)


async def test_what_the_own_lifespan_leaves_behind_is_collected(telemetry) -> None:
    """Most garbage is made where models are loaded, with files and sockets in it."""
    left = []

    @asynccontextmanager
    async def lifespan(_):
        left.append(weakref.ref(Node()))
        yield

    app = telemetry.service.install(FastAPI(lifespan=lifespan))
    async with app.router.lifespan_context(app):
        assert left[0]() is None


async def test_references_count_as_ever(telemetry) -> None:
    """What is set aside is freed with its last reference; only cycles wait for the stop."""
    plain, cycle = {1, 2}, Node()
    gone, kept = weakref.ref(plain), weakref.ref(cycle)
    async with telemetry.service:
        del plain, cycle
        assert gone() is None
        gc.collect()
        assert kept() is not None
    gc.collect()
    assert kept() is None


async def test_a_start_that_fails_leaves_nothing_set_aside(telemetry) -> None:
    """Who tries again, or goes on without, has the collector as it was."""

    class Broken:
        name = "broken"

        async def start(self) -> None:
            telemetry.service.note_started()
            raise DatabaseError("No database.")

    before = Node()
    telemetry.service.add(Broken())
    with pytest.raises(DatabaseError):
        await telemetry.service.start()
    assert is_walked_over(before)


async def test_the_setting_switches_it_off() -> None:
    """``service.gc_freeze`` is for processes that look after their heap themselves."""
    before = Node()
    with capture_telemetry(overrides={"service": {"gc_freeze": False}}) as captured:
        async with captured.service:
            captured.service.freeze()
            assert is_walked_over(before)


def test_a_process_without_a_collector_is_left_alone() -> None:
    """Who has switched it off has reasons; a stop then undoes nothing."""
    before = Node()
    gc.disable()
    gc.freeze()
    after = Node()
    heap = Heap(enabled=True)
    heap.hold()
    assert is_walked_over(after)
    heap.release()
    assert not is_walked_over(before)


def test_garbage_is_collected_first(monkeypatch) -> None:
    """Else what the imports left behind, with sockets and files in it, stayed for good."""
    monkeypatch.setattr(Heap, "_clean", 0)
    garbage = weakref.ref(Node())
    heap = Heap(enabled=True)
    heap.hold()
    assert garbage() is None
    heap.release()


def test_starts_in_a_row_collect_as_the_heap_grows(monkeypatch) -> None:
    """A suite that starts a service for each test does not wait each time, nor grow for ever."""
    monkeypatch.setattr(Heap, "_clean", 0)

    def restart() -> int:
        before = gc.get_stats()[2]["collections"]
        heap = Heap(enabled=True)
        heap.hold()
        heap.release()
        return gc.get_stats()[2]["collections"] - before

    assert restart() >= 1
    assert restart() == 0
    garbage = [Node() for _ in range(len(gc.get_objects()) // 2)]
    first = weakref.ref(garbage[0])
    garbage.clear()
    assert restart() >= 1
    assert first() is None


def test_two_services_hold_until_the_last_lets_go() -> None:
    """One that stops leaves the other as it was."""
    mine = Node()
    one, other = Heap(enabled=True), Heap(enabled=True)
    one.hold()
    other.hold()
    other.release()
    assert not is_walked_over(mine)
    one.release()
    assert is_walked_over(mine)
