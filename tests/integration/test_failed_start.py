"""A service that cannot start says why in one sentence, and ends with a non-zero exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from glam_sdk.testing import ServiceProcess, free_port


def failed_start(tmp_path: Path, **environment: str) -> tuple[int, str]:
    """Start the needy service, which must end by itself; return exit code and output."""
    process = ServiceProcess(
        "tests.integration.apps.needy:app",
        log_file=tmp_path / "out.log",
        environment={
            "GLAM_NATS__CONNECT_TIMEOUT_S": "1",
            "GLAM_DATABASE__CONNECT_TIMEOUT_S": "2",
            **environment,
        },
    ).spawn()
    try:
        return process.wait(60), process.log_text()
    finally:
        process.stop()


@pytest.mark.parametrize(
    ("environment", "must_name"),
    [
        pytest.param(
            {"NEEDY_DB_URL": "postgresql://ada:hunter2@127.0.0.1:{port}/shop"},
            ("127.0.0.1:{port}", "database.url from environment variable NEEDY_DB_URL"),
            id="unreachable database",
        ),
        pytest.param(
            {
                "NEEDY_DB_URL": "sqlite+aiosqlite:///:memory:",
                "NATS_SERVERS": "nats://ada:hunter2@127.0.0.1:{port}",
            },
            ("127.0.0.1:{port}", "nats.servers from environment variable NATS_SERVERS"),
            id="unreachable NATS",
        ),
        pytest.param(
            {"NEEDY_DB_POOL_SIZE": "many"}, ("NEEDY_DB_POOL_SIZE", "many"), id="bad setting"
        ),
    ],
)
def test_a_failed_start_is_one_sentence(
    tmp_path: Path, environment: dict[str, str], must_name: tuple[str, ...]
) -> None:
    """Exit code not 0; the address or variable is named; no traceback, never a password."""
    port = str(free_port())
    code, output = failed_start(
        tmp_path, **{key: value.replace("{port}", port) for key, value in environment.items()}
    )
    assert code != 0
    for expected in must_name:
        assert expected.replace("{port}", port) in output
    assert "Traceback" not in output
    assert "hunter2" not in output


def test_the_sentence_is_a_json_line(tmp_path: Path) -> None:
    """What a log store keeps of a failed start can be searched like any other line."""
    _, output = failed_start(
        tmp_path,
        NEEDY_DB_URL="sqlite+aiosqlite:///:memory:",
        NATS_SERVERS=f"nats://127.0.0.1:{free_port()}",
    )
    entries = [json.loads(line) for line in output.splitlines()]
    assert any("MESSAGE_BUS_ERROR" in entry["message"] for entry in entries)


def test_workers_say_their_sentence_too(tmp_path: Path) -> None:
    """``uvicorn --workers`` starts processes whose uncaught exceptions it prints itself."""
    output = tmp_path / "out.log"
    with output.open("wb") as stream:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "tests.integration.apps.needy:app"),
                *("--workers", "2", "--port", str(free_port())),
            ],
            env={**os.environ, "NEEDY_DB_POOL_SIZE": "many"},
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline = time.monotonic() + 30
            while "NEEDY_DB_POOL_SIZE" not in output.read_text() and time.monotonic() < deadline:
                time.sleep(0.05)
        finally:
            process.terminate()
            process.wait(30)
    assert "NEEDY_DB_POOL_SIZE" in output.read_text()
    assert "Traceback" not in output.read_text()
