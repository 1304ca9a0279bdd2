"""Stand around the application's lifespan: it says when serving begins, and why a start failed."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import Any

from glam_sdk._internal.afterwards import serving
from glam_sdk.errors import GlamBaseError


class Lifespan:
    """Pass the lifespan's messages on.

    Where a start fails, Starlette sends the formatted traceback while it handles the exception;
    if that is one of our errors, its message says what to do, and the traceback only hides it.
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Live through one lifespan."""
        with ExitStack() as until_the_end:

            async def passed_on(message: dict[str, Any]) -> None:
                failure = sys.exc_info()[1]
                if message["type"] == "lifespan.startup.complete":
                    until_the_end.enter_context(serving())
                elif message["type"] == "lifespan.startup.failed" and isinstance(
                    failure, GlamBaseError
                ):
                    message = {**message, "message": f"{failure.code}: {failure.message}"}
                await send(message)

            await self.app(scope, receive, passed_on)
