"""End tasks for certain."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from glam_sdk.telemetry.logs import get_logger

_ASK_AGAIN_S: Final = 0.5
_PATIENCE: Final = 20
_log = get_logger(__name__)


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and return when they are over.

    They are asked again and again: before Python 3.12 ``wait_for``, which the NATS client uses,
    loses a cancellation that comes together with its answer. A task that still goes on after ten
    seconds is left behind, and said so.
    """
    left = {task for task in tasks if not task.done()}
    for _ in range(_PATIENCE):
        if not left:
            break
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_ASK_AGAIN_S)
    for task in left:
        _log.error("task.not_ended", task=task.get_name())
    await asyncio.gather(*(task for task in tasks if task.done()), return_exceptions=True)
