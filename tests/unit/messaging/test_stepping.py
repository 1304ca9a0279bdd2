"""What is left of a coroutine goes on as if nobody had taken its first step."""

from __future__ import annotations

import asyncio

import pytest

from glam_sdk.messaging.stepping import DONE, rest


async def test_it_waits_and_returns():
    """However often it waits."""

    async def work():
        for _ in range(3):
            await asyncio.sleep(0)
        return "done"

    begun = work()
    assert await rest(begun, begun.send(None)) == "done"


async def test_it_is_given_what_it_waits_for():
    """Results and errors reach it, and what it raises comes out."""
    first, second = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def work():
        await first.wait()
        try:
            await second
        except ValueError as exc:
            raise KeyError from exc

    begun = work()
    task = asyncio.ensure_future(rest(begun, begun.send(None)))
    first.set()
    await asyncio.sleep(0)
    second.set_exception(ValueError())
    with pytest.raises(KeyError):
        await task


async def test_it_decides_about_its_cancellation():
    """It may clean up, and go on."""

    async def work():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "cleaned"

    begun = work()
    task = asyncio.ensure_future(rest(begun, begun.send(None)))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "cleaned"


async def test_what_is_done_at_once_can_be_awaited_any_number_of_times():
    """It is one object for everybody, and behaves as a coroutine that ended."""
    for _ in range(2):
        assert await DONE is None
        assert await asyncio.create_task(DONE) is None
        with pytest.raises(StopIteration):
            DONE.send(None)
        with pytest.raises(KeyError):
            DONE.throw(KeyError())
        DONE.close()
