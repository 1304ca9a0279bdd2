"""Let the worker processes of one service find each other, and outlive each other's counts.

Every worker has a slot: a locked file, a socket that gives its snapshot, and a file with the last
snapshot it gave. A scrape asks the sockets. Whatever a worker answers is written down first, so
what a scrape has shown once is never lost, however the worker ends. Who takes over the slot of an
ended worker adds its counts to those of all retired ones: files and work are bounded by the number
of workers at one time, not by how many there have been.
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import orjson

from glam_sdk.telemetry.pipeline.snapshot import Snapshot
from glam_sdk.telemetry.pipeline.worker_sum import Source, retired

_MAX_SLOTS: Final = 1024
_ANSWER_S: Final = 2.0
_CHECKPOINT_S: Final = 15.0
_RETIRED: Final = -1
_log = logging.getLogger("glam_sdk.telemetry")


class WorkerGroup:
    """Be one worker of a group.

    Args:
        directory: Shared by the group and by nobody else.
        snapshot: Gives what this process has measured; called from a thread.
    """

    def __init__(self, directory: Path, snapshot: Callable[[], Snapshot]) -> None:
        self.directory = directory
        self.slot = -1
        self._snapshot = snapshot
        self._id = uuid.uuid4().hex
        self._writing = threading.Lock()
        self._stopping = False
        self._lock_fd = -1
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._wake: tuple[int, int] = (-1, -1)

    def join(self) -> None:
        """Take a slot and answer scrapes of the others from now on."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._group_lock(fcntl.LOCK_EX):
            self.slot, self._lock_fd = self._free_slot()
            self._retire_predecessor()
            self._socket = self._listen()
            self._write(Snapshot().encode())
        self._wake = os.pipe()
        self._thread = threading.Thread(target=self._serve, name="glam-metrics-worker", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Write the last snapshot down and give the slot back."""
        if self._socket is None:
            return
        self._stopping = True
        os.write(self._wake[1], b"x")
        if self._thread is not None:
            self._thread.join(_ANSWER_S)
        with contextlib.suppress(OSError):
            self._checkpoint()
        self._close()

    def abandon(self) -> None:
        """Close what a fork has inherited; the slot stays with the parent."""
        self._stopping = True
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
        """Return the snapshots of all workers, this one's first, and of those that have ended."""
        own = self._checkpoint()
        sources = [Source(own, self.slot)]
        with self._group_lock(fcntl.LOCK_SH):
            slots = [slot for slot in self._slots() if slot != self.slot]
            answers = self._ask(slots)
            for slot in slots:
                body, is_alive = answers.get(slot), True
                if body is None:
                    _, body = self._read(self._path(slot, "json"))
                    is_alive = self._is_locked(slot)
                with contextlib.suppress(ValueError):
                    sources.append(Source(Snapshot.decode(body), slot, is_alive))
            _, body = self._read(self._retired_path)
            with contextlib.suppress(ValueError):
                sources.append(Source(Snapshot.decode(body), _RETIRED, is_alive=False))
        return sources

    # Files ------------------------------------------------------------------------------------

    @property
    def _retired_path(self) -> Path:
        return self.directory / "retired.json"

    def _path(self, slot: int, kind: str) -> Path:
        return self.directory / f"{slot}.{kind}"

    def _slots(self) -> list[int]:
        return sorted(int(path.stem) for path in self.directory.glob("[0-9]*.json"))

    @contextlib.contextmanager
    def _group_lock(self, mode: int) -> Iterator[None]:
        fd = os.open(self.directory / "group.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, mode)
            yield
        finally:
            # Said aloud: a process forked meanwhile has a copy of the descriptor.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _free_slot(self) -> tuple[int, int]:
        for slot in range(_MAX_SLOTS):
            fd = os.open(self._path(slot, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
            else:
                return slot, fd
        raise OSError(f"All {_MAX_SLOTS} worker slots in {self.directory} are taken.")

    def _is_locked(self, slot: int) -> bool:
        fd = os.open(self._path(slot, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.flock(fd, fcntl.LOCK_UN)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def _retire_predecessor(self) -> None:
        """Add what the slot's last worker counted to the retired; safe to be cut off anywhere."""
        path = self._path(self.slot, "json")
        identity, body = self._read(path)
        if identity is None:
            return
        known, before = self._read(self._retired_path)
        merged: dict[str, str] = orjson.loads(known) if known else {}
        if merged.get(str(self.slot)) != identity:
            with contextlib.suppress(ValueError):
                earlier = Snapshot.decode(before) if before else Snapshot()
                after = retired(earlier, Snapshot.decode(body)).encode()
                merged[str(self.slot)] = identity
                self._replace(self._retired_path, orjson.dumps(merged).decode(), after)
        path.unlink(missing_ok=True)

    @staticmethod
    def _read(path: Path) -> tuple[str | None, bytes]:
        try:
            head, _, body = path.read_bytes().partition(b"\n")
        except OSError:
            return None, b""
        return head.decode(errors="replace"), body

    @staticmethod
    def _replace(path: Path, head: str, body: bytes) -> None:
        new = path.with_suffix(".new")
        new.write_bytes(head.encode() + b"\n" + body)
        new.replace(path)

    def _write(self, body: bytes) -> None:
        if self._lock_fd >= 0:  # else the slot may be another's by now
            self._replace(self._path(self.slot, "json"), self._id, body)

    def _checkpoint(self) -> Snapshot:
        with self._writing:
            snapshot = self._snapshot()
            self._write(snapshot.encode())
            return snapshot

    # Sockets ----------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _address(self, slot: int) -> Iterator[str]:
        """Give the socket's path, by a detour where it is too long for a socket."""
        path = str(self._path(slot, "sock"))
        if len(path.encode()) < 100:
            yield path
            return
        fd = os.open(self.directory, os.O_RDONLY)
        try:
            yield f"/proc/self/fd/{fd}/{slot}.sock"
        finally:
            os.close(fd)

    def _listen(self) -> socket.socket:
        self._path(self.slot, "sock").unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with self._address(self.slot) as address:
            listener.bind(address)
        listener.listen(64)
        listener.settimeout(_ANSWER_S)
        return listener

    def _serve(self) -> None:
        listener, wake = self._socket, self._wake[0]
        due = time.monotonic() + _CHECKPOINT_S
        if listener is None:
            return
        waiting = select.poll()  # select() knows no descriptor above 1023
        waiting.register(listener, select.POLLIN)
        waiting.register(wake, select.POLLIN)
        while not self._stopping:
            ready = {fd for fd, _ in waiting.poll(max(0.0, due - time.monotonic()) * 1000)}
            if wake in ready:
                return
            try:
                if ready:
                    with listener.accept()[0] as connection:
                        connection.settimeout(_ANSWER_S)
                        with self._writing:
                            body = self._snapshot().encode()
                            self._write(body)
                        connection.sendall(body)
                else:
                    self._checkpoint()
            except Exception:  # noqa: BLE001 - the thread must answer the next scrape
                _log.warning("metrics.worker_answer_failed", exc_info=True)
            if time.monotonic() >= due:
                due = time.monotonic() + _CHECKPOINT_S

    def _ask(self, slots: list[int]) -> dict[int, bytes]:
        """Return the answers of the workers that live; all are asked before one is read."""
        deadline = time.monotonic() + _ANSWER_S
        asked: dict[int, socket.socket] = {}
        for slot in slots:
            connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            connection.settimeout(_ANSWER_S)
            try:
                with self._address(slot) as address:
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
