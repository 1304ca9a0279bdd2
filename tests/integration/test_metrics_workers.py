"""With several workers, a scrape answered by any of them shows the sum over all."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from glam_sdk.testing import OtlpReceiver
from glam_sdk.testing.processes import free_port

APP = "tests.integration.apps.worked:app"
ROOT = Path(__file__).parents[2]


def uvicorn(port: int) -> list[str]:
    return ["uvicorn", APP, "--host", "127.0.0.1", "--port", str(port), "--workers", "2"]


def gunicorn(port: int, *more: str) -> list[str]:
    worker = "uvicorn.workers.UvicornWorker"
    return ["gunicorn", APP, "-k", worker, "-w", "2", "-b", f"127.0.0.1:{port}", *more]


SERVERS: dict[str, Callable[[int], list[str]]] = {
    "uvicorn": uvicorn,
    "gunicorn": gunicorn,
    "gunicorn-preload": lambda port: gunicorn(port, "--preload"),
}


@dataclass
class Server:
    """A running server with two workers."""

    url: str
    process: subprocess.Popen[bytes]

    def get(self, path: str) -> str:
        """Ask on a connection of its own, so that the workers take turns."""
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return answer.read().decode()

    def work(self, times: int) -> set[int]:
        """Do jobs; returns the workers that did them."""
        return {pid for n in range(1, times + 1) for pid in self.work_on(n)}

    def work_on(self, number: int) -> set[int]:
        """Do one job; returns the worker that did it."""
        return {json.loads(self.get(f"/job/{number}"))["pid"]}

    def pids(self, wanted: int = 2, *, but: frozenset[int] = frozenset()) -> tuple[set[int], int]:
        """Work until that many workers other than some have answered; returns them and the jobs."""
        deadline = time.monotonic() + 40
        found: set[int] = set()
        jobs = 0
        while len(found) < wanted:
            assert time.monotonic() < deadline, found
            try:
                found |= self.work(1) - but
                jobs += 1
            except OSError:
                time.sleep(0.05)
        return found, jobs

    def values(self) -> dict[str, float]:
        """Return the samples of one scrape."""
        lines = re.finditer(r"^([^#\s][^ ]*) (\S+)$", self.get("/metrics"), re.MULTILINE)
        return {line[1]: float(line[2]) for line in lines}


@contextmanager
def serving(
    kind: str, directory: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """Run a server until the block ends."""
    if kind != "uvicorn":
        pytest.importorskip("gunicorn")
    port = free_port()
    command = [sys.executable, "-W", "ignore", "-m", *SERVERS[kind](port)]
    with (directory / "out.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "TMPDIR": str(directory), **(environment or {})},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        server = Server(f"http://127.0.0.1:{port}", process)
        try:
            deadline = time.monotonic() + 60
            while True:
                try:
                    server.get("/health/live")
                    break
                except OSError:
                    text = (directory / "out.log").read_text()
                    assert process.poll() is None, text
                    assert time.monotonic() < deadline, text
                    time.sleep(0.1)
            yield server
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.mark.parametrize("kind", SERVERS)
def test_any_worker_answers_for_all_and_counters_survive_every_end(kind, tmp_path) -> None:
    """Sums are right at once, and stay right when a worker is killed or ends in order."""
    with serving(kind, tmp_path) as server:
        pids, done = server.pids()
        for _ in range(6):  # whichever worker answers
            values = server.values()
            assert values["jobs_done_total"] == done
            # Where each worker loads the application itself, each has counted 1000 at import.
            assert values["own_jobs_total"] == done + (0 if "preload" in kind else 2000)
            assert values["job_duration_seconds_count"] == done
            assert values["jobs_active"] == done
        assert sum(name.startswith("job_mine{") for name in values) == 2
        assert values["job_highest"] == 1
        assert sum(name.startswith("target_info") for name in values) == 1

        killed = min(pids)
        os.kill(killed, signal.SIGKILL)
        _, more = server.pids(but=frozenset({killed}))
        values = server.values()
        assert values["jobs_done_total"] >= done + more
        assert values["job_duration_seconds_count"] == values["jobs_done_total"]
        assert values["jobs_active"] < values["jobs_done_total"]  # the dead have none under way
        done = int(values["jobs_done_total"])

        ended = max(pids)
        if kind == "uvicorn":
            os.kill(ended, signal.SIGTERM)
        else:
            server.process.send_signal(signal.SIGHUP)
        _, more = server.pids(but=frozenset(pids))
        assert server.values()["jobs_done_total"] >= done + more
        files = [path.name for path in tmp_path.rglob("*.json")]
        assert len(files) <= 5, files


def test_each_worker_pushes_under_an_instance_id_of_its_own(tmp_path) -> None:
    """By OTLP every worker is a series of its own, also when the application was preloaded."""
    with OtlpReceiver() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{receiver.endpoint}/v1/metrics",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }

        def jobs(received: OtlpReceiver) -> dict[str, int]:
            latest: dict[str, int] = {}
            for request in received.metrics:
                for resource in request.resource_metrics:
                    attributes: dict[str, Any] = {
                        pair.key: pair.value.string_value for pair in resource.resource.attributes
                    }
                    for scope in resource.scope_metrics:
                        for metric in scope.metrics:
                            if metric.name == "jobs.done":
                                points = [
                                    p.as_int for p in metric.sum.data_points if not p.attributes
                                ]
                                if points:
                                    latest[attributes["service.instance.id"]] = points[0]
            return latest

        with serving("gunicorn-preload", tmp_path, environment) as server:
            _, done = server.pids()
            assert receiver.wait_for(lambda r: sum(jobs(r).values()) == done, timeout_s=20)
            assert len(jobs(receiver)) == 2


def set_by_both(server: Server, numbers: Iterable[int]) -> list[int]:
    """Set gauges to one number after the other until both workers have; returns what each has."""
    set_by: dict[int, int] = {}
    for number in numbers:
        set_by |= dict.fromkeys(server.work_on(number), number)
        if len(set_by) == 2:
            break
    return sorted(set_by.values())


def test_each_gauge_follows_its_rule_in_two_processes(tmp_path: Path) -> None:
    """Sum, max, min, last and per worker; what was set last wins whoever is asked."""
    with serving("uvicorn", tmp_path) as server:
        server.pids(2)
        for numbers in (range(100, 400), range(99, 0, -1)):  # the last is the highest, the lowest
            low, high = set_by_both(server, numbers)
            last = high if numbers[-1] > numbers[0] else low
            for _ in range(6):
                values = server.values()
                assert values["job_levels"] == 2  # each has set it to 1
                for prefix in ("job_highest", "own_max"):
                    assert values[prefix] == high
                for prefix in ("job_lowest", "own_min"):
                    assert values[prefix] == low
                for prefix in ("job_latest", "own_mostrecent", "own_livemostrecent"):
                    assert values[prefix] == last
                assert values["own_sum"] == low + high
                for prefix in ("job_mine", "own_liveall"):
                    each = [values[f'{prefix}{{worker="{slot}"}}'] for slot in (0, 1)]
                    assert sorted(each) == [low, high]
        before = server.values()
        (directory,) = tmp_path.glob("glam-metrics-*")
        shutil.rmtree(directory)  # as a cleaner of temporary files may
        for _ in range(6):
            values = server.values()
            for name in ("jobs_done_total", "job_levels", "own_sum", "own_jobs_total"):
                assert values[name] == before[name]
