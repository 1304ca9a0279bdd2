"""Queue what is to be exported and hand it over in batches, from one thread.

Putting something in takes no lock: a bounded ``deque`` is enough, and the thread is woken once per
full batch. The thread is started by the first item, so that a process which only forks has none.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, attach, set_value

from glam_sdk.telemetry.pipeline.watch import QueueRecord

_log = logging.getLogger("glam_sdk.telemetry")
_SILENCE_S: Final = 60.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchSettings:
    """Say how much waits, and for how long.

    Attributes:
        capacity: Items that may wait; beyond, the oldest are dropped.
        batch_size: Items in one export at most; as many wake the thread at once.
        delay_s: Seconds after which fewer are exported too.
    """

    capacity: int
    batch_size: int
    delay_s: float


class BatchQueue(Generic[T]):
    """Collect items and export them; after a fork the child begins with none.

    Args:
        export: Called with each batch, in the queue's thread.
        settings: Sizes and delay.
        record: Counts what is exported and what is dropped.
        name: Of the thread.
    """

    def __init__(
        self,
        export: Callable[[Sequence[T]], object],
        settings: BatchSettings,
        record: QueueRecord,
        *,
        name: str = "glam-batches",
    ) -> None:
        self._export = export
        self._name = name
        self._settings = settings
        self._record = record
        self._items: deque[T] = deque(maxlen=settings.capacity)
        self._last_warned = -_SILENCE_S
        self._stopping = False
        self._abandoned = False
        self._begin()
        record.capacity = settings.capacity
        record.register_queue_size(self._items.__len__)
        _after_fork(self._begin)

    def _begin(self) -> None:
        self._items.clear()
        self._calm = 0
        """Below so many items, one more needs nothing but its place."""
        self._wake = threading.Event()
        self._is_woken = False
        self._waiting: deque[threading.Event] = deque()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def put(self, item: T) -> None:
        """Add an item; where the queue is full, the oldest makes room."""
        items = self._items
        if len(items) < self._calm:
            items.append(item)
        else:
            self._put_one_of_many(item)

    def _put_one_of_many(self, item: T) -> None:
        items = self._items
        if self._stopping:
            self._record.drop_items(1, "already_shutdown")
            return
        if len(items) >= self._settings.capacity:
            self._full()
        items.append(item)
        if self._thread is None:
            self._start()
        if not self._is_woken and len(items) >= self._settings.batch_size:
            self._is_woken = True
            self._be_calm_below(self._settings.capacity)
            self._wake.set()

    def _calm_down(self) -> None:
        self._be_calm_below(self._settings.batch_size - 1)

    def _be_calm_below(self, count: int) -> None:
        calm = min(count, self._settings.capacity)
        # No call between the look and the store: once it is stopping, none is put in any more. And
        # without a thread, each that is put in tries to start it.
        self._calm = 0 if self._stopping or self._thread is None else calm

    def flush(self, timeout_s: float) -> bool:
        """Export all that waits; False when that was not done in time."""
        if self._stopping:
            return False
        if not self._items and self._thread is None:
            return True
        self._start()
        done = threading.Event()
        self._waiting.append(done)
        self._wake.set()
        return done.wait(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Export all that waits and end the thread; what is not done in time is dropped."""
        if self._stopping:
            return
        if self._items:
            self._start()
        self._stopping = True
        self._calm = 0
        self._wake.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        self._abandoned = True
        if self._items:
            self._record.drop_items(len(self._items), "shutdown")

    def _start(self) -> None:
        # Nobody waits for it: the one who starts the thread may be the very one who is interrupted
        # here, by a signal or a finaliser that ends a span or logs.
        starting = self._starting
        if not starting.acquire(blocking=False):
            return
        try:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                thread.start()
                self._thread = thread
                self._calm_down()
        except RuntimeError:  # the interpreter is ending and starts no threads any more
            return
        finally:
            starting.release()

    def _run(self) -> None:
        attach(set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
        while not self._abandoned:
            self._wake.wait(self._settings.delay_s)
            is_full = self._is_woken
            # In this order: what is put, asked for or stopped from here on wakes the thread again.
            self._wake.clear()
            self._is_woken = False
            self._calm_down()
            waiting, is_ending = len(self._waiting), self._stopping
            self._drain(everything=waiting > 0 or is_ending or not is_full)
            for _ in range(waiting):
                self._waiting.popleft().set()
            if is_ending:
                return

    def _drain(self, *, everything: bool) -> None:
        size = self._settings.batch_size
        left = len(self._items)
        if not everything:
            left -= left % size  # the rest waits for more, or for the delay
        while left > 0 and not self._abandoned:
            batch = [self._items.popleft() for _ in range(min(size, left))]
            left -= len(batch)
            self._record.finish_items(len(batch))
            try:
                self._export(batch)
            except Exception:  # noqa: BLE001 - the thread lives on
                _log.warning("telemetry.export_failed", exc_info=True)

    def _full(self) -> None:
        self._record.drop_items(1)
        now = time.monotonic()
        if now - self._last_warned >= _SILENCE_S:
            self._last_warned = now
            _log.warning("telemetry.queue_full", extra={"capacity": self._settings.capacity})


def _after_fork(begin: Callable[[], None]) -> None:
    """Call a method in each forked child for as long as its object lives."""
    if not hasattr(os, "register_at_fork"):
        return
    weak = weakref.WeakMethod(begin)

    def call() -> None:
        if (method := weak()) is not None:
            method()

    os.register_at_fork(after_in_child=call)
