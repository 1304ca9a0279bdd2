"""A group whose files are removed under it finds together again and counts nobody twice."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics.export import Metric, NumberDataPoint, Sum

from glam_sdk.telemetry.pipeline.snapshot import CUMULATIVE, ScopedMetric, Snapshot, points_of
from glam_sdk.telemetry.pipeline.worker_group import WorkerGroup
from glam_sdk.telemetry.pipeline.worker_sum import total
from glam_sdk.telemetry.pipeline.workers import started


class Worker:
    """A worker that counts."""

    def __init__(self, directory: Path, value: int) -> None:
        self.value = value
        self.group = WorkerGroup(directory, self._snapshot)
        self.group.join()

    def _snapshot(self) -> Snapshot:
        data = Sum([NumberDataPoint({}, 0, 1, self.value)], CUMULATIVE, is_monotonic=True)
        return Snapshot([ScopedMetric("s", Metric("jobs", "", "", data))])

    def scrape(self) -> float:
        """Return the sum over the group."""
        (metric,) = total(self.group.collect()).metrics
        return next(iter(points_of(metric.metric))).value

    def shown(self, wanted: float) -> float:
        """Scrape until the others have found back, which takes a second."""
        deadline = time.monotonic() + 10
        while (found := self.scrape()) != wanted and time.monotonic() < deadline:
            pass
        return found

    def die(self) -> None:
        """End as SIGKILL ends a process."""
        self.group._stopping.set()
        os.write(self.group._wake[1], b"x")  # here its thread would live on
        self.group._thread.join()
        self.group.abandon()


@pytest.fixture
def group(tmp_path: Path) -> Iterator[tuple[Path, list[Worker]]]:
    """Give a group with a worker that was killed (100) and two that live (1 and 2)."""
    directory = tmp_path / "group"
    ended = Worker(directory, 100)
    ended.scrape()
    ended.die()
    workers = [Worker(directory, 1), Worker(directory, 2)]
    assert [worker.scrape() for worker in workers] == [103, 103]
    yield directory, workers
    for worker in workers:
        with contextlib.suppress(OSError):
            worker.group.leave()


def test_a_group_survives_the_loss_of_its_directory(group) -> None:
    """The first scrape already shows all, those that have ended included; each is there once."""
    directory, workers = group
    shutil.rmtree(directory)
    assert [worker.scrape() for worker in workers] == [103, 103]
    workers[0].value = 5
    assert [worker.scrape() for worker in workers] == [107, 107]
    late = Worker(directory, 10)
    workers.append(late)
    assert [worker.scrape() for worker in workers] == [117, 117, 117]
    assert len({worker.group.slot for worker in workers}) == 3


@pytest.mark.parametrize("kinds", [("lock",), ("sock",), ("json",), ("lock", "sock", "json")])
def test_a_group_survives_the_loss_of_any_file(group, kinds) -> None:
    """A worker that starts meanwhile takes nobody's place, and all are counted once."""
    directory, workers = group
    for kind in kinds:
        for path in directory.glob(f"*.{kind}"):
            if path.name != "retired.json":
                path.unlink()
    late = Worker(directory, 10)
    workers.append(late)
    for worker in workers:
        assert worker.shown(113) == 113
    assert len({worker.group.slot for worker in workers}) == 3
    late.die()
    workers.remove(late)
    workers.append(Worker(directory, 20))
    for worker in workers:
        assert worker.shown(133) == 133


def test_a_lock_that_was_replaced_leaves_the_slot_to_its_worker(group) -> None:
    """The lock of another file of this name is not the slot's: its worker takes it again."""
    directory, workers = group
    path = directory / f"{workers[0].group.slot}.lock"
    path.unlink()
    path.write_text("")
    slots = [worker.group.slot for worker in workers]
    assert [worker.scrape() for worker in workers] == [103, 103]
    assert [worker.group.slot for worker in workers] == slots
    late = Worker(directory, 10)
    workers.append(late)
    assert [worker.scrape() for worker in workers] == [113, 113, 113]


def test_the_groups_lock_may_be_replaced_while_somebody_holds_it(group) -> None:
    """Who waits for a lock that has gone takes the one that is there."""
    directory, workers = group
    (directory / "group.lock").unlink()
    assert [worker.scrape() for worker in workers] == [103, 103]


def test_a_directory_that_cannot_be_made_again_raises_into_no_scrape(group, caplog) -> None:
    """The worker answers for itself, says so once, and joins again when it can."""
    directory, workers = group
    shutil.rmtree(directory)
    directory.write_text("in the way")
    assert workers[0].scrape() == 1
    assert workers[0].scrape() == 1
    said = [r for r in caplog.records if r.message == "metrics.workers_unreachable"]
    assert 1 <= len(said) <= len(workers)
    directory.unlink()
    assert workers[0].shown(103) == 103
    assert workers[1].shown(103) == 103


def test_a_process_lives_until_it_is_no_more_than_a_zombie() -> None:
    """A worker that was killed and not yet waited for has ended."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert started(process.pid) != "0"
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert started(process.pid) == "0"
    process.communicate()


def test_nobody_takes_the_slot_of_a_process_that_lives(tmp_path: Path) -> None:
    """Though its lock and its socket have gone, it is not counted as ended; later it is."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    head = f"other {process.pid} {started(process.pid)}\n"
    workers = [Worker(tmp_path, 5)]
    body = workers[0]._snapshot().encode()
    workers[0].die()
    (tmp_path / "0.json").write_bytes(head.encode() + body)
    workers = [Worker(tmp_path, 1)]
    assert workers[0].group.slot == 1
    assert workers[0].scrape() == 6
    assert not (tmp_path / "retired.json").exists()
    process.communicate()
    workers.append(Worker(tmp_path, 2))
    assert workers[1].group.slot == 0
    assert [worker.scrape() for worker in workers] == [8, 8]
    assert (tmp_path / "retired.json").exists()
    for worker in workers:
        worker.group.leave()
