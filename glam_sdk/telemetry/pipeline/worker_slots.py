"""Keep the files of a group of workers: who has which slot, and what the ended have counted.

A slot is a number with three files: a lock that its worker holds while it lives, a socket that
gives its snapshot, and the last snapshot it gave. Who takes over the slot of an ended worker adds
its counts to those of all retired ones: files and work are bounded by the number of workers at one
time, not by how many there have been.

Any of the files may be removed under a live worker, by a cleaner of temporary files. So a worker
counts as ended only where neither its lock nor its process nor its socket says that it lives.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import orjson

from glam_sdk.telemetry.pipeline.snapshot import Snapshot
from glam_sdk.telemetry.pipeline.workers import started

_MAX_SLOTS: Final = 1024
_LONGEST_ADDRESS: Final = 100


class Retire(Protocol):
    """Add what a worker that has ended had measured to what was kept before."""

    def __call__(self, earlier: Snapshot, ended: Snapshot, *, others: list[Snapshot]) -> Snapshot:
        """Return what is kept from now on."""


class Slots:
    """Read and write one group's directory.

    Args:
        directory: Shared by the group and by nobody else.
        retire: Says what is kept of workers that have ended.
    """

    def __init__(self, directory: Path, retire: Retire) -> None:
        self.directory = directory
        self._retire = retire
        self._seen = b""
        """The file of the retired as it was read last."""

    def path(self, slot: int, kind: str) -> Path:
        """Return a file of a slot: ``lock``, ``sock`` or ``json``."""
        return self.directory / f"{slot}.{kind}"

    def used(self) -> list[int]:
        """Return the slots that have a snapshot or somebody to ask for it."""
        files = (*self.directory.glob("[0-9]*.json"), *self.directory.glob("[0-9]*.sock"))
        return sorted({int(path.stem) for path in files})

    def last(self, slot: int) -> bytes:
        """Return the last snapshot that the slot's worker gave."""
        return _read(self.path(slot, "json"))[1]

    def retired(self) -> bytes:
        """Return what is kept of workers that have ended, and remember it."""
        with contextlib.suppress(OSError):
            self._seen = self._retired_path.read_bytes()
        return self._seen.partition(b"\n")[2]

    @property
    def _retired_path(self) -> Path:
        return self.directory / "retired.json"

    @contextlib.contextmanager
    def locked(self, mode: int) -> Iterator[None]:
        """Hold the group's lock; the directory is made where it has gone."""
        fd = self._group_lock(mode)
        try:
            yield
        finally:
            # Said aloud: a process forked meanwhile has a copy of the descriptor.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)

    def _group_lock(self, mode: int) -> int:
        while True:
            self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = self.directory / "group.lock"
            fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(fd, mode)
            if is_same(fd, path):
                return fd
            os.close(fd)  # removed while we waited: another's lock would be another file's

    # Called with the group's lock held ----------------------------------------------------------

    def take(self, identity: str) -> tuple[int, int]:
        """Take the first free slot; returns it with its lock.

        Args:
            identity: Of the worker, in its files.

        Raises:
            OSError: There is none.
        """
        if self._seen and not self._retired_path.exists():  # removed with the directory
            _replace(self._retired_path, self._seen)
        for slot in range(_MAX_SLOTS):
            fd = self.lock(slot)
            if fd is None:
                continue
            if self._is_anothers(slot):
                os.close(fd)
                continue
            self._retire_predecessor(slot)
            self.write(slot, identity, Snapshot().encode())
            return slot, fd
        raise OSError(f"All {_MAX_SLOTS} worker slots in {self.directory} are taken.")

    def lock(self, slot: int) -> int | None:
        """Take the lock of a slot; None where another has it."""
        fd = os.open(self.path(slot, "lock"), os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        return fd

    def is_alive(self, slot: int) -> bool:
        """Tell whether the slot's worker lives, though it may not answer."""
        fd = self.lock(slot)
        if fd is None:
            return True
        fcntl.flock(fd, fcntl.LOCK_UN)
        os.close(fd)
        return self._is_anothers(slot)

    def owner(self, slot: int) -> str | None:
        """Return the identity in a slot's snapshot."""
        head, _ = _read(self.path(slot, "json"))
        return None if head is None else head.partition(" ")[0]

    def _is_anothers(self, slot: int) -> bool:
        """Tell whether the slot is a live worker's whose lock file has gone."""
        head, _ = _read(self.path(slot, "json"))
        if head is None:
            return False
        pid, _, since = head.partition(" ")[2].partition(" ")
        # An earlier service of this very process has stopped, or it would hold the lock.
        is_known = pid.isdigit() and int(pid) != os.getpid() and since not in {"", "0"}
        return (is_known and started(int(pid)) == since) or self._answers(slot)

    def _answers(self, slot: int) -> bool:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(0.5)
            try:
                with self.address(slot) as address:
                    connection.connect(address)
            except OSError:
                return False
            return True

    def _retire_predecessor(self, slot: int) -> None:
        """Add what the slot's last worker counted to the retired; safe to be cut off anywhere."""
        path = self.path(slot, "json")
        identity, body = self.owner(slot), self.last(slot)
        if identity is None:
            return
        known, before = _read(self._retired_path)
        merged: dict[str, str] = orjson.loads(known) if known else {}
        if merged.get(str(slot)) != identity:
            with contextlib.suppress(ValueError):
                earlier = Snapshot.decode(before) if before else Snapshot()
                others = list(self._others(slot))
                after = self._retire(earlier, Snapshot.decode(body), others=others).encode()
                merged[str(slot)] = identity
                _replace(self._retired_path, orjson.dumps(merged) + b"\n" + after)
        path.unlink(missing_ok=True)

    def _others(self, but: int) -> Iterator[Snapshot]:
        for slot in self.used():
            if slot != but:
                with contextlib.suppress(ValueError):
                    yield Snapshot.decode(self.last(slot))

    def write(self, slot: int, identity: str, body: bytes) -> None:
        """Write a snapshot down; the slot must be the caller's."""
        pid = os.getpid()
        head = f"{identity} {pid} {started(pid)}\n"
        _replace(self.path(slot, "json"), head.encode() + body)

    # Sockets ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def address(self, slot: int) -> Iterator[str]:
        """Give the socket's path, by a detour where it is too long for a socket."""
        path = str(self.path(slot, "sock"))
        if len(path.encode()) < _LONGEST_ADDRESS:
            yield path
            return
        fd = os.open(self.directory, os.O_RDONLY)
        try:
            yield f"/proc/self/fd/{fd}/{slot}.sock"
        finally:
            os.close(fd)

    def listen(self, slot: int) -> socket.socket:
        """Open the slot's socket."""
        self.path(slot, "sock").unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with self.address(slot) as address:
                listener.bind(address)
            listener.listen(64)
        except OSError:
            listener.close()
            raise
        return listener


def is_same(fd: int, path: Path) -> bool:
    """Tell whether a path still leads to the file that a descriptor has open."""
    try:
        there, here = os.stat(path), os.fstat(fd)  # noqa: PTH116 - beside fstat
    except OSError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def _read(path: Path) -> tuple[str | None, bytes]:
    try:
        head, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None, b""
    return head.decode(errors="replace"), body


def _replace(path: Path, content: bytes) -> None:
    new = path.with_suffix(".new")
    new.write_bytes(content)
    new.replace(path)
