"""Start the servers and tools of the benchmark, each a process, and end them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.peers import Peer
from glam_sdk.testing.processes import free_port

_PROJECT = Path(__file__).resolve().parent.parent
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR")
_UVICORN = ("--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")
_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_QUIET_WINDOW_S = 0.3
_QUIET_CPU_S = 0.001
_QUIET_TIMEOUT_S = 10.0


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """Let processes started in the block run on one core only; None: where they like."""
    if core is None:
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def end(process: subprocess.Popen[str]) -> None:
    """End a process by SIGTERM, or by SIGKILL when it does not follow."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


class Tool:
    """Run a module of the benchmark that answers lines with lines; use it as a context manager.

    Args:
        module: Such as ``benchmarks.load``.
        core: Where it runs.
    """

    def __init__(self, module: str, core: int | None) -> None:
        self._module = module
        self._core = core

    def __enter__(self) -> Self:
        # A session of its own, so that Ctrl-C reaches the benchmark alone, which then ends this.
        with pinned(self._core):
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                cwd=_PROJECT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        end(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def read(self) -> str:
        """Return the next line it writes.

        Raises:
            RuntimeError: If it has ended.
        """
        line = self._process.stdout.readline() if self._process.stdout is not None else ""
        if not line:
            raise RuntimeError(f"{self._module} has ended.")
        return line.strip()

    def ask(self, line: str) -> str:
        """Send a line and return the one it answers with."""
        if self._process.stdin is not None:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        return self.read()


class Server:
    """Serve one peer with uvicorn, one worker; use it as a context manager.

    Args:
        peer: What to serve.
        directory: Takes its log and is its working directory.
        environment: What all peers get.
        core: Where it runs.
    """

    def __init__(
        self, peer: Peer, directory: Path, environment: Mapping[str, str], core: int | None
    ) -> None:
        self.peer = peer
        self.port = free_port()
        self._directory = directory
        self._environment = environment
        self._core = core
        self._log = directory / "output.log"

    def __enter__(self) -> Self:
        own = {key: os.environ[key] for key in _KEPT if key in os.environ}
        own |= {"PYTHONPATH": str(_PROJECT), **self._environment, **self.peer.environment}
        target = f"benchmarks.apps.{self.peer.module}:app"
        command = [str(self.peer.python), "-m", "uvicorn", target, "--host", "127.0.0.1"]
        with self._log.open("wb") as log, pinned(self._core):
            self._process = subprocess.Popen(
                [*command, "--port", str(self.port), *_UVICORN],
                env=own,
                cwd=self._directory,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )
        try:
            self._wait_until_ready()
        except BaseException:
            end(self._process)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        end(self._process)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1):
                    return
            except OSError:
                time.sleep(0.02)
        written = self._log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"Peer {self.peer.name} did not start:\n{written}")

    def cpu_s(self) -> float:
        """Return the CPU seconds of the process so far: all threads, user and system.

        This is Linux's CPU-time clock of another process (see ``clock_getcpuclockid``), which
        has nanoseconds and, unlike the per-thread files in ``/proc``, keeps ended threads.
        """
        return time.clock_gettime((~self._process.pid << 3) | 2)

    def resident_mib(self) -> float:
        """Return the memory it has now."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def log_bytes(self) -> int:
        """Return the size of its log so far."""
        return self._log.stat().st_size

    def wait_until_quiet(self) -> None:
        """Wait until it has sent what its requests left behind and does nothing any more."""
        deadline = time.monotonic() + _QUIET_TIMEOUT_S
        while time.monotonic() < deadline:
            before = self.cpu_s()
            time.sleep(_QUIET_WINDOW_S)
            if self.cpu_s() - before < _QUIET_CPU_S:
                return
