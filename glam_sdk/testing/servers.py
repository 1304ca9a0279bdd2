"""Serve an ASGI application over a real socket, in a thread of the test's process."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Any, Final, Self

import uvicorn

from glam_sdk.testing.processes import free_port

_TIMEOUT_S: Final = 30.0


class AppServer:
    """Run uvicorn on a free port of 127.0.0.1 for the block.

    Args:
        app: The ASGI application; its lifespan runs.
        **options: Further arguments of ``uvicorn.Config``.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        self.port = free_port()
        config = uvicorn.Config(
            app,
            host="127.0.0.1",
            port=self.port,
            log_config=None,
            **{"lifespan": "on", "timeout_graceful_shutdown": 2, **options},
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    @property
    def url(self) -> str:
        """Base URL of the application."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        deadline = time.monotonic() + _TIMEOUT_S
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self._server.should_exit = True
                raise RuntimeError("The application did not start; its log says why.")
            time.sleep(0.005)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self._server.should_exit = True
        self._thread.join(_TIMEOUT_S)
