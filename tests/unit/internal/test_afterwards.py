"""What is put off is done once, in order, at the end of the turn, whoever asks."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import inspect
import os
import threading

import pytest

from glam_sdk._internal.afterwards import Afterwards, serving, settle


@pytest.fixture
def done():
    """What has been done so far."""
    return []


@pytest.fixture
def later(done):
    return Afterwards(done.append)


async def _one_turn(later, seen=lambda: True):
    """Put two items off, and look when the turn is over."""
    with serving():
        later(1)
        later(2)
        await asyncio.sleep(0)
        assert seen()


async def _call(function, *args, seen=lambda: True):
    """Call a function in a loop, and look before the turn is over."""
    function(*args)
    assert seen()


def test_without_a_serving_loop_it_is_done_at_once(done, later):
    later(1)

    async def not_serving():
        later(2)
        assert done == [1, 2]

    asyncio.run(not_serving())


def test_a_serving_loop_does_it_at_the_end_of_its_turn_in_order(done, later):

    async def serve():
        with serving():
            later(1)
            later(2)
            assert not done
            await asyncio.sleep(0)
            assert done == [1, 2]
            later(3)
        assert done == [1, 2, 3], "nothing waits past the end of serving"
        later(4)
        assert done == [1, 2, 3, 4]

    asyncio.run(serve())


def test_serving_lasts_until_the_last_of_those_that_serve(done, later):

    async def serve():
        with serving():
            with serving():
                pass
            later(1)
            assert not done

    asyncio.run(serve())
    assert done == [1]


def test_few_wait_and_then_all_of_them_have_their_turn(done, later):
    """Done in rows, also where a turn brings many; few wait, so the collector has little to see."""
    rows = []

    async def serve():
        with serving():
            for number in range(100):
                before = len(done)
                later(number)
                rows.append(len(done) - before)
            assert done == list(range(len(done)))
            assert set(rows) == {0, 24}
            assert sum(rows) == 96
            await asyncio.sleep(0)
            assert done == list(range(100))

    asyncio.run(serve())


def test_what_is_put_off_in_one_turn_starts_no_collection():
    """Each message of a burst leaves a dozen objects behind; no collection walks over them."""
    later = Afterwards(lambda item: item.clear())

    async def serve():
        with serving():
            gc.collect()
            before = gc.get_stats()[0]["collections"]
            for _ in range(2000):
                later([[] for _ in range(12)])
            return gc.get_stats()[0]["collections"] - before

    assert asyncio.run(serve()) < 3  # put off to the end, it would start thirty


def test_what_makes_room_may_bring_more(caplog):
    """A burst is told span by span: what one puts off is done at once, never nested."""
    done = []
    second = Afterwards(done.append)
    deepest = 0

    def do(item):
        nonlocal deepest
        deepest = max(deepest, len(inspect.stack(0)))
        second(item)

    first = Afterwards(do)

    async def serve():
        nonlocal deepest
        with serving():
            first(0)
            await asyncio.sleep(0)
            usual, deepest = deepest, 0
            for number in range(1, 1000):
                first(number)
            await asyncio.sleep(0)
        assert deepest <= usual + 3

    asyncio.run(serve())
    assert sorted(done) == list(range(1000))


def test_each_is_done_in_the_context_of_who_brought_it():
    tenant = contextvars.ContextVar("tenant", default="nobody")
    done = []
    later = Afterwards(lambda item: done.append((item, tenant.get())))

    async def request(name):
        tenant.set(name)
        later(name)

    async def serve():
        with serving():
            await asyncio.gather(request("a"), request("b"))
            later("c")

    asyncio.run(serve())
    assert done == [("a", "a"), ("b", "b"), ("c", "nobody")]


def test_what_is_put_off_meanwhile_is_done_at_once():
    done = []
    second = Afterwards(done.append)

    def do(item):
        second(-item)
        done.append(item)

    first = Afterwards(do)

    async def serve():
        with serving():
            first(1)
            first(2)
            await asyncio.sleep(0)
            assert done == [-1, 1, -2, 2]
            second(3)
            assert done[4:] == []

    asyncio.run(serve())


def test_loops_do_not_wait_for_each_other(done, later):
    is_put_off, may_end = threading.Event(), threading.Event()

    async def held_up():
        with serving():
            later("held up")
            is_put_off.set()
            may_end.wait(30)

    async def serve():
        with serving():
            later("free")
            await asyncio.sleep(0)
            assert done == ["free"]

    thread = threading.Thread(target=lambda: asyncio.run(held_up()))
    thread.start()
    try:
        assert is_put_off.wait(30)
        asyncio.run(serve())
    finally:
        may_end.set()
        thread.join()
    assert done == ["free", "held up"]


def test_while_a_loop_that_serves_stands_still_all_is_done_at_once(done, later):
    """Nobody knows when its next turn is; another loop of the thread has its own."""
    loop, block = asyncio.new_event_loop(), serving()

    async def serve():
        with serving():
            later("in the other's turn")
            assert done == ["standing still", "in another loop"]

    loop.run_until_complete(_call(block.__enter__))
    later("standing still")
    assert done == ["standing still"]
    asyncio.run(_call(later, "in another loop", seen=lambda: done[1:] == ["in another loop"]))
    asyncio.run(serve())
    loop.run_until_complete(_call(block.__exit__, None, None, None))
    loop.close()
    assert done[2:] == ["in the other's turn"]


@pytest.mark.parametrize("is_closed", [False, True])
def test_a_loop_that_stops_in_a_turn_keeps_nothing_that_comes_later(done, later, is_closed):
    """What it put off is done when it goes on, or settled; nothing else waits for that."""
    loop, block = asyncio.new_event_loop(), serving()

    def put_off_and_stop():
        block.__enter__()
        later("put off")
        loop.stop()

    async def elsewhere():
        later("in another loop")

    loop.call_soon(put_off_and_stop)
    loop.run_forever()
    if is_closed:
        loop.close()
    later("standing still")
    asyncio.run(elsewhere())
    assert done == ["standing still", "in another loop"]
    settle()
    assert done[2:] == ["put off"]
    block.__exit__(None, None, None)
    loop.close()


def test_the_end_of_another_loops_serving_is_not_the_end_of_ones_own(done, later):
    """Two loops take turns in a thread; the one goes on putting off when the other has served."""
    loop, block = asyncio.new_event_loop(), serving()

    async def serve():
        with serving():
            later(1)

    loop.run_until_complete(_call(block.__enter__))
    asyncio.run(serve())
    loop.run_until_complete(_call(later, 2, seen=lambda: done == [1]))
    loop.run_until_complete(_call(block.__exit__, None, None, None))
    loop.close()
    assert done == [1, 2]


def test_what_a_closed_loop_left_is_done_by_the_next_that_serves(done, later):
    gone = asyncio.new_event_loop()
    block = serving()

    async def leave():
        block.__enter__()
        later("left")
        gone.stop()
        await asyncio.Event().wait()

    task = gone.create_task(leave())
    gone.run_forever()  # one turn, its last
    task._log_destroy_pending = False
    gone.close()

    async def serve():
        with serving():
            pass

    asyncio.run(serve())
    assert done == ["left"]


def test_whoever_settles_waits_for_who_settles_already():
    is_doing, may_go_on, done = threading.Event(), threading.Event(), []

    def do(item):
        is_doing.set()
        may_go_on.wait(30)
        done.append(item)

    later = Afterwards(do)

    async def serve():
        with serving():
            later(1)
            first = asyncio.create_task(asyncio.to_thread(settle))
            await first

    def seen_by_second():
        assert is_doing.wait(30)
        second = threading.Thread(target=lambda: (settle(), done.append("second")))
        second.start()
        second.join(0.05)
        may_go_on.set()
        second.join()

    watcher = threading.Thread(target=seen_by_second)
    watcher.start()
    asyncio.run(serve())
    watcher.join()
    assert done == [1, "second"]


def test_a_shutdown_in_the_middle_does_not_wait_for_itself():
    """A signal handler runs between any two steps, and what it stops settles in threads."""
    done = []

    def do(item):
        stopping = threading.Thread(target=settle)
        stopping.start()
        stopping.join(30)
        done.append((item, stopping.is_alive()))

    later = Afterwards(do)

    async def serve():
        with serving():
            later(1)
            await asyncio.sleep(0)

    asyncio.run(serve())
    assert done == [(1, False)]


def test_a_fault_is_seen_in_a_test_and_the_others_are_done():
    done = []

    def do(item):
        if item == 1:
            raise RuntimeError("ours")
        done.append(item)

    with pytest.raises(RuntimeError, match="ours"):
        asyncio.run(_one_turn(Afterwards(do), seen=lambda: done == [2]))


def test_another_thread_may_settle_it(done, later):

    async def serve():
        with serving():
            later(1)
            await_settled = asyncio.get_running_loop().run_in_executor(None, settle)
            later(2)
            await await_settled
            assert sorted(done) == [1, 2]

    asyncio.run(serve())
    assert len(done) == 2, "each once"


def test_an_interrupt_does_not_keep_the_others_waiting():
    done = []

    def do(item):
        if item == 1:
            raise KeyboardInterrupt
        done.append(item)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(_one_turn(Afterwards(do)))
    assert done == [2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_do_what_is_its_parents(done, later):

    async def serve():
        with serving():
            later(1)
            child = os.fork()
            if child == 0:
                settle()
                os._exit(len(done))
            assert os.waitpid(child, 0)[1] == 0  # noqa: ASYNC222 - it ends at once

    asyncio.run(serve())
    assert done == [1]


def test_what_may_be_done_anywhere_takes_no_copy_of_the_context():
    """It is done with the others, in their order."""
    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
    seen = []
    here = Afterwards(lambda item: seen.append((item, variable.get())))
    anywhere = Afterwards(lambda item: seen.append((item, variable.get())), anywhere=True)

    async def serve():
        with serving():
            for number, later in enumerate([here, anywhere, here], 1):
                context = contextvars.copy_context()
                context.run(variable.set, number)
                context.run(later, number)

    asyncio.run(serve())
    assert seen == [(1, 1), (2, 0), (3, 3)]
