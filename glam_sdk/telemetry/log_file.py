"""Append log lines to a file that is rotated by size, also when several processes share it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from glam_sdk.telemetry.log_output import write_all

if sys.platform != "win32":
    import fcntl

MAX_BYTES: Final = 10 * 1024 * 1024
BACKUPS: Final = 5


class RotatingFile:
    """Write to ``orders.log`` and keep its predecessors as ``orders.log.1`` to ``.5``.

    Args:
        path: The file; its directory is made when missing.
        max_bytes: Size at which the file is put aside.
        backups: Number of predecessors that are kept.
    """

    def __init__(self, path: Path, *, max_bytes: int = MAX_BYTES, backups: int = BACKUPS) -> None:
        self._path = path.absolute()
        self._max_bytes = max_bytes
        self._backups = backups
        self._descriptor: int | None = None

    def open(self) -> None:
        """Open the file, so that a wrong path is seen at start.

        Raises:
            OSError: The file cannot be written.
        """
        self.close()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._descriptor = os.open(self._path, flags, 0o644)

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __call__(self, data: bytes) -> None:
        """Append whole lines; a file that would become too large is put aside before."""
        descriptor = self._current()
        size = os.fstat(descriptor).st_size
        if size and size + len(data) > self._max_bytes:
            self._rotate(descriptor)
            descriptor = self._current()
        write_all(descriptor, data)

    def _current(self) -> int:
        """Return the descriptor of the file at the path: another process may have rotated it."""
        if self._descriptor is None or not self._is_at_path(self._descriptor):
            self.open()
        descriptor = self._descriptor
        if descriptor is None:
            raise OSError(f"{self._path} is not open.")
        return descriptor

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self._path.stat())
        except OSError:
            return False

    def _rotate(self, descriptor: int) -> None:
        if sys.platform == "win32":
            self.close()  # an open file cannot be renamed there, and one process writes it
            self._shift()
            return
        # The lock is on the file that is put aside: who waits for it then finds itself outdated.
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            if self._is_at_path(descriptor):
                self._shift()
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def _shift(self) -> None:
        if self._backups <= 0:
            self._path.unlink(missing_ok=True)
            return
        for number in range(self._backups - 1, 0, -1):
            older = self._numbered(number)
            if older.exists():
                older.replace(self._numbered(number + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")
