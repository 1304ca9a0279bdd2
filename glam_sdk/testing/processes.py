"""Run a service as a process of its own, the way it runs in production."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self

# Below those a system gives to outgoing connections: one of these could take a port of its choosing
# before its server listens, or while that restarts.
_PORTS: Final = range(20_000, 30_000)
_ATTEMPTS: Final = 100
_given: Final = set[int]()


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody uses at the moment, another one each time."""
    choice = random.SystemRandom().choice
    for port in (*(choice(_PORTS) for _ in range(_ATTEMPTS)), 0):
        if port in _given:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            found: int = probe.getsockname()[1]
            _given.add(found)
            return found
    raise OSError("No TCP port of 127.0.0.1 is free.")


class ServiceProcess:
    """Start ``uvicorn MODULE:APP`` on a free port of 127.0.0.1 and stop it at the end.

    Args:
        target: ``module:app``.
        log_file: Takes standard output and standard error.
        environment: Added to ``inherited``.
        inherited: The environment to start from; this process's own by default.
        ready_path: Asked until it answers below 500.
        start_timeout_s: Seconds to wait for that.
    """

    def __init__(
        self,
        target: str,
        *,
        log_file: Path,
        environment: Mapping[str, str] | None = None,
        inherited: Mapping[str, str] | None = None,
        ready_path: str = "/health/ready",
        start_timeout_s: float = 60.0,
    ) -> None:
        self.port = free_port()
        self.log_file = log_file
        self._target = target
        self._environment = {
            **(os.environ if inherited is None else inherited),
            **(environment or {}),
        }
        self._ready_path = ready_path
        self._start_timeout_s = start_timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None

    @property
    def url(self) -> str:
        """Base URL of the service."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Process id."""
        return self._running().pid

    def log_text(self) -> str:
        """Return everything the process has written so far."""
        return self.log_file.read_text(errors="replace")

    def spawn(self) -> Self:
        """Start the process without waiting for it to be ready."""
        self._output = self.log_file.open("wb")
        command = [sys.executable, "-m", "uvicorn", self._target, "--host", "127.0.0.1"]
        self._process = subprocess.Popen(
            [*command, "--port", str(self.port)],
            env=self._environment,
            stdout=self._output,
            stderr=subprocess.STDOUT,
        )
        return self

    def wait_ready(self) -> Self:
        """Wait until the service answers.

        Raises:
            RuntimeError: With what the process wrote, when it ended or the time is up.
        """
        deadline = time.monotonic() + self._start_timeout_s
        while time.monotonic() < deadline:
            if self._running().poll() is not None:
                raise RuntimeError(f"{self._target} ended at start:\n{self.log_text()[-4000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}{self._ready_path}", timeout=2):  # noqa: S310
                    return self
            except urllib.error.HTTPError as exc:
                exc.close()
                if exc.code < 500:
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError(
            f"{self._target} was not ready in {self._start_timeout_s:g} s:\n"
            f"{self.log_text()[-4000:]}"
        )

    def wait(self, timeout_s: float = 30.0) -> int:
        """Wait for the process to end by itself and return its exit code."""
        return self._running().wait(timeout_s)

    def stop(self, timeout_s: float = 30.0) -> int | None:
        """Send SIGTERM, after the time SIGKILL, and return the exit code."""
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._output is not None:
            self._output.close()
        return process.returncode

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError(f"{self._target} was not started. Enter it with a with statement.")
        return self._process

    def __enter__(self) -> Self:
        try:
            return self.spawn().wait_ready()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self.stop()
