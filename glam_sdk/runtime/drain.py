"""Fail readiness before the server stops, so that load balancers look elsewhere first."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType
from typing import Any

from glam_sdk.telemetry.logs import get_logger

_log = get_logger("glam_sdk.service")


class Drain:
    """Know whether the service is on its way down.

    Args:
        delay_s: Seconds between SIGTERM and its effect on the server; 0 leaves SIGTERM alone.
    """

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._previous: Any = None
        self.has_begun = False

    def begin(self) -> None:
        """Make readiness fail from now on."""
        self.has_begun = True

    def watch_sigterm(self) -> None:
        """Put ourselves before the web server's SIGTERM handler, which is there by now.

        Signals belong to the main thread; elsewhere, as in tests, nothing is watched.
        """
        if not self._delay_s or threading.current_thread() is not threading.main_thread():
            return
        loop = asyncio.get_running_loop()
        self._previous = signal.getsignal(signal.SIGTERM)

        def on_sigterm(signum: int, frame: FrameType | None) -> None:
            if self.has_begun:  # asked a second time: at once
                self._pass_on(signum, frame)
                return
            self.begin()
            _log.info("service.draining", delay_s=self._delay_s)
            loop.call_soon_threadsafe(loop.call_later, self._delay_s, self._pass_on, signum, None)

        signal.signal(signal.SIGTERM, on_sigterm)

    def _pass_on(self, signum: int, frame: FrameType | None) -> None:
        previous = self._previous
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
        if callable(previous):
            previous(signum, frame)
        else:
            signal.raise_signal(signal.SIGTERM)

    def reset(self) -> None:
        """Be ready for another start in the same process."""
        self.has_begun = False
