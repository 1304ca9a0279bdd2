"""Fail when a request has become much dearer than a bare one: ``make guard``.

Two applications answer the same request in this process, in short slices by turns; what is
compared is the CPU time of the thread, at each application's best slice. A busy machine slows both,
so the ratio holds where no absolute time would. Nothing is sent anywhere: the bench with real
servers and a real sink is ``make bench``.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any, Final

from fastapi import FastAPI

import glam_sdk
from glam_sdk.telemetry import logs

LIMIT: Final = 3.5
"""Times a bare request; 1.7 to 2.0 when this was written, on a quiet machine and on a busy one."""

_SLICES: Final = 150
_REQUESTS: Final = 20
_SCOPE: Final[dict[str, Any]] = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "GET",
    "scheme": "http",
    "path": "/ping",
    "raw_path": b"/ping",
    "query_string": b"",
    "root_path": "",
    "headers": [(b"host", b"127.0.0.1:8000"), (b"user-agent", b"guard"), (b"accept", b"*/*")],
    "client": ("127.0.0.1", 40000),
    "server": ("127.0.0.1", 8000),
}


async def _receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _send(_message: Any) -> None:
    return


async def _slice(app: FastAPI) -> float:
    started = time.thread_time_ns()
    for _ in range(_REQUESTS):
        await app({**_SCOPE, "state": {}}, _receive, _send)
    return (time.thread_time_ns() - started) / _REQUESTS / 1000


def _add_ping(app: FastAPI) -> FastAPI:
    @app.get("/ping")
    async def ping() -> dict[str, bool]:
        return {"ok": True}

    return app


async def measure() -> tuple[float, float]:
    """Return the CPU microseconds of a bare request and of one with all our telemetry."""
    service = glam_sdk.init(
        "guard",
        overrides={
            "telemetry": {"traces_exporter": ["none"], "metrics_exporter": ["none"]},
            "log": {"format": "json"},
        },
    )
    logs.pipeline().write = lambda _line: None
    bare = _add_ping(FastAPI(telemetry={"tracing": False, "metrics": False, "logs": False}))
    observed = _add_ping(service.install(FastAPI()))
    best = {"bare": float("inf"), "observed": float("inf")}
    for _ in range(_SLICES):
        best["bare"] = min(best["bare"], await _slice(bare))
        best["observed"] = min(best["observed"], await _slice(observed))
    glam_sdk.shutdown()
    return best["bare"], best["observed"]


def main() -> int:
    """Measure and compare; 1 above the limit."""
    bare, observed = asyncio.run(measure())
    ratio = observed / bare
    verdict = "fine" if ratio <= LIMIT else f"too much: the limit is {LIMIT}"
    print(f"bare {bare:.0f} µs, with glam_sdk {observed:.0f} µs, {ratio:.2f} times: {verdict}")
    return 0 if ratio <= LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
