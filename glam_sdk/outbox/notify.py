"""Wake the relays of all processes when a transaction with events commits (PostgreSQL).

``NOTIFY`` is sent inside of the transaction, so the server delivers it exactly when the events can
be read. Polling stays the safety net.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from sqlalchemy import exc

from glam_sdk.database import Database
from glam_sdk.messaging.cancellation import end
from glam_sdk.outbox.pending import CHANNEL
from glam_sdk.telemetry.logs import get_logger

_FIRST_WAIT_S: Final = 0.5
_MAX_WAIT_S: Final = 30.0
_log = get_logger(__name__)


class Listener:
    """Call back whenever any process has committed events, and after each reconnect.

    It holds one connection of its own, outside of the pool, and does nothing on other databases.

    Args:
        db: Whose commits are listened to.
        wake: Called, without arguments.
    """

    def __init__(self, db: Database, wake: Callable[[], None]) -> None:
        self._db = db
        self._wake = wake
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        engine = self._db.engine
        if engine.dialect.name == "postgresql" and engine.dialect.driver == "asyncpg":
            self._task = asyncio.create_task(self._run(), name="glam-outbox-listener")

    async def stop(self) -> None:
        """Close the connection."""
        task, self._task = self._task, None
        if task is not None:
            await end(task)

    async def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                await self._listen()
                wait_s = _FIRST_WAIT_S
            except (exc.SQLAlchemyError, OSError, TimeoutError) as failure:
                _log.debug("outbox.listener_waiting", reason=str(failure))
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, _MAX_WAIT_S)

    async def _listen(self) -> None:
        """Listen on one connection until it is lost."""
        lost = asyncio.Event()
        async with self._db.engine.connect() as connection:
            raw = await connection.get_raw_connection()
            driver: Any = raw.driver_connection
            await connection.run_sync(lambda inner: inner.detach())
            driver.add_termination_listener(lambda _: lost.set())
            await driver.add_listener(CHANNEL, lambda *_: self._wake())
            try:
                self._wake()  # For what was committed while nobody listened.
                await lost.wait()
            finally:
                with suppress(Exception):  # It is gone, or goes now.
                    await driver.close(timeout=1)
