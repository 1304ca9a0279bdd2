"""Send requests at fixed moments, however long the answers take, from a process of its own.

Each line on standard input is a job, ``{"port": …, "path": …, "seconds": …, "rate": …,
"connections": …}``; it is answered with a :class:`Waits` as JSON. A request waits from the moment
it was due, also while no connection is free: a server that pauses makes all wait that come
meanwhile, not only the one it is at. It ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from dataclasses import asdict, dataclass
from itertools import cycle
from selectors import SelectSelector
from time import perf_counter
from typing import Any, cast

from benchmarks.load import is_complete, request_bytes


@dataclass(frozen=True, slots=True)
class Waits:
    """Say how long the requests of one job waited for their answers.

    Attributes:
        requests: How many were answered.
        failed: How many of those not with 200, or not at all.
        middle_ms: What half of them waited at most.
        late_ms: What all but one in a hundred waited at most.
    """

    requests: int
    failed: int
    middle_ms: float
    late_ms: float


class _Job:
    """Give each request that is due to a free connection, in order."""

    def __init__(self, requests: cycle[bytes], expected: int) -> None:
        self._requests = requests
        self._expected = expected
        self._due: deque[float] = deque()
        self.free: list[_Connection] = []
        self.waited_ms: list[float] = []
        self.failed = 0
        self.over = asyncio.Event()

    def arrive(self, due: float) -> None:
        self._due.append(due)
        self.proceed()

    def proceed(self) -> None:
        while self._due and self.free:
            self.free.pop().send(next(self._requests), self._due.popleft())

    def answered(self, waited_s: float, *, is_good: bool) -> None:
        self.waited_ms.append(waited_s * 1000)
        self.failed += not is_good
        if len(self.waited_ms) == self._expected:
            self.over.set()


class _Connection(asyncio.Protocol):
    """Carry one request after the other."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._received = b""
        self._due: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._job.free.append(self)

    def send(self, request: bytes, due: float) -> None:
        self._due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._received += data
        if self._due is None or not is_complete(self._received):
            return
        waited_s, self._due = perf_counter() - self._due, None
        is_good, self._received = self._received[9:12] == b"200", b""
        self._job.free.append(self)
        self._job.answered(waited_s, is_good=is_good)
        self._job.proceed()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._due is not None:
            self._job.answered(perf_counter() - self._due, is_good=False)


async def run(port: int, path: str, seconds: float, rate: float, connections: int) -> Waits:
    """Send ``rate`` requests a second to a server on 127.0.0.1 and wait for all answers."""
    expected = int(rate * seconds)
    job = _Job(cycle(request_bytes(path)), expected)
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(job), "127.0.0.1", port)
    started = perf_counter()
    for number in range(expected):
        due = started + number / rate
        if (early_s := due - perf_counter()) > 0:
            await asyncio.sleep(early_s)
        job.arrive(due)
    async with asyncio.timeout(seconds + 30):
        await job.over.wait()
    for connection in job.free:
        connection.transport.close()
    waited = sorted(job.waited_ms)
    return Waits(expected, job.failed, waited[expected // 2], waited[expected * 99 // 100])


def main() -> None:
    """Do the jobs on standard input."""
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        # select() keeps microseconds where epoll(), and uvloop with it, has milliseconds.
        with asyncio.Runner(
            loop_factory=lambda: asyncio.SelectorEventLoop(SelectSelector())
        ) as runner:
            print(json.dumps(asdict(runner.run(run(**job)))), flush=True)


if __name__ == "__main__":
    main()
