"""Agent and gateways: whole traces at one gateway, tail sampling, and metrics of every span."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from examples.stack import programs
from examples.stack.process import Program
from examples.stack.stack import COLLECTOR_FLAGS, FILES
from glam_sdk.testing.processes import free_port

from .asking import log_lines, resource, send, trace_in_jaeger, until, value
from .conftest import Watched


@dataclass(frozen=True, slots=True)
class Tiers:
    """An agent that hands on to two gateways, which write to the stores of the stack."""

    watched: Watched
    endpoint: str
    gateways: list[str]
    """Address of each gateway's own metrics."""


def collector(
    name: str, folder: Path, environment: dict[str, str], *, grpc: int
) -> tuple[Program, str]:
    """Return a Collector with the file of that name and the address of its own metrics."""
    health, metrics, http = free_port(), free_port(), free_port()
    program = Program(
        f"{name}-{grpc}",
        [
            str(programs.find(programs.COLLECTOR)),
            f"--config={FILES / 'collector' / f'{name}.yaml'}",
            *COLLECTOR_FLAGS,
        ],
        f"http://127.0.0.1:{health}/",
        folder,
        {
            "STACK_OTLP_GRPC_LISTEN": f"127.0.0.1:{grpc}",
            "STACK_OTLP_HTTP_LISTEN": f"127.0.0.1:{http}",
            "STACK_COLLECTOR_HEALTH_LISTEN": f"127.0.0.1:{health}",
            "STACK_COLLECTOR_METRICS_HOST": "127.0.0.1",
            "STACK_COLLECTOR_METRICS_PORT": str(metrics),
            "STACK_COLLECTOR_DATA": str(folder / f"{name}-{grpc}"),
            "STACK_LOG_FILES": str(folder / "none" / "*.log"),
            **environment,
        },
    )
    return program, f"http://127.0.0.1:{http if name == 'agent' else metrics}"


@pytest.fixture(scope="module")
def tiers(watched: Watched, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tiers]:
    """Start two gateways and an agent in front of them."""
    folder = tmp_path_factory.mktemp("tiers")
    stores = {key: watched.stack.collector.environment[key] for key in (
        "STACK_JAEGER_OTLP", "STACK_PROMETHEUS_URL", "STACK_LOGS_URL",
    )}  # fmt: skip
    sampling = {"STACK_TAIL_WAIT": "1s", "STACK_TAIL_REST_SPANS": "1"}
    sampling["STACK_SPAN_METRICS_INTERVAL"] = "1s"
    with ExitStack() as running:
        ports, metrics = [free_port(), free_port()], []
        for port in ports:
            gateway, own = collector("gateway", folder, {**stores, **sampling}, grpc=port)
            running.callback(gateway.stop)
            gateway.start()
            metrics.append(own)
        names = json.dumps([f"127.0.0.1:{port}" for port in ports])
        where = {
            "STACK_GATEWAYS": f"{{static: {{hostnames: {names}}}}}",
            "STACK_GATEWAY": f"127.0.0.1:{ports[0]}",
        }
        agent, endpoint = collector("agent", folder, where, grpc=free_port())
        running.callback(agent.stop)
        agent.start()
        yield Tiers(watched, endpoint, metrics)


def send_trace(endpoint: str, *, failed: bool = False, duration_ms: int = 5) -> str:
    """Send a trace of three spans, each by a request of its own; only the last one is special."""
    trace_id, root, now = secrets.token_hex(16), secrets.token_hex(8), time.time_ns()
    for number in range(3):
        span: dict[str, Any] = {
            "traceId": trace_id,
            "spanId": root if number == 0 else secrets.token_hex(8),
            "name": f"step {number}",
            "kind": 2,
            "startTimeUnixNano": str(now),
            "endTimeUnixNano": str(now + (duration_ms if number == 2 else 1) * 1_000_000),
        }
        if number:
            span["parentSpanId"] = root
        if failed and number == 2:
            span["status"] = {"code": 2}
        scope = [{"spans": [span]}]
        body = {"resourceSpans": [{"resource": resource("tiered"), "scopeSpans": scope}]}
        send(endpoint, "traces", body)
    return trace_id


def test_traces_are_kept_whole_by_what_happened_in_them(tiers: Tiers) -> None:
    """Errors and slow ones all, the rest by rate; each gateway has a share; all are counted."""
    stack = tiers.watched.stack
    failed = [send_trace(tiers.endpoint, failed=True) for _ in range(8)]
    slow = [send_trace(tiers.endpoint, duration_ms=900) for _ in range(8)]
    rest = [send_trace(tiers.endpoint) for _ in range(24)]
    for trace_id in (*failed, *slow):
        until(
            lambda t=trace_id: len(trace_in_jaeger(stack, t)) == 3,
            what=f"trace {trace_id} with its three spans",
        )
    until(
        lambda: value(stack, 'sum(traces_span_metrics_calls_total{service_name="tiered"})') == 120,
        what="count of every span",
    )
    kept = [len(trace_in_jaeger(stack, trace_id)) for trace_id in rest]
    assert set(kept) <= {0, 3}
    assert kept.count(0) > len(rest) / 2
    for address in tiers.gateways:
        with urllib.request.urlopen(f"{address}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        taken = [x for x in lines if x.startswith("otelcol_receiver_accepted_spans{")]
        assert sum(float(line.rsplit(" ", 1)[1]) for line in taken) > 0


def test_log_records_pass_both_tiers(tiers: Tiers) -> None:
    """What is no span needs no particular gateway, and arrives."""
    trace_id = secrets.token_hex(16)
    record = {
        "timeUnixNano": str(time.time_ns()),
        "severityText": "INFO",
        "body": {"stringValue": "tiered.line"},
        "traceId": trace_id,
        "spanId": secrets.token_hex(8),
    }
    scope = [{"logRecords": [record]}]
    body = {"resourceLogs": [{"resource": resource("tiered"), "scopeLogs": scope}]}
    send(tiers.endpoint, "logs", body)
    until(lambda: log_lines(tiers.watched.stack, f'trace_id:"{trace_id}" level:info'), what="line")


@pytest.mark.parametrize(
    "resolver",
    [
        '{dns: {hostname: gateways.internal, port: "4317"}}',
        "{k8s: {service: otel-gateway.observability}}",
        '{static: {hostnames: ["10.0.0.1:4317", "10.0.0.2:4317"]}}',
    ],
)
def test_the_agent_accepts_each_way_to_find_gateways(resolver: str, tmp_path: Path) -> None:
    """What the comment in the file shows is what the Collector takes."""
    assert resolver in (FILES / "collector" / "agent.yaml").read_text().replace("  ", "")
    try:
        program = programs.find(programs.COLLECTOR)
    except programs.NotAvailableError as exc:
        pytest.skip(str(exc))
    done = subprocess.run(
        [program, "validate", f"--config={FILES / 'collector' / 'agent.yaml'}"],
        env={**os.environ, "STACK_GATEWAYS": resolver, "STACK_COLLECTOR_DATA": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
