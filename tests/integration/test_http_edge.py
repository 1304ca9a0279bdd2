"""The HTTP edge as a whole process: hostile bytes on the wire, and what operations see."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from contextlib import closing

import pytest

from glam_sdk.testing import ServiceProcess

SERVICE = """
from fastapi import FastAPI
import glam_sdk

service = glam_sdk.init("edge")
app = service.install(FastAPI())

@app.get("/orders/{n}")
async def order(n: int) -> int:
    if n == 0:
        raise ValueError("bug")
    return n
"""


@pytest.fixture
def process(tmp_path):
    """A service in a process of its own."""
    (tmp_path / "edge_service.py").write_text(SERVICE)
    with ServiceProcess(
        "edge_service:app",
        log_file=tmp_path / "log",
        environment={"PYTHONPATH": str(tmp_path), "GLAM_LOG__FORMAT": "json"},
    ) as running:
        yield running


def raw(process, request: bytes) -> bytes:
    """Send bytes and return all that comes back."""
    with closing(socket.create_connection(("127.0.0.1", process.port), timeout=10)) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while received := connection.recv(65536):
                answer += received
        except ConnectionResetError:
            pass  # the server refused to read on
    return answer


HOSTILE = {
    "long header": b"GET /orders/1 HTTP/1.1\r\nHost: t\r\nX-Request-ID: %s\r\n\r\n"
    % (b"a" * 100_000),
    "nul": b"GET /orders/1 HTTP/1.1\r\nHost: t\r\nX-Correlation-ID: a\x00b\r\n\r\n",
    "bare carriage return": b"GET /orders/1 HTTP/1.1\r\nHost: t\r\nX-Request-ID: a\rb\r\n\r\n",
    "latin-1": b"GET /orders/1 HTTP/1.1\r\nHost: t\r\nUser-Agent: \xff\xfe\r\n\r\n",
    "percent": b"GET /%00%0a%ff%22 HTTP/1.1\r\nHost: t\r\n\r\n",
    "query": b"GET /orders/1?password=geheim&%0a=%0d HTTP/1.1\r\nHost: t\r\n\r\n",
    "parents": b"GET /orders/1 HTTP/1.1\r\nHost: t\r\n%s\r\n"
    % (b"traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n" * 5),
    "baggage": b"GET /orders/1 HTTP/1.1\r\nHost: t\r\nbaggage: %s\r\n\r\n"
    % b",".join(b"k%d=%%ff" % n for n in range(200)),
    "method": b"BREW /orders/1 HTTP/1.1\r\nHost: t\r\n\r\n",
    "host": b"GET /orders/1 HTTP/1.1\r\nHost: health:99999999999999999999\r\n\r\n",
}


def lines_until(process, marker: str) -> list[dict[str, object]]:
    """Wait for the line that has the marker and return all lines up to it, decoded."""
    deadline = time.monotonic() + 30
    # Only whole lines: the process may be in the middle of one.
    while marker not in (text := process.log_text().rpartition("\n")[0]):
        assert time.monotonic() < deadline, text
        time.sleep(0.02)
    decoded = [json.loads(line) for line in text.splitlines()]
    last = next(n for n, line in enumerate(decoded) if marker in str(line))
    return decoded[: last + 1]


def test_hostile_bytes_never_break_the_service(process):
    """Each costs at most one line of ours; every line stays JSON; none is a server error."""
    raw(process, b"GET /orders/1 HTTP/1.1\r\nHost: t\r\nX-Request-ID: first\r\n\r\n")
    before = lines_until(process, "first")
    for name, request in HOSTILE.items():
        answer = raw(process, request)
        assert b" 500 " not in answer.split(b"\r\n", 1)[0], name
    raw(process, b"GET /orders/1 HTTP/1.1\r\nHost: t\r\nX-Request-ID: last\r\n\r\n")
    lines = lines_until(process, "last")[len(before) : -1]
    assert len(lines) <= len(HOSTILE)
    assert "geheim" not in str(lines)
    with urllib.request.urlopen(f"{process.url}/metrics", timeout=10) as answer:
        scrape = answer.read().decode()
    assert "BREW" not in scrape
    assert '="health' not in scrape


def test_a_bug_is_one_line_of_json_with_its_traceback(process):
    """Uvicorn's own report of the same exception is not written a second time."""
    answer = raw(process, b"GET /orders/0 HTTP/1.1\r\nHost: t\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 500")
    raw(process, b"GET /orders/1 HTTP/1.1\r\nHost: t\r\nX-Request-ID: last\r\n\r\n")
    lines = lines_until(process, "last")
    (failed,) = [line for line in lines if "ValueError" in str(line)]
    assert failed["message"] == "http.request"
    assert str(failed["trace_id"]).encode() in answer
