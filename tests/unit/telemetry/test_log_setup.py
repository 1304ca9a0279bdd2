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
