"""Make a failed start readable: one sentence in the server's log in place of a traceback."""

from __future__ import annotations

import sys
from typing import Any

from glam_sdk.errors import GlamBaseError


class ReadableStartup:
    """Wrap an ASGI application and shorten the message of a failed start that we understand.

    Starlette sends the formatted traceback while it handles the exception; where that is one of
    our errors, its message says what to do, and the traceback only hides it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass everything on but the lifespan's failure message."""
        if scope["type"] != "lifespan":
            await self.app(scope, receive, send)
            return

        async def shortened(message: dict[str, Any]) -> None:
            failure = sys.exc_info()[1]
            if message["type"] == "lifespan.startup.failed" and isinstance(failure, GlamBaseError):
                message = {**message, "message": f"{failure.code}: {failure.message}"}
            await send(message)

        await self.app(scope, receive, shortened)
