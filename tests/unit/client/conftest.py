"""Give the tests of the client an upstream that plays a script, and retries that don't wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Self

import pytest

DROP = "drop"
"""Close the connection without an answer."""
HANG = "hang"
"""Never answer."""


@dataclass
class Reply:
    """One answer, byte for byte; a body shorter than ``promised`` ends in a broken connection."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    promised: int | None = None

    def encode(self) -> bytes:
        length = len(self.body) if self.promised is None else self.promised
        head = {"content-length": str(length), **self.headers}
        lines = [f"HTTP/1.1 {self.status} X", *(f"{k}: {v}" for k, v in head.items()), "", ""]
        return "\r\n".join(lines).encode() + self.body


@dataclass
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Upstream:
    """Serve HTTP/1.1 on a free port of 127.0.0.1: each request takes the next step of a script.

    A step is a status, a :class:`Reply`, ``DROP`` or ``HANG``; after the last one it is 200.
    """

    def __init__(self) -> None:
        self.script: list[int | str | Reply] = []
        self.received: list[Received] = []
        self.on_request = lambda: None
        self.asked = asyncio.Event()
        self._connections: set[asyncio.Task[None]] = set()

    def plays(self, *steps: int | str | Reply) -> Self:
        self.script.extend(steps)
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._server.wait_closed()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(asyncio.current_task())
        try:
            while await self._answer(reader, writer):
                pass
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, target, _ = head[0].split(" ")
        self.received.append(Received(method, target, headers, body))
        self.on_request()
        self.asked.set()
        step = self.script.pop(0) if self.script else 200
        if step == HANG:
            await asyncio.Event().wait()
        if step == DROP:
            return False
        reply = step if isinstance(step, Reply) else Reply(int(step))
        writer.write(reply.encode())
        await writer.drain()
        return reply.promised is None


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def other() -> AsyncIterator[Upstream]:
    """A second one, on another port."""
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def waits(monkeypatch) -> list[float]:
    """Make ``asyncio.sleep`` return at once; the seconds asked for are in the list."""
    loop = asyncio.get_running_loop()
    asked: list[float] = []

    def at_once(delay, callback, *args, context=None):
        asked.append(delay)
        return loop.call_soon(callback, *args, context=context)

    monkeypatch.setattr(loop, "call_later", at_once)
    return asked


@dataclass
class Clock:
    """Tell the seconds a test says."""

    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()
