"""What is put off is done once, in order, at the end of the turn, whoever asks."""

from __future__ import annotations

import asyncio
import os

import pytest

from glam_sdk._internal.afterwards import Afterwards, serving, settle


def test_without_a_serving_loop_it_is_done_at_once():
    done = []
    later = Afterwards(done.append)
    later(1)

    async def not_serving():
        later(2)
        assert done == [1, 2]

    asyncio.run(not_serving())


def test_a_serving_loop_does_it_at_the_end_of_its_turn_in_order():
    done = []
    later = Afterwards(done.append)

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


def test_serving_lasts_until_the_last_of_those_that_serve():
    done = []
    later = Afterwards(done.append)

    async def serve():
        with serving():
            with serving():
                pass
            later(1)
            assert not done

    asyncio.run(serve())
    assert done == [1]


def test_the_loop_looks_after_others_between_many():
    done = []
    later = Afterwards(done.append)

    async def serve():
        with serving():
            for number in range(100):
                later(number)
            await asyncio.sleep(0)
            assert 0 < len(done) < 100
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert done == list(range(100))

    asyncio.run(serve())


def test_another_thread_may_settle_it():
    done = []
    later = Afterwards(done.append)

    async def serve():
        with serving():
            later(1)
            await_settled = asyncio.get_running_loop().run_in_executor(None, settle)
            later(2)
            await await_settled
            assert done == [1, 2]

    asyncio.run(serve())
    assert done == [1, 2], "each once"


def test_an_interrupt_does_not_keep_the_others_waiting():
    done = []

    def do(item):
        if item == 1:
            raise KeyboardInterrupt
        done.append(item)

    later = Afterwards(do)

    async def serve():
        with serving():
            later(1)
            later(2)
            await asyncio.sleep(0)

    with pytest.raises(KeyboardInterrupt):
        asyncio.run(serve())
    assert done == [2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_do_what_is_its_parents():
    done = []
    later = Afterwards(done.append)

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
