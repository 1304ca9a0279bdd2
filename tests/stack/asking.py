"""Ask the programs of the stack by their APIs."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from typing import Any

from examples.stack.stack import Stack


def until(look: Callable[[], Any], timeout_s: float = 60, *, what: str = "answer") -> Any:
    """Ask again and again until the answer counts as true."""
    deadline = time.monotonic() + timeout_s
    last: object = None
    while time.monotonic() < deadline:
        try:
            if last := look():
                return last
        except (OSError, urllib.error.URLError) as exc:
            last = exc
        time.sleep(0.2)
    raise AssertionError(f"No {what} in {timeout_s:g} s; the last one was {last!r}")


def get_json(url: str, **parameters: object) -> Any:
    """Return the JSON that a URL answers with."""
    query = urllib.parse.urlencode(parameters, doseq=True)
    with urllib.request.urlopen(f"{url}?{query}", timeout=20) as answer:
        return json.load(answer)


def trace_in_jaeger(stack: Stack, trace_id: str) -> list[dict[str, Any]]:
    """Return the spans of a trace, each with ``service`` and ``parent`` (span id or empty)."""
    try:
        found = get_json(f"{stack.jaeger_url}/api/traces/{trace_id}")["data"]
    except urllib.error.HTTPError as exc:
        if exc.code == 404:
            return []
        raise
    spans = []
    for trace in found or ():
        for span in trace["spans"]:
            parents = [r["spanID"] for r in span["references"] if r["refType"] == "CHILD_OF"]
            service = trace["processes"][span["processID"]]["serviceName"]
            spans.append({**span, "service": service, "parent": parents[0] if parents else ""})
    return spans


def log_lines(stack: Stack, query: str) -> list[dict[str, Any]]:
    """Return what LogsQL finds."""
    url = f"{stack.logs_url}/select/logsql/query?" + urllib.parse.urlencode({"query": query})
    with urllib.request.urlopen(url, timeout=20) as answer:
        return [json.loads(line) for line in answer.read().splitlines()]


def series(stack: Stack, query: str) -> list[dict[str, Any]]:
    """Return the series that a PromQL expression has now."""
    found: list[dict[str, Any]] = get_json(f"{stack.prometheus_url}/api/v1/query", query=query)[
        "data"
    ]["result"]
    return found


def value(stack: Stack, query: str) -> float:
    """Return the sum of the values an expression has now; 0 without any."""
    return sum(float(each["value"][1]) for each in series(stack, query))


def send(endpoint: str, signal: str, body: dict[str, Any]) -> None:
    """Post OTLP as JSON."""
    request = urllib.request.Request(
        f"{endpoint}/v1/{signal}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request, timeout=10).close()


def resource(name: str) -> dict[str, Any]:
    """Return a resource with nothing but a service's name."""
    return {"attributes": [{"key": "service.name", "value": {"stringValue": name}}]}
