"""One timer ends whatever takes too long, and nothing else."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from glam_sdk.messaging.deadlines import Deadlines


@pytest.fixture
def deadlines():
    made = Deadlines(timedelta(milliseconds=20))
    yield made
    made.close()


async def attempt(deadlines, wait):
    deadline = deadlines.begin(asyncio.current_task())
    try:
        await wait
    except asyncio.CancelledError:
        return "late" if deadline.has_passed else "cancelled"
    finally:
        deadlines.end(deadline)
    return "in time"


async def test_the_late_are_ended_one_after_the_other(deadlines):
    """Each at its own time, though there is one timer; who is done is left alone."""
    gate = asyncio.Event()
    gate.set()
    never = asyncio.Event()
    first = asyncio.create_task(attempt(deadlines, never.wait()))
    quick = asyncio.create_task(attempt(deadlines, gate.wait()))
    assert await first == "late"
    second = asyncio.create_task(attempt(deadlines, never.wait()))
    assert await second == "late"
    assert await quick == "in time"


async def test_a_late_task_can_go_on(deadlines):
    """The cancellation was the deadline's; nothing of it is left."""
    assert await attempt(deadlines, asyncio.Event().wait()) == "late"
    assert asyncio.current_task().cancelling() == 0
    assert await attempt(deadlines, asyncio.sleep(0)) == "in time"


async def test_another_cancellation_stays_one(deadlines):
    """Who is cancelled from outside is not late."""
    task = asyncio.create_task(attempt(deadlines, asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "cancelled"


async def test_an_attempt_within_its_limit_has_its_result(deadlines):
    """And an error of its own stays what it is."""

    async def refuse():
        raise KeyError

    assert await deadlines.within(asyncio.sleep(0, "done")) == "done"
    with pytest.raises(KeyError):
        await deadlines.within(refuse())


async def test_an_attempt_that_takes_too_long_is_a_timeout(deadlines):
    """Nothing of the cancellation is left."""
    with pytest.raises(TimeoutError, match=r"longer than 0\.02 s"):
        await deadlines.within(asyncio.Event().wait())
    assert asyncio.current_task().cancelling() == 0


async def test_what_an_attempt_has_taken_already_counts():
    """It has only the rest of its limit."""
    deadlines = Deadlines(timedelta(hours=1))
    with pytest.raises(TimeoutError):
        await deadlines.within(asyncio.Event().wait(), spent_s=3600)
    deadlines.close()


async def test_an_attempt_that_is_cancelled_from_outside_is_not_late(deadlines):
    """Whoever cancels wants to see that."""
    task = asyncio.create_task(deadlines.within(asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
