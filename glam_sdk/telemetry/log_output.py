"""Write finished log lines from a thread of its own, so that a slow output holds nobody up.

Measured on a busy process, a direct write costs a log call 2 to 4 µs and now and then 2 to 27 ms
when the reader is behind; handing the line over costs 0.3 µs and never more than 0.1 ms. What that
costs: a process killed without a chance to exit (SIGKILL, a crash in C, ``os._exit``) loses the
lines of its last 20 ms.
"""

from __future__ import annotations

import atexit
import os
import select
import sys
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, Final

_GATHER_S: Final = 0.02  # one write takes all that was logged in this time
_IDLE_S: Final = 5.0
_MAX_WRITE: Final = 256 * 1024
_EXIT_S: Final = 2.0

Sink = Callable[[bytes], None]
Tell = Callable[[str, dict[str, Any]], None]


def _tell_nobody(_event: str, _fields: dict[str, Any]) -> None:
    return


@dataclass(frozen=True, slots=True)
class Bounds:
    """Say how much may wait, and how long a log call may."""

    lines: int = 10_000
    size_bytes: int = 16 * 1024 * 1024
    patience_s: float = 0.05
    """A log call that finds the queue full waits so long, once per stall; then lines are lost."""


@dataclass(slots=True)
class _Flush:
    done: threading.Event = field(default_factory=threading.Event)
    ends_thread: bool = False


class LineWriter:
    """Take lines without waiting and write them in order; count what could not be written.

    The thread starts with the first line. At exit everything waiting is written, and later lines
    are written directly; in a forked child nothing of the parent's is written twice.

    Args:
        sink: Writes bytes and returns when they are written; an ``OSError`` loses them.
        name: Name of the output in what is told.
        bounds: How much may wait.
        tell: Called with an event and fields when output fails or works again.
        on_idle: Called every few seconds while nothing is logged.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        name: str,
        bounds: Bounds | None = None,
        tell: Tell = _tell_nobody,
        on_idle: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = name
        self.lost_total = 0
        self._sink = sink
        self._bounds = bounds or Bounds()
        self.tell = tell
        self.on_idle = on_idle
        self._registered = False
        self._is_direct = False
        self._reset()

    def _reset(self) -> None:
        """Begin empty and without a thread; again in a forked child, which has neither."""
        self._queue: SimpleQueue[bytes | _Flush] = SimpleQueue()
        self._waiting_bytes = 0
        self._starting = threading.RLock()
        self._thread: threading.Thread | None = None
        self._is_stalled = False
        self._is_failing = False
        self._untold = 0

    def write(self, line: bytes) -> None:
        """Hand over one line, without its newline; never raises."""
        if self._thread is None and not self._start():
            self._write([line])
            return
        queue, bounds = self._queue, self._bounds
        # As in _has_room; the call would cost as much as all the rest.
        has_room = self._waiting_bytes < bounds.size_bytes and queue.qsize() < bounds.lines
        if has_room or self._wait_for_room():
            self._waiting_bytes += len(line)
            queue.put(line)  # safe in signal handlers and finalizers, unlike any lock
        else:
            self._lose(1)

    __call__ = write

    @property
    def waiting(self) -> int:
        """Lines that were taken and are not with the thread yet."""
        return self._queue.qsize()

    def _has_room(self) -> bool:
        bounds = self._bounds
        return self._waiting_bytes < bounds.size_bytes and self._queue.qsize() < bounds.lines

    def _wait_for_room(self) -> bool:
        if self._is_stalled:
            return False
        deadline = time.monotonic() + self._bounds.patience_s
        while time.monotonic() < deadline:
            time.sleep(0.001)
            if self._has_room():
                return True
        self._is_stalled = True
        return False

    def _lose(self, count: int) -> None:
        self.lost_total += count
        self._untold += count

    def _start(self) -> bool:
        with self._starting:
            if self._is_direct:
                return False
            if self._thread is None:
                self._register()
                thread = threading.Thread(
                    target=self._run, args=(self._queue,), name=f"glam-log-{self.name}", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:  # the interpreter is ending, or threads have run out
                    return False
                self._thread = thread
            return True

    def _register(self) -> None:
        # Children of multiprocessing end without atexit, and forget these when they are forked.
        if (processes := sys.modules.get("multiprocessing.util")) is not None:
            processes.Finalize(None, self._at_exit, exitpriority=-1000)
        if self._registered:
            return
        self._registered = True
        atexit.register(self._at_exit)
        if hasattr(os, "register_at_fork"):
            weak = weakref.WeakMethod(self._reset)

            def reset_in_child() -> None:
                if (reset := weak()) is not None:
                    reset()

            os.register_at_fork(after_in_child=reset_in_child)

    def _run(self, queue: SimpleQueue[bytes | _Flush]) -> None:
        while True:
            try:
                first = queue.get(timeout=_IDLE_S)
            except Empty:
                self.on_idle()
                continue
            if not isinstance(first, _Flush):
                time.sleep(_GATHER_S)
            if self._drain(queue, first):
                return

    def _drain(self, queue: SimpleQueue[bytes | _Flush], first: bytes | _Flush | None) -> bool:
        """Write what is in the queue now, in as few writes as possible; True ends the thread."""
        lines: list[bytes] = []
        size, item = 0, first
        while True:
            if isinstance(item, _Flush):
                self._write(lines)
                lines, size = [], 0
                item.done.set()
                if item.ends_thread:
                    return True
            elif item is not None:
                lines.append(item)
                size += len(item)
                if size >= _MAX_WRITE:
                    self._write(lines)
                    lines, size = [], 0
            try:
                item = queue.get_nowait()
            except Empty:
                break
        self._write(lines)
        self._waiting_bytes = 0
        return False

    def _write(self, lines: list[bytes]) -> None:
        if not lines:
            return
        try:
            self._sink(b"\n".join(lines) + b"\n")
        except Exception as exc:  # noqa: BLE001 - the log itself fails: there is nowhere to raise
            self._lose(len(lines))
            if not self._is_failing:
                self._is_failing = True
                self.tell("log.output_failed", {"output": self.name, "reason": str(exc)})
        else:
            self._waiting_bytes -= sum(map(len, lines))
            self._recover()

    def _recover(self) -> None:
        self._is_failing = False
        if not (self._is_stalled or self._untold) or self._queue.qsize() > self._bounds.lines // 2:
            return
        self._is_stalled = False
        lost, self._untold = self._untold, 0
        if lost:
            self.tell("log.lines_lost", {"output": self.name, "lost": lost})

    def flush(self, timeout_s: float) -> bool:
        """Wait until everything handed over so far is written; False when the time was up."""
        if self._thread is None:
            return True
        marker = _Flush()
        self._queue.put(marker)
        return marker.done.wait(timeout_s)

    def finish(self, timeout_s: float = _EXIT_S) -> bool:
        """Write what is waiting; from now on lines are written by whoever logs them.

        With an output that is stuck, lines stay with the thread: the process must be able to end.

        Returns:
            Whether everything was written in time.
        """
        if not self.flush(timeout_s):
            return False
        with self._starting:
            self._is_direct = True
            self._thread = None
        self._drain(self._queue, None)
        return True

    def close(self) -> None:
        """Write what is waiting and end the thread; later lines are written directly."""
        self.finish()
        self._queue.put(_Flush(ends_thread=True))
        atexit.unregister(self._at_exit)

    def _at_exit(self) -> None:
        if self.finish() or not _is_writable(2):
            return
        waiting = self._queue.qsize()
        os.write(2, f"glam_sdk: {self.name} is stuck, {waiting} log lines were lost.\n".encode())


class StandardOutput:
    """Write to what ``sys.stdout`` is at the moment, past its buffers."""

    def __call__(self, data: bytes) -> None:
        """Write all of it, however long it takes."""
        stream = sys.stdout
        if stream is None:
            raise OSError("There is no standard output.")
        try:
            descriptor = stream.fileno()
        except (AttributeError, OSError, ValueError):  # captured, or closed
            stream.write(data.decode("utf-8", "backslashreplace"))
            stream.flush()
        else:
            write_all(descriptor, data)


def _is_writable(descriptor: int) -> bool:
    try:
        return bool(select.select([], [descriptor], [], 0)[1])
    except (OSError, ValueError):
        return False


def write_all(descriptor: int, data: bytes) -> None:
    """Write all bytes to a file descriptor, also to one that somebody made non-blocking."""
    view = memoryview(data)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            time.sleep(0.005)
