"""The quickstart works the way its reader starts it."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

from glam_sdk.testing import ServiceProcess


def test_the_quickstart_answers_and_logs(tmp_path: Path) -> None:
    """``uvicorn examples.quickstart:app`` greets, and its log line carries the answer's trace."""
    with (
        ServiceProcess("examples.quickstart:app", log_file=tmp_path / "out.log") as process,
        urllib.request.urlopen(f"{process.url}/hello/Ada", timeout=5) as answer,
    ):
        body = json.load(answer)
        trace_id = answer.headers["X-Trace-ID"]
    assert body["data"] == {"text": "Hello, Ada!"}
    assert body["meta"]["trace_id"] == trace_id
    lines = [json.loads(line) for line in process.log_text().splitlines()]
    made = next(line for line in lines if line["message"] == "greeting.made")
    assert made["trace_id"] == trace_id
