"""Let a message that may have killed its workers run alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

_PATIENCE: Final = timedelta(seconds=30)


class NoRoomError(Exception):
    """The others did not finish in time for a message that must run alone."""


class Solitude:
    """Count what runs in this process, and make room for one that must run by itself.

    A message on its last attempt, whose earlier ones ended with their worker, either kills this
    worker too or was a neighbour of the one that does. Alone it cannot take anybody along.
    """

    def __init__(self) -> None:
        self.running = 0
        """How many run; whoever begins counts itself, and leaves again in the end."""
        self.lone = 0
        """How many run alone or want to; while it is none, anybody may begin at once."""
        self._waiters: set[asyncio.Future[None]] = set()

    def leave(self) -> None:
        """Have run."""
        self.running -= 1
        if self.lone:
            self._announce()

    @asynccontextmanager
    async def company(self) -> AsyncIterator[None]:
        """Run beside others, after whoever runs alone."""
        while self.lone:
            await self._change()
        yield

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Run when everybody else has finished; nobody begins meanwhile.

        Raises:
            NoRoomError: The others took too long.
        """
        while self.lone:
            await self._change()
        self.lone += 1
        try:
            await self._wait_for_silence()
            yield
        finally:
            self.lone -= 1
            self._announce()

    async def _wait_for_silence(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE.total_seconds()):
                while self.running:
                    await self._change()
        except TimeoutError as exc:
            raise NoRoomError("Other messages are still being handled.") from exc

    async def _change(self) -> None:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _announce(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
