"""Clean up after a test run that had no time to: one that was terminated or killed."""

from __future__ import annotations

import subprocess
from typing import Final

# A pipe that nobody writes to ends when the last process that could is gone.
_WAIT: Final = "cat >/dev/null; "
_END_TIMEOUT_S: Final = 10.0


class Watchdog:
    """Run a shell script once this process is gone or says :meth:`end`, whichever is first.

    Args:
        script: For ``/bin/sh``; must do no harm when there is nothing left to clean up.
        *arguments: Its ``$1``, ``$2`` and so on.
    """

    def __init__(self, script: str, *arguments: str) -> None:
        # A session of its own: Ctrl-C is for the tests, which clean up by themselves.
        self._process = subprocess.Popen(
            ["/bin/sh", "-c", _WAIT + script, "watchdog", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end(self) -> None:
        """Let the script run now and wait for it."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(_END_TIMEOUT_S)
