"""Prove that loggers are ready to use without ``init`` (contract, section 7)."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from glam_sdk.telemetry.logs import create_logger
from tests.unit.telemetry.conftest import decode


def run(code: str, directory, **environment: str):
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=directory,
        env={"PATH": "", **environment},
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout


def test_a_logger_can_be_created_without_init(tmp_path):
    """The settings of the service decide: level, environment, and the file in production."""
    code = (
        "from glam_sdk.telemetry.logs import create_logger\n"
        "log = create_logger('orders')\n"
        "log.info('hidden'); log.warning('placed', extra={'order_id': 7, 'user_id': 'u1'})\n"
    )
    written = run(code, tmp_path, APP_ENV="prod", LOG_LEVEL="WARNING")
    entry = decode(written.rstrip(b"\n"))
    assert (entry["service"], entry["environment"]) == ("orders", "prod")
    assert (entry["message"], entry["order_id"], entry["user_id"]) == ("placed", 7, "u1")
    assert (tmp_path / "logs" / "orders.log").read_bytes() == written


def test_after_init_nothing_is_set_up_again(telemetry):
    """The logger of a running service writes where the service writes."""
    log = create_logger("test")
    assert isinstance(log, logging.Logger)
    log.info("placed", extra={"order_id": 7})
    assert telemetry.logs("placed")[0]["order_id"] == 7


@pytest.mark.parametrize(("chosen", "json"), [("json", True), ("console", False), ("auto", True)])
def test_the_format_is_chosen(tmp_path, chosen, json):
    """Readable lines only where asked for, or in development on a terminal."""
    code = "import glam_sdk; glam_sdk.init('orders'); glam_sdk.get_logger('x').info('hi')"
    written = run(code, tmp_path, GLAM_LOG__FORMAT=chosen)
    assert written.startswith(b"{") == json
    assert b"hi" in written


def test_the_file_of_production_can_be_switched_off(tmp_path):
    """A container that only writes to standard output leaves no files behind."""
    code = "import glam_sdk; glam_sdk.init('orders'); glam_sdk.get_logger('x').info('hi')"
    run(code, tmp_path, APP_ENV="prod", GLAM_LOG__FILE_MODE="off")
    assert not (tmp_path / "logs").exists()


def test_the_limit_of_repeated_errors_is_a_setting(tmp_path):
    """With a limit of 1 the second of two identical errors is held back."""
    code = (
        "import glam_sdk; glam_sdk.init('orders'); log = glam_sdk.get_logger('x')\n"
        "for _ in range(3): log.error('charge.failed')"
    )
    written = run(code, tmp_path, GLAM_LOG__REPEAT_LIMIT="1", GLAM_LOG__REPEAT_WINDOW_S="60")
    lines = [decode(line) for line in written.splitlines()]
    assert [line.get("repeated") for line in lines if "charge.failed" in str(line)] == [None, 2]


def test_the_web_servers_websocket_line_hides_its_query(telemetry):
    """Uvicorn writes the address of a WebSocket as it came, at INFO."""
    server = logging.getLogger("uvicorn.error")
    server.info('%s - "WebSocket %s" [accepted]', "127.0.0.1:9", "/chat?token=s3cret&room=1")
    message = telemetry.logs()[-1]["message"]
    assert "s3cret" not in message
    assert "room=1" in message
