"""A real Prometheus reads the scrape, its exemplars lead to the trace, and old names answer."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from glam_sdk.testing import OtlpReceiver, ServiceProcess
from glam_sdk.testing.processes import free_port

RULES = Path(__file__).parents[2] / "otel" / "prometheus" / "rules"


def binary(name: str) -> str:
    """Return the path of a program of the Debian package; skip where it is not installed."""
    beside = Path(sys.prefix) / "prometheus" / "usr" / "bin" / name
    found = shutil.which(name) or (str(beside) if beside.exists() else None)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian package prometheus)")
    return found


class Prometheus:
    """A running server."""

    def __init__(self, url: str) -> None:
        self._url = url

    def ask(self, path: str, **parameters: str | float) -> list[dict[str, Any]]:
        """Return the data of one question."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            data = json.load(answer)["data"]
        found: list[dict[str, Any]] = data["result"] if isinstance(data, dict) else data
        return found

    def until(self, look: Callable[[], Any], timeout_s: float = 60) -> Any:
        """Ask until there is an answer."""
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if found := look():
                    return found
            except OSError:
                pass
            assert time.monotonic() < deadline, "Prometheus has no answer."
            time.sleep(0.1)

    def value(self, query: str) -> float | None:
        """Return the value of an expression with one result."""
        found = self.ask("query", query=query)
        return float(found[0]["value"][1]) if found else None


@contextmanager
def prometheus(
    directory: Path, target: str, *, features: str = "exemplar-storage"
) -> Iterator[Prometheus]:
    """Run a server with exemplar storage that scrapes one target."""
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 500ms}\n"
        f"rule_files: ['{RULES}/*.yml']\n"
        "scrape_configs:\n"
        f"  - {{job_name: shop, static_configs: [{{targets: ['{target}']}}]}}\n"
    )
    port = free_port()
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                binary("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                f"--enable-feature={features}",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Prometheus(f"http://127.0.0.1:{port}")
    finally:
        process.terminate()
        process.wait(30)


def test_an_exemplar_in_prometheus_leads_to_the_trace_and_old_names_answer(tmp_path: Path) -> None:
    """The target is up, an exemplar's trace id is that of a span in the trace sink."""
    binary("prometheus")
    with OtlpReceiver() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{receiver.endpoint}/v1/traces",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
        }
        with (
            ServiceProcess(
                "tests.integration.apps.plain:app",
                log_file=tmp_path / "out.log",
                environment=environment,
            ) as service,
            prometheus(tmp_path, f"127.0.0.1:{service.port}") as server,
        ):
            for number in range(5):
                urllib.request.urlopen(f"{service.url}/work/{number}", timeout=10).close()
            server.until(lambda: server.value('up{job="shop"}') == 1)
            name = "http_server_request_duration_seconds_bucket"
            exemplars = server.until(
                lambda: server.ask(
                    "query_exemplars", query=name, start=time.time() - 600, end=time.time() + 60
                )
            )
            labels = [each["labels"] for series in exemplars for each in series["exemplars"]]
            assert receiver.wait_for(lambda r: len([s for s in r.spans if s.kind == "SERVER"]) >= 5)
            spans = {(span.trace_id, span.span_id) for span in receiver.spans}
            assert labels
            assert {(each["trace_id"], each["span_id"]) for each in labels} <= spans

            old = 'service="plain",method="GET",endpoint="/work/{number}"'
            for query, wanted in (
                (f'http_requests_total{{{old},status="200"}}', 5),
                (f"http_request_duration_seconds_count{{{old}}}", 5),
                ('http_requests_in_progress{service="plain"}', 0),
            ):
                server.until(lambda query=query, wanted=wanted: server.value(query) == wanted)


def test_exponential_histograms_are_native_where_prometheus_takes_them(tmp_path: Path) -> None:
    """By protobuf the buckets arrive as they were measured; a quantile is computed from them."""
    binary("prometheus")
    with OtlpReceiver() as receiver:
        environment = {
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{receiver.endpoint}/v1/metrics",
            "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": (
                "base2_exponential_bucket_histogram"
            ),
        }
        with (
            ServiceProcess(
                "tests.integration.apps.worked:app",
                log_file=tmp_path / "out.log",
                environment=environment,
            ) as service,
            prometheus(
                tmp_path, f"127.0.0.1:{service.port}", features="native-histograms"
            ) as server,
        ):
            for number in range(1, 101):
                urllib.request.urlopen(f"{service.url}/job/{number}", timeout=10).close()
            server.until(lambda: server.value("histogram_count(job_duration_seconds)") == 100)
            # A scrape that came too late on a busy machine leaves no value until the next one.
            total = server.until(lambda: server.value("histogram_sum(job_duration_seconds)"))
            assert abs(total - 5.05) < 1e-6
            quantile = "histogram_quantile(0.5, job_duration_seconds)"
            middle = server.until(lambda: server.value(quantile))
            assert abs(middle - 0.05) < 0.0015  # less than a bucket is wide
            for query, wanted in (
                ('jobs_done_total{when=""}', 100),
                ("own_jobs_total", 1100),
                ("own_parts_sum", 100),
                ("own_parts_count", 100),
                ('own_sizes_bucket{le="10.0"} or own_sizes_bucket{le="10"}', 10),
                ("own_level", 100),
                ('up{job="shop"}', 1),
            ):
                server.until(lambda query=query, wanted=wanted: server.value(query) == wanted)


def test_the_recording_rules_pass_their_tests() -> None:
    """Labels and sums of the old names, by ``promtool test rules``."""
    for arguments in (
        ["check", "rules", "old-names.yml"],
        ["test", "rules", "tests/old-names.yml"],
    ):
        done = subprocess.run(
            [binary("promtool"), *arguments], cwd=RULES, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_each_rule_reads_only_names_that_the_reference_lists() -> None:
    """A renamed metric may not leave a rule behind that answers nothing."""
    text = (RULES / "old-names.yml").read_text()
    reference = (RULES.parents[2] / "docs" / "reference" / "telemetry.md").read_text()
    for name in ("http.server.request.duration", "http.server.active_requests"):
        assert name in reference
        assert name.replace(".", "_") in text
