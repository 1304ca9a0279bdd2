"""The queue loses nothing that fits, says what it had to drop, and never holds anybody up."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

import pytest
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, get_value

from glam_sdk.telemetry.pipeline.lean.batching import BatchQueue, BatchSettings
from glam_sdk.telemetry.pipeline.lean.export import batch_settings
from glam_sdk.telemetry.pipeline.watch import QueueRecord

PATIENT = BatchSettings(capacity=8, batch_size=4, delay_s=60)


class Sink:
    """Take batches; ``open`` must be set for an export to end."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.batches: list[list[int]] = []
        self.open = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.suppressed: list[object] = []
        self.fails = False
        if is_open:
            self.open.set()

    def __call__(self, batch: Sequence[int]) -> None:
        self.suppressed.append(get_value(_SUPPRESS_INSTRUMENTATION_KEY))
        self.batches.append(list(batch))
        self.arrived.release()
        assert self.open.wait(20)
        if self.fails:
            raise OSError("no way")


def put(queue: BatchQueue[int], items: Sequence[int]) -> None:
    for item in items:
        queue.put(item)


def test_a_thread_that_cannot_be_started_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process may have as many threads as it is allowed to, for a while."""
    sink, record = Sink(), QueueRecord()
    queue = BatchQueue(sink, PATIENT, record)
    with monkeypatch.context() as patch:

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        patch.setattr(threading.Thread, "start", refuse)
        put(queue, range(6))
        assert sink.batches == []
    queue.put(6)
    assert sink.arrived.acquire(timeout=10)
    assert queue.flush(10)
    assert [item for batch in sink.batches for item in batch] == list(range(7))
    assert record.dropped == {}
    queue.stop(10)


def test_a_full_batch_leaves_at_once_and_the_rest_when_asked() -> None:
    """The delay is for what does not fill a batch; a flush does not wait for it."""
    sink, record = Sink(), QueueRecord()
    queue = BatchQueue(sink, PATIENT, record)
    put(queue, range(3))
    assert (record.size(), record.capacity, sink.batches) == (3, 8, [])
    queue.put(3)
    assert sink.arrived.acquire(timeout=10)
    put(queue, [4, 5])
    assert queue.flush(10)
    assert sink.batches == [[0, 1, 2, 3], [4, 5]]
    assert (record.processed, record.dropped, record.size()) == (6, {}, 0)
    queue.stop(10)


def test_a_span_that_ends_while_the_thread_starts_waits_for_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A signal handler or finaliser may run in the middle of the first one."""
    sink = Sink()
    queue = BatchQueue(sink, PATIENT, QueueRecord())
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        if thread.name == "glam-batches":
            queue.put(1)
        start(thread)

    first = threading.Thread(target=queue.put, args=(0,), daemon=True)
    monkeypatch.setattr(threading.Thread, "start", interrupted)
    first.start()
    first.join(10)
    assert not first.is_alive()
    assert queue.flush(10)
    assert sorted(item for batch in sink.batches for item in batch) == [0, 1]
    assert [thread.name for thread in threading.enumerate()].count("glam-batches") == 1
    queue.stop(10)


def test_what_waits_leaves_after_the_delay() -> None:
    """Nobody has to ask."""
    sink = Sink()
    queue = BatchQueue(sink, BatchSettings(capacity=8, batch_size=4, delay_s=0.01), QueueRecord())
    queue.put(1)
    assert sink.arrived.acquire(timeout=10)
    assert sink.batches == [[1]]
    queue.stop(10)


def test_exports_are_not_observed_themselves() -> None:
    """The exporter's own requests make no spans: the suppression key is set around them."""
    sink = Sink()
    queue = BatchQueue(sink, PATIENT, QueueRecord())
    queue.put(1)
    assert queue.flush(10)
    assert sink.suppressed == [True]
    queue.stop(10)


def test_a_full_queue_drops_the_oldest_counts_it_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """While an export hangs, the newest stay; each loss is counted, and logged once a minute."""
    sink, record = Sink(is_open=False), QueueRecord()
    queue = BatchQueue(sink, PATIENT, record)
    put(queue, range(4))
    assert sink.arrived.acquire(timeout=10)
    put(queue, range(4, 15))
    assert record.dropped == {"queue_full": 3}
    assert [r.message for r in caplog.records] == ["telemetry.queue_full"]
    sink.open.set()
    assert queue.flush(10)
    assert sink.batches == [[0, 1, 2, 3], [7, 8, 9, 10], [11, 12, 13, 14]]
    queue.stop(10)


def test_a_failing_export_does_not_end_the_queue() -> None:
    """The next batch is tried as if nothing had been."""
    sink = Sink()
    queue = BatchQueue(sink, PATIENT, QueueRecord())
    sink.fails = True
    queue.put(1)
    assert queue.flush(10)
    sink.fails = False
    queue.put(2)
    assert queue.flush(10)
    assert sink.batches == [[1], [2]]
    queue.stop(10)


def test_flush_and_stop_keep_their_deadlines() -> None:
    """With an export that hangs both give up in time; what is left is counted as dropped."""
    sink, record = Sink(is_open=False), QueueRecord()
    queue = BatchQueue(sink, PATIENT, record)
    put(queue, range(6))
    assert sink.arrived.acquire(timeout=10)
    started = time.monotonic()
    assert not queue.flush(0.05)
    queue.stop(0.05)
    assert time.monotonic() - started < 5
    assert record.dropped == {"shutdown": 2}
    queue.put(6)
    assert record.dropped == {"shutdown": 2, "already_shutdown": 1}
    sink.open.set()


def test_stop_sends_what_waits_and_takes_no_more() -> None:
    """Afterwards an item is counted as dropped, and there is nothing to flush."""
    sink, record = Sink(), QueueRecord()
    queue = BatchQueue(sink, PATIENT, record)
    put(queue, range(2))
    queue.stop(10)
    queue.stop(10)
    queue.put(9)
    assert sink.batches == [[0, 1]]
    assert record.dropped == {"already_shutdown": 1}
    assert not queue.flush(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_starts_a_thread_of_its_own() -> None:
    """With its first item, as if there had been none before."""
    queue = BatchQueue(Sink(), PATIENT, QueueRecord())
    queue.put(1)
    child = os.fork()
    if not child:
        queue.put(2)
        names = [thread.name for thread in threading.enumerate()]
        os._exit(0 if "glam-batches" in names else 1)
    assert os.waitpid(child, 0)[1] == 0
    queue.stop(10)


def test_a_queue_smaller_than_a_batch_counts_what_it_drops() -> None:
    """It never wakes its thread, so that what makes room is lost, and said."""
    sink, record = Sink(), QueueRecord()
    queue = BatchQueue(sink, BatchSettings(capacity=2, batch_size=4, delay_s=60), record)
    put(queue, range(3))
    assert record.dropped == {"queue_full": 1}
    assert queue.flush(10)
    assert sink.batches == [[1, 2]]
    queue.stop(10)


def test_each_full_batch_leaves_at_once() -> None:
    """Not only the first: after each the queue is watched again."""
    sink = Sink()
    queue = BatchQueue(sink, PATIENT, QueueRecord())
    for first in (0, 4, 8):
        put(queue, range(first, first + 4))
        assert sink.arrived.acquire(timeout=10)
    assert sink.batches == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    queue.stop(10)


def test_an_unused_queue_has_no_thread() -> None:
    """A process that only forks workers starts none; flush and stop have nothing to do."""
    queue = BatchQueue(Sink(), PATIENT, QueueRecord(), name="unused")
    assert queue.flush(0)
    queue.stop(0)
    assert "unused" not in {thread.name for thread in threading.enumerate()}


def test_many_threads_lose_nothing() -> None:
    """What eight threads put in beside each other all arrives, each item once."""
    sink, record = Sink(), QueueRecord()
    queue = BatchQueue(sink, BatchSettings(capacity=9000, batch_size=50, delay_s=60), record)
    threads = [
        threading.Thread(target=put, args=(queue, range(n * 1000, (n + 1) * 1000)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert queue.flush(10)
    assert sorted(item for batch in sink.batches for item in batch) == list(range(8000))
    assert max(map(len, sink.batches)) == 50
    assert record.processed == 8000
    queue.stop(10)


def test_the_variables_of_the_batch_processor_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_BSP_* are read as the SDK reads them, contradictions refused."""
    assert batch_settings() == BatchSettings(capacity=2048, batch_size=512, delay_s=5.0)
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "100")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "10")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "250")
    assert batch_settings() == BatchSettings(capacity=100, batch_size=10, delay_s=0.25)
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1000")
    with pytest.raises(ValueError, match="less than or equal"):
        batch_settings()
