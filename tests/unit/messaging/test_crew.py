"""Messages are handled side by side, apart from each other, in few tasks."""

from __future__ import annotations

import asyncio
import contextvars
from dataclasses import dataclass
from itertools import pairwise

import pytest

from glam_sdk.messaging.crew import Crew

seen_in_context = contextvars.ContextVar("seen_in_context", default=None)


@dataclass(eq=False)
class Message:
    sequence: int
    subject: str = "evt.orders.placed"
    deliveries: int = 1

    @property
    def key(self):
        return f"{self.sequence}.0"


@pytest.fixture
def crew_of():
    """Make a crew that admits all, and collect what it is done with."""

    def make(size, work, admit=lambda _: True):
        done = []
        crew = Crew(size, work, admit=admit, ended=lambda message: done.append(message.sequence))
        return crew, done

    return make


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - the loop is what is looked at
            await asyncio.sleep(0)


def messages(count):
    return [Message(number) for number in range(count)]


async def test_what_never_waits_is_done_in_one_task(crew_of):
    """A hundred messages cost one task."""
    tasks = set()

    async def work(message, _):
        tasks.add(asyncio.current_task())

    crew, done = crew_of(10, work)
    crew.offer(*messages(100))
    await until(lambda: len(done) == 100)
    assert done == list(range(100))
    assert len(tasks) == 1
    await crew.stop(1)


async def test_what_waits_is_done_side_by_side_up_to_the_size(crew_of):
    """The fourth of a crew of three begins when one of the three is done."""
    gates = [asyncio.Event() for _ in range(5)]

    async def work(message, _):
        await gates[message.sequence].wait()

    crew, done = crew_of(3, work)
    crew.offer(*messages(5))
    await until(lambda: len(crew.running) == 3)
    assert crew.free == -2
    gates[1].set()
    await until(lambda: done == [1])
    await until(lambda: len(crew.running) == 3)
    for gate in gates:
        gate.set()
    await until(lambda: len(done) == 5)
    assert crew.free == 3


async def test_a_context_variable_is_not_seen_by_the_next(crew_of):
    """Whether its handler waited or not, and whether it failed or not."""
    found = []

    async def work(message, _):
        found.append(seen_in_context.get())
        seen_in_context.set(message.sequence)
        if message.sequence % 2:
            await asyncio.sleep(0)
        if message.sequence % 3 == 0:
            raise RuntimeError("no")

    crew, done = crew_of(2, work)
    crew.offer(*messages(12))
    await until(lambda: len(done) == 12)
    assert found == [None] * 12
    assert seen_in_context.get() is None


async def test_a_value_that_cannot_be_compared_harms_nobody(crew_of):
    """Such as an array, whose comparison has no truth."""

    class Odd:
        def __eq__(self, other):
            raise ValueError("which of them?")

        __hash__ = None

    async def work(message, _):
        seen_in_context.set(Odd())

    seen_in_context.set(Odd())
    crew, done = crew_of(2, work)
    crew.offer(*messages(3))
    await until(lambda: len(done) == 3)


async def test_the_task_is_the_handlers_own_while_it_runs(crew_of):
    """So that timeouts and task groups inside of it work, before and after it had to wait."""
    outcomes = []

    async def work(message, _):
        before = asyncio.current_task()
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            outcomes.append(asyncio.current_task() is before)
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(0))

    crew, done = crew_of(4, work)
    crew.offer(*messages(4))
    await until(lambda: len(done) == 4)
    assert outcomes == [True] * 4


async def test_who_takes_too_long_is_cancelled_at_the_end(crew_of):
    """Stop waits, then cancels, and says how many it were; what is left is not begun."""
    cancelled = []

    async def work(message, _):
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(message.sequence)
            raise

    crew, done = crew_of(2, work)
    crew.offer(*messages(3))
    await until(lambda: len(crew.running) == 2)
    left = crew.take_back()
    assert [message.sequence for message in left] == [2]
    assert await crew.stop(0.01) == 2
    assert sorted(cancelled) == sorted(done) == [0, 1]


async def test_what_is_not_admitted_is_left_to_whoever_refused_it(crew_of):
    """It is not handled and takes no place."""
    kept = []

    def admit(message):
        if message.sequence == 1:
            kept.append(message)
        return message.sequence != 1

    async def work(message, _):
        pass

    crew, done = crew_of(1, work, admit)
    crew.offer(*messages(3))
    await until(lambda: len(done) == 2)
    assert (done, len(kept), crew.free) == ([0, 2], 1, 1)


async def test_a_message_that_is_held_is_known_again(crew_of):
    """Whether it is being handled or about to be; one that is done with is not held."""
    gate = asyncio.Event()

    async def work(message, _):
        await gate.wait()

    crew, done = crew_of(1, work)
    running, ready = messages(2)
    crew.offer(running, ready)
    await until(lambda: crew.running)
    assert crew.find(Message(0, deliveries=2)) is running
    assert crew.find(Message(1, deliveries=2)) is ready
    assert crew.find(Message(2, deliveries=2)) is None
    gate.set()
    await until(lambda: len(done) == 2)
    assert crew.find(Message(1, deliveries=2)) is None


async def test_a_handler_sees_its_message_among_what_is_held(crew_of):
    """Before it has waited for anything, and after."""
    seen = []

    def held():
        return [message.sequence for message in crew.held]

    async def look(message):
        seen.append(held())
        await asyncio.sleep(0)
        seen.append(held())

    def work(message, _):
        seen.append(held())
        return look(message)

    crew, done = crew_of(1, work)
    crew.offer(*messages(2))
    await until(lambda: len(done) == 2)
    assert seen == [[0, 1]] * 3 + [[1]] * 3
    assert crew.held == []


async def test_what_came_together_is_prepared_in_a_row_before_the_first_is_handled():
    """Each once, in order, and what comes later when its turn is near."""
    log = []

    async def work(message, _):
        log.append(("handled", message.sequence))
        if message.sequence == 0:
            crew.offer(Message(2))

    crew = Crew(
        1,
        work,
        admit=lambda _: True,
        ended=lambda _: None,
        prepare=lambda message: log.append(("prepared", message.sequence)),
    )
    crew.offer(*messages(2))
    await until(lambda: len(log) == 6)
    assert [what for what, _ in log] == ["prepared"] * 2 + ["handled"] * 2 + ["prepared", "handled"]
    assert [number for _, number in log] == [0, 1, 0, 1, 2, 2]


async def test_what_waits_for_long_is_prepared_when_its_turn_is_near():
    """Else all that is made of it would have to be kept."""
    ahead = []

    async def work(message, _):
        ahead.append(prepared[-1] - message.sequence)

    prepared = []
    crew = Crew(
        1,
        work,
        admit=lambda _: True,
        ended=lambda _: None,
        prepare=lambda message: prepared.append(message.sequence),
    )
    crew.offer(*messages(40))
    await until(lambda: len(ahead) == 40)
    assert prepared == list(range(40))
    assert (min(ahead), max(ahead)) == (0, 15)


async def test_others_have_their_turn_every_five_milliseconds(crew_of, monkeypatch):
    """However many messages that are; whoever waited has let them."""
    now = 0.0
    monkeypatch.setattr("glam_sdk.messaging.crew.monotonic", lambda: now)
    handled_at_turns = []

    async def work(message, _):
        nonlocal now
        if message.sequence == 5:
            await asyncio.sleep(0)
        now += 0.002

    async def watch():
        while len(done) < 9:
            handled_at_turns.append(len(done))
            await asyncio.sleep(0)

    crew, done = crew_of(1, work)
    crew.offer(*messages(9))
    await watch()
    assert sorted(set(handled_at_turns)) == [0, 3, 5]


async def test_the_five_milliseconds_are_those_of_all_tasks_together(crew_of, monkeypatch):
    """Also of those that go on in the same turn, after all of their handlers have waited."""
    now = 1.0
    monkeypatch.setattr("glam_sdk.messaging.crew.monotonic", lambda: now)
    gate, handled_at_turns = asyncio.Event(), []

    async def work(message, _):
        nonlocal now
        if message.sequence < 4:
            await gate.wait()
        else:
            now += 0.002

    crew, done = crew_of(4, work)
    crew.offer(*messages(34))
    await until(lambda: len(crew.running) == 4)
    gate.set()
    while len(done) < 34:
        await asyncio.sleep(0)
        handled_at_turns.append(len(done))
    counts = [later - sooner for sooner, later in pairwise(handled_at_turns)]
    assert handled_at_turns[0] == 4 + 3
    assert max(counts) == 3


async def test_what_is_taken_back_is_not_prepared_any_more():
    """Nobody asks for it again."""
    prepared = []

    async def work(message, _):
        pass

    crew = Crew(1, work, admit=lambda _: True, ended=lambda _: None, prepare=prepared.append)
    crew.offer(*messages(2))
    assert len(crew.take_back()) == 2
    crew.offer(Message(2))
    await until(lambda: not crew.ready)
    assert [message.sequence for message in prepared] == [2]


async def test_what_was_prepared_comes_with_its_message():
    """Nothing does where that failed, and what is not admitted leaves its own behind."""
    got = []

    def prepare(message):
        if message.sequence == 1:
            raise RuntimeError("no")
        return f"of {message.sequence}"

    async def work(message, prepared):
        got.append((message.sequence, prepared))

    crew = Crew(
        1,
        work,
        admit=lambda message: message.sequence != 2,
        ended=lambda _: None,
        prepare=prepare,
    )
    crew.offer(*messages(4))
    await until(lambda: len(got) == 3)
    assert got == [(0, "of 0"), (1, None), (3, "of 3")]


async def test_what_is_taken_back_takes_along_what_was_prepared():
    """The next message has its own."""
    gate, got = asyncio.Event(), []

    async def work(message, prepared):
        got.append((message.sequence, prepared))
        await gate.wait()

    crew = Crew(
        1,
        work,
        admit=lambda _: True,
        ended=lambda _: None,
        prepare=lambda message: f"of {message.sequence}",
    )
    crew.offer(*messages(3))
    await until(lambda: crew.running)
    assert [message.sequence for message in crew.take_back()] == [1, 2]
    crew.offer(Message(3))
    gate.set()
    await until(lambda: len(got) == 2)
    assert got == [(0, "of 0"), (3, "of 3")]


async def test_while_no_handler_is_slowed_down_nobody_is_asked():
    """Told is only that nothing is ready; where messages wait elsewhere, what ends is told too."""
    slowed, admitted, ended = set(), [], []

    def admit(message):
        admitted.append(message.sequence)
        return True

    async def work(message, _):
        if message.sequence == 3:
            slowed.add("a handler")
        if message.sequence == 6:
            slowed.clear()
            crew.is_pacing = True
        if message.sequence == 8:
            crew.is_pacing = False

    crew = Crew(
        1,
        work,
        admit=admit,
        ended=lambda message: ended.append(message.sequence),
        slowed=slowed,
    )
    crew.offer(*messages(11))
    await until(lambda: 10 in ended)
    assert admitted == [4, 5, 6]
    assert ended == [3, 4, 5, 6, 7, 10]
    assert crew.held == []
