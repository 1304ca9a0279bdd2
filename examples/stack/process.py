"""Run one program of the stack: start it, wait until it answers, kill it, start it again."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Program:
    """Hold how a program is started, and its process while it runs.

    Args:
        name: For messages and the log file.
        command: Program and arguments.
        ready_url: Answers with 200 when the program is ready.
        folder: Takes the log file.
        environment: Added to this process's own.
    """

    name: str
    command: Sequence[str]
    ready_url: str
    folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def log_file(self) -> Path:
        """What the program writes."""
        return self.folder / f"{self.name}.log"

    def start(self, timeout_s: float = 60.0) -> None:
        """Start the program and return when it is ready.

        Raises:
            RuntimeError: With the end of its log, when it ended or the time is up.
        """
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                list(self.command),
                env={**os.environ, **self.environment},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + timeout_s
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                tail = self.log_file.read_text(errors="replace")[-3000:]
                raise RuntimeError(f"{self.name} did not become ready:\n{tail}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the program in good order."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End the program at once, as a crash does."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(how)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(self.ready_url, timeout=2):  # noqa: S310 - loopback
                return True
        except OSError:
            return False
