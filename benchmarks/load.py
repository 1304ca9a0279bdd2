"""Ask a server for as much as it gives, over keep-alive connections, in a process of its own.

Each line on standard input is a job, ``{"port": …, "path": …, "seconds": …, "connections": …}``;
it is answered with ``{"requests": …, "failed": …, "elapsed_s": …}``. It ends with its standard
input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from itertools import cycle
from time import perf_counter
from typing import Any, cast

import uvloop

_IDS = 1000


@dataclass(slots=True)
class _Job:
    """Hold what the connections of one job share."""

    requests: cycle[bytes]
    deadline: float
    open_connections: int
    over: asyncio.Event
    done: int = 0
    failed: int = 0

    def closed(self) -> None:
        self.open_connections -= 1
        if self.open_connections == 0:
            self.over.set()


class _Connection(asyncio.Protocol):
    """Send the next request as soon as the answer to the last one is complete."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self._received = b""
        self._is_waiting = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._next()

    def _next(self) -> None:
        self._is_waiting = perf_counter() < self._job.deadline
        if self._is_waiting:
            self._transport.write(next(self._job.requests))
        else:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not is_complete(self._received):
            return
        self._job.done += 1
        if self._received[9:12] != b"200":
            self._job.failed += 1
        self._received = b""
        self._next()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._is_waiting:
            self._job.failed += 1
        self._job.closed()


def is_complete(received: bytes) -> bool:
    """Tell whether all of an answer is there."""
    head = received.find(b"\r\n\r\n")
    return head >= 0 and len(received) >= head + 4 + content_length(received[:head])


def content_length(head: bytes) -> int:
    """Return the length of the body that a response head announces, 0 without one."""
    head = head.lower()
    start = head.find(b"content-length:")
    return int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0


def request_bytes(path: str) -> list[bytes]:
    """Return the requests for a path, one for each id where it has a ``*``."""
    paths = [path.replace("*", str(n)) for n in range(1, _IDS + 1)] if "*" in path else [path]
    return [f"GET {one} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() for one in paths]


async def run(port: int, path: str, seconds: float, connections: int) -> dict[str, float]:
    """Load a server on 127.0.0.1 for some seconds and wait for the last answers."""
    started = perf_counter()
    requests = cycle(request_bytes(path))
    job = _Job(requests, started + seconds, connections, asyncio.Event())
    loop = asyncio.get_running_loop()
    for _ in range(connections):
        await loop.create_connection(lambda: _Connection(job), "127.0.0.1", port)
    async with asyncio.timeout(seconds + 30):
        await job.over.wait()
    elapsed = perf_counter() - started
    return {"requests": job.done, "failed": job.failed, "elapsed_s": elapsed}


def main() -> None:
    """Do the jobs on standard input."""
    for line in sys.stdin:
        job: dict[str, Any] = json.loads(line)
        print(json.dumps(uvloop.run(run(**job))), flush=True)


if __name__ == "__main__":
    main()
