"""Print what became visible: the trace as a tree, its log lines, the scrape."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from glam_sdk.testing.otlp import OtlpReceiver, ReceivedSpan

_SHOWN_SERIES: Final = ("http_server_request_duration_seconds_count", "http_server_active_requests")
_BUCKET: Final = "http_server_request_duration_seconds_bucket"
_SERVICES: Final = {"storefront", "orders", "notifications"}


def is_whole(trace: Sequence[ReceivedSpan]) -> bool:
    """Tell whether a trace tells the whole story.

    One root, every service, every parent known, and at its end the statement by which orders notes
    that the customer knows.
    """
    spans = {span.span_id: span for span in trace}
    ends = any(
        span.name.startswith("UPDATE") and _is_told(span, spans)
        for span in trace
        if span.service == "orders"
    )
    return ends and len(_roots(trace)) == 1 and {span.service for span in trace} == _SERVICES


def show_trace(receiver: OtlpReceiver, trace_id: str) -> bool:
    """Print the trace as a tree; True if it is whole."""
    spans = receiver.trace(trace_id)
    print(f"\n── Trace {trace_id} ──")
    for root in _roots(spans):
        _print_branch(root, spans, depth=0)
    return is_whole(spans)


def show_refusal(receiver: OtlpReceiver, trace_id: str) -> None:
    """Print the trace of the order that was refused."""
    receiver.wait_for(lambda r: any(s.kind == "SERVER" for s in r.trace(trace_id)))
    spans = receiver.trace(trace_id)
    print(f"\n── Refused: trace {trace_id} ──")
    for root in _roots(spans):
        _print_branch(root, spans, depth=0)


def _is_told(span: ReceivedSpan, spans: Mapping[str, ReceivedSpan]) -> bool:
    """Tell whether a span is below that of a handler in the same service."""
    parent = spans.get(span.parent_id)
    if parent is None or parent.service != span.service:
        return False
    return parent.kind == "CONSUMER" or _is_told(parent, spans)


def _roots(trace: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
    ids = {span.span_id for span in trace}
    return [span for span in trace if span.parent_id not in ids]


def _print_branch(span: ReceivedSpan, spans: Sequence[ReceivedSpan], depth: int) -> None:
    label = f"{'  ' * depth}{span.name}"
    status = span.status.lower()
    print(f"{label:<50} {span.service:<14} {span.kind:<9} {span.duration_ms:7.1f} ms  {status}")
    for child in spans:
        if child.parent_id == span.span_id:
            _print_branch(child, spans, depth + 1)


def show_logs(files: Mapping[str, Path], trace_id: str) -> bool:
    """Print the log lines of the trace; True if all lines are JSON and each service has one."""
    print(f"\n── Log lines with trace_id {trace_id} ──")
    found: list[dict[str, Any]] = []
    for name, file in files.items():
        for line in file.read_text().splitlines():
            try:
                entry = json.loads(line)
            except ValueError:
                print(f"{name} wrote a line that is no JSON: {line!r}")
                return False
            if entry.get("trace_id") == trace_id:
                found.append(entry)
    found.sort(key=lambda entry: str(entry["timestamp"]))
    for entry in found:
        clock = entry["timestamp"][11:23]
        print(f"{clock}  {entry['level']:<7}  {entry['service']:<14} {entry['message']}")
    if found:
        print(f"The last of them as it was written:\n{json.dumps(found[-1])}")
    return {entry["service"] for entry in found} == _SERVICES


def show_scrape(url: str) -> bool:
    """Print the HTTP metrics of a service; True if they are there, one with its exemplar."""
    request = urllib.request.Request(  # noqa: S310 - the demo's own service on loopback
        f"{url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    )
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        lines = answer.read().decode().splitlines()
    print(f"\n── Scrape of {url}/metrics ──")
    series = [line for line in lines if line.startswith(_SHOWN_SERIES)]
    exemplars = [line for line in lines if line.startswith(_BUCKET) and " # {" in line]
    for line in (*series, *exemplars[:1]):
        print(line)
    return bool(series) and bool(exemplars)


def show_verdict(complete: tuple[bool, bool, bool]) -> None:
    """Say for each of the three whether it was there."""
    print()
    for what, is_there in zip(("trace", "logs", "metrics"), complete, strict=True):
        print(f"{what:<8} {'complete' if is_there else 'MISSING'}")
