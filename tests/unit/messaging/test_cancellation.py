"""Rules of ending tasks."""

from __future__ import annotations

import asyncio

from glam_sdk.messaging.cancellation import end


async def test_a_task_that_loses_its_first_cancellation_is_ended_all_the_same():
    """As one does whose wait_for got its answer at the same moment."""
    begun, asked = asyncio.Event(), []

    async def stubborn():
        while True:
            begun.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked.append("cancel")
                if len(asked) == 2:
                    raise

    task = asyncio.create_task(stubborn())
    await begun.wait()
    await end(task)
    assert task.cancelled()
    assert len(asked) == 2


async def test_what_a_task_raised_is_not_raised_again():
    """Ending is no place for its errors, and a finished task is nothing to end."""

    async def fail():
        raise RuntimeError

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    await end(task)
    assert isinstance(task.exception(), RuntimeError)
