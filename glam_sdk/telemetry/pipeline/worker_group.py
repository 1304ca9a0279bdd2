"""Let the worker processes of one service find each other, and outlive each other's counts.

Every worker has a slot (:mod:`.worker_slots`) and answers on its socket. A scrape asks the sockets.
Whatever a worker answers is written down first, so what a scrape has shown once is never lost,
however the worker ends. Where the group's files are removed under it, each worker takes its slot
back, or another one, within a second.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import socket
import threading
import time
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from glam_sdk.telemetry.pipeline.limits import Limits
from glam_sdk.telemetry.pipeline.snapshot import Snapshot
from glam_sdk.telemetry.pipeline.worker_slots import Slots, is_same
from glam_sdk.telemetry.pipeline.worker_sum import Source, retired

_ANSWER_S: Final = 2.0
_CHECKPOINT_S: Final = 15.0
_HEAL_S: Final = 1.0
_RETIRED: Final = -1
_log = logging.getLogger("glam_sdk.telemetry")


class WorkerGroup:
    """Be one worker of a group.

    Args:
        directory: Shared by the group and by nobody else.
        snapshot: Gives what this process has measured; called from a thread.
        limits: How many series the ended workers may leave.
    """

    def __init__(
        self, directory: Path, snapshot: Callable[[], Snapshot], limits: Limits | None = None
    ) -> None:
        self.directory = directory
        self.slot = -1
        self._snapshot = snapshot
        self._slots = Slots(directory, partial(retired, limits=limits))
        self._id = uuid.uuid4().hex
        self._writing = threading.Lock()
        self._stopping = threading.Event()
        self._lock_fd = -1
        self._socket: socket.socket | None = None
        self._socket_file: tuple[int, int] = (0, 0)
        self._thread: threading.Thread | None = None
        self._wake: tuple[int, int] = (-1, -1)
        self._peers = 0
        self._healed_at = -_ANSWER_S
        self._is_warned = False

    def join(self) -> None:
        """Take a slot and answer scrapes of the others from now on.

        Raises:
            OSError: The directory cannot be used.
        """
        with self._writing, self._slots.locked(fcntl.LOCK_EX):
            self.slot, self._lock_fd = self._slots.take(self._id)
            self._listen()
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="glam-metrics-worker", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Write the last snapshot down and give the slot back."""
        if self._socket is None:
            return
        self._stopping.set()
        os.write(self._wake[1], b"x")
        if self._thread is not None:
            self._thread.join(_ANSWER_S)
        with contextlib.suppress(OSError):
            self._checkpoint()
        self._close()

    def abandon(self) -> None:
        """Close what a fork has inherited; the slot stays with the parent."""
        self._stopping.set()
        self._close()

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        for fd in (self._lock_fd, *self._wake):
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
        self._lock_fd, self._wake = -1, (-1, -1)

    def collect(self) -> list[Source]:
        """Return the snapshots of all workers, and of those that have ended."""
        own = self._checkpoint()
        try:
            self._await_peers()
            with self._slots.locked(fcntl.LOCK_SH):
                others = self._others()
        except OSError:
            self._warn()
            return [Source(own, self.slot)]
        return [Source(own, self.slot), *others]

    def _others(self) -> list[Source]:
        sources: list[Source] = []
        slots = [slot for slot in self._slots.used() if slot != self.slot]
        answers = self._ask(slots)
        for slot in slots:
            body, is_alive = answers.get(slot), True
            if body is None:
                body, is_alive = self._slots.last(slot), self._slots.is_alive(slot)
            with contextlib.suppress(ValueError):
                sources.append(Source(Snapshot.decode(body), slot, is_alive))
        with contextlib.suppress(ValueError):
            ended = Snapshot.decode(self._slots.retired())
            sources.append(Source(ended, _RETIRED, is_alive=False))
        return sources

    def _checkpoint(self) -> Snapshot:
        with self._writing:
            self._heal()
            snapshot = self._snapshot()
            self._write(snapshot.encode())
            return snapshot

    def _write(self, body: bytes) -> None:
        if not self._holds_slot():  # the slot may be another's by now
            return
        try:
            self._slots.write(self.slot, self._id, body)
        except OSError:
            self._warn()

    def _warn(self) -> None:
        if not self._is_warned:
            self._is_warned = True
            _log.warning(
                "metrics.workers_unreachable",
                extra={"directory": str(self.directory)},
                exc_info=True,
            )

    # The slot ---------------------------------------------------------------------------------

    def _holds_slot(self) -> bool:
        return self._lock_fd >= 0 and is_same(self._lock_fd, self._slots.path(self.slot, "lock"))

    def _is_reachable(self) -> bool:
        return self._socket_file == _file_id(self._slots.path(self.slot, "sock"))

    def _listen(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = self._slots.listen(self.slot)
        self._socket.settimeout(_ANSWER_S)
        self._socket_file = _file_id(self._slots.path(self.slot, "sock")) or (0, 0)

    def _heal(self) -> None:
        """Take back what has been removed from the directory, or the directory as a whole."""
        if self._lock_fd < 0 or (self._holds_slot() and self._is_reachable()):
            return
        try:
            with self._slots.locked(fcntl.LOCK_EX):
                if not self._holds_slot():
                    self._take_again()
                if not self._is_reachable():
                    self._listen()
        except OSError:
            self._warn()
            return
        self._is_warned = False
        self._healed_at = time.monotonic()
        os.write(self._wake[1], b"h")  # the thread waits on a socket that has gone
        _log.warning("metrics.workers_rejoined", extra={"directory": str(self.directory)})

    def _take_again(self) -> None:
        before, fd = self._lock_fd, None
        if self._slots.owner(self.slot) == self._id:
            fd = self._slots.lock(self.slot)
        if fd is None:
            self.slot, fd = self._slots.take(self._id)
            self._socket_file = (0, 0)
        self._lock_fd = fd
        os.close(before)

    def _await_peers(self) -> None:
        """Give the others the time to take their slots again, so that no sum misses them."""
        while not self._is_complete() and not self._stopping.wait(0.05):
            pass

    def _is_complete(self) -> bool:
        """Tell whether all are back who were there before the last healing, or had the time."""
        used = self._slots.used()
        if self.slot in used and time.monotonic() >= self._healed_at + _ANSWER_S:
            self._peers = len(used)
        return len(used) >= self._peers or time.monotonic() >= self._healed_at + _ANSWER_S

    # Sockets ----------------------------------------------------------------------------------

    def _serve(self) -> None:
        wake, due = self._wake[0], time.monotonic() + _CHECKPOINT_S
        while not self._stopping.is_set():
            listener = self._socket
            if listener is None:
                return
            waiting = select.poll()  # select() knows no descriptor above 1023
            waiting.register(listener, select.POLLIN)
            waiting.register(wake, select.POLLIN)
            ready = {fd for fd, _ in waiting.poll(_HEAL_S * 1000)}
            try:
                if wake in ready:
                    os.read(wake, 64)
                elif ready:
                    self._answer(listener)
                elif time.monotonic() >= due:
                    self._checkpoint()
                    self._slots.retired()
                    due = time.monotonic() + _CHECKPOINT_S
                else:
                    with self._writing:
                        self._heal()
                    self._is_complete()
            except Exception:  # noqa: BLE001 - the thread must answer the next scrape
                _log.warning("metrics.worker_answer_failed", exc_info=True)

    def _answer(self, listener: socket.socket) -> None:
        with listener.accept()[0] as connection:
            connection.settimeout(_ANSWER_S)
            with self._writing:
                body = self._snapshot().encode()
                self._write(body)
            connection.sendall(body)

    def _ask(self, slots: list[int]) -> dict[int, bytes]:
        """Return the answers of the workers that live; all are asked before one is read."""
        deadline = time.monotonic() + _ANSWER_S
        asked: dict[int, socket.socket] = {}
        for slot in slots:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(_ANSWER_S)
            try:
                with self._slots.address(slot) as address:
                    connection.connect(address)
                asked[slot] = connection
            except OSError:
                connection.close()
        answers: dict[int, bytes] = {}
        for slot, connection in asked.items():
            with connection, contextlib.suppress(OSError):
                body = bytearray()
                while True:
                    connection.settimeout(max(0.01, deadline - time.monotonic()))
                    part = connection.recv(1 << 18)
                    if not part:
                        break
                    body += part
                if body.endswith(b"]}"):
                    answers[slot] = bytes(body)
        return answers


def _file_id(path: Path) -> tuple[int, int] | None:
    """Return which file a path leads to."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
