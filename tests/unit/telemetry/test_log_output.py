"""Prove that a slow or broken output holds nobody up, and that nothing else is lost."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from glam_sdk.telemetry.log_output import Bounds, LineWriter, StandardOutput
from tests.unit.telemetry.conftest import decode, wait_until


class Gate:
    """An output that can be stuck, or fail, for a while."""

    def __init__(self):
        self.written = b""
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()
        self.failure = None

    def __call__(self, data):
        self.entered.set()
        self.open.wait()
        if self.failure is not None:
            raise self.failure
        self.written += data

    @property
    def lines(self):
        return self.written.splitlines()


@pytest.fixture
def gate():
    return Gate()


@pytest.fixture
def told():
    return []


@pytest.fixture
def writer(gate, told):
    bounds = Bounds(lines=100, size_bytes=100_000, patience_s=0.05)
    writer = LineWriter(gate, name="test", bounds=bounds, tell=lambda *what: told.append(what))
    yield writer
    gate.open.set()
    writer.close()


def test_lines_are_written_whole_and_in_order(gate):
    """Lines of several threads keep their own order; each ends with one newline."""
    # Patient: whether a busy machine lets the writer run in time is not what is asked here.
    writer = LineWriter(gate, name="test", bounds=Bounds(100, 100_000, patience_s=30.0))

    def log(name: bytes) -> None:
        for number in range(500):
            writer(b"%s %d" % (name, number))

    threads = [threading.Thread(target=log, args=(name,)) for name in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.flush(10)
    assert writer.lost_total == 0
    for name in (b"a", b"b"):
        own = [line for line in gate.lines if line.startswith(name)]
        assert own == [b"%s %d" % (name, number) for number in range(500)]
    assert gate.written.endswith(b"\n")
    writer.close()


def test_a_stuck_output_delays_one_call_by_the_stated_bound(gate, writer, told):
    """Then lines are lost without waiting, and counted; when it recovers, one line tells."""
    gate.open.clear()
    writer(b"first")
    gate.entered.wait(10)
    for number in range(100):
        writer(b"%d" % number)
    waits = []
    for _ in range(50):
        started = time.perf_counter()
        writer(b"too much")
        waits.append(time.perf_counter() - started)
    assert waits[0] >= 0.05
    assert sorted(waits)[len(waits) // 2] < 0.01
    assert (writer.lost_total, told) == (50, [])
    gate.open.set()
    assert writer.flush(10)
    assert gate.lines == [b"first", *(b"%d" % number for number in range(100))]
    wait_until(lambda: told)
    assert told == [("log.lines_lost", {"output": "test", "lost": 50})]
    writer(b"again")
    assert writer.flush(10)
    assert gate.lines[-1] == b"again"


def test_what_waits_is_bounded_in_bytes_too(gate, writer):
    """A few long lines fill the queue as many short ones do."""
    gate.open.clear()
    writer(b"x" * 60_000)
    gate.entered.wait(10)
    for _ in range(5):
        writer(b"x" * 60_000)
    assert writer.lost_total == 4


def test_a_broken_output_is_told_once_and_its_lines_are_counted(gate, writer, told):
    """A full disk costs lines, never an error in the caller."""
    gate.failure = OSError("No space left on device")
    for _ in range(3):
        writer(b"lost")
        assert writer.flush(10)
    assert writer.lost_total == 3
    gate.failure = None
    writer(b"kept")
    assert writer.flush(10)
    assert gate.lines == [b"kept"]
    assert told == [
        ("log.output_failed", {"output": "test", "reason": "No space left on device"}),
        ("log.lines_lost", {"output": "test", "lost": 3}),
    ]


def test_a_signal_handler_may_log(gate, writer):
    """Handing over takes no lock that the interrupted code could hold."""
    written = []

    def handle(*_):
        writer(b"signal")
        written.append(1)

    previous = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        deadline = time.monotonic() + 10
        while len(written) < 20 and time.monotonic() < deadline:
            writer(b"main")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    assert len(written) >= 20
    assert writer.flush(10)
    assert len(gate.lines) + writer.lost_total >= 40


def test_after_the_end_lines_are_written_directly(gate, writer):
    """At exit there may be no thread any more; nothing waits for one."""
    writer(b"queued")
    assert writer.finish()
    writer(b"direct")
    assert gate.lines == [b"queued", b"direct"]


def test_a_stuck_output_does_not_keep_the_process(gate, writer):
    """Flushing ends with its time; the lines stay with the thread."""
    gate.open.clear()
    writer(b"stuck")
    started = time.monotonic()
    assert not writer.flush(0.05)
    assert not writer.finish(0.05)
    assert time.monotonic() - started < 5


def test_it_has_something_to_do_when_idle(gate, monkeypatch):
    """Held-back counts are written although nobody logs any more."""
    monkeypatch.setattr("glam_sdk.telemetry.log_output._IDLE_S", 0.01)
    idle = threading.Event()
    writer = LineWriter(gate, name="test", on_idle=idle.set)
    writer(b"x")
    assert idle.wait(10)
    writer.close()


class Plain(io.StringIO):
    """A standard output without a descriptor, as test runners have it."""


@pytest.mark.parametrize("stream", [None, Plain()])
def test_standard_output_may_be_missing_or_captured(monkeypatch, stream, told):
    """Without one the lines are lost and counted; a captured one gets text."""
    monkeypatch.setattr(sys, "stdout", stream)
    writer = LineWriter(StandardOutput(), name="stdout", tell=lambda *what: told.append(what))
    writer(b'{"a":"\xc3\xa9"}')
    assert writer.flush(10)
    if stream is None:
        assert writer.lost_total == 1
    else:
        assert stream.getvalue() == '{"a":"é"}\n'
    writer.close()


def run(code: str, **options):
    return subprocess.run(
        [sys.executable, "-c", "import glam_sdk, os, sys\n" + code],
        capture_output=True,
        timeout=60,
        check=False,
        **options,
    )


START = "glam_sdk.init('orders'); log = glam_sdk.get_logger('x')\n"


@pytest.mark.parametrize(
    ("end", "code"), [("", 0), ("sys.exit(3)", 3), ("raise ValueError('end')", 1)]
)
def test_nothing_is_lost_at_exit(end, code):
    """However a process ends by itself, all its lines are out, the last ones too."""
    done = run(f"{START}for n in range(5000): log.info('line', n=n)\n{end}")
    assert done.returncode == code
    assert [decode(line)["n"] for line in done.stdout.splitlines()] == list(range(5000))


def test_lines_logged_while_exiting_are_written():
    """Other exit handlers may still log."""
    done = run(f"import atexit\n{START}atexit.register(log.info, 'bye')\nlog.info('hi')")
    assert [decode(line)["message"] for line in done.stdout.splitlines()] == ["hi", "bye"]
    late = run(f"import atexit\natexit.register(lambda: log.info('bye'))\n{START}log.info('hi')")
    assert [decode(line)["message"] for line in late.stdout.splitlines()] == ["hi", "bye"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_a_fork_neither_doubles_nor_loses_lines():
    """What waits at the fork is written by the parent alone; the child has a thread of its own."""
    code = (
        "for n in range(200): log.info('parent', n=n)\n"
        "pid = os.fork()\n"
        "for n in range(200): log.info('after', n=n, child=not pid)\n"
        "if pid: os.waitpid(pid, 0)\n"
    )
    entries = [decode(line) for line in run(START + code).stdout.splitlines()]
    assert [e["n"] for e in entries if e["message"] == "parent"] == list(range(200))
    for child in (True, False):
        assert [e["n"] for e in entries if e.get("child") is child] == list(range(200))


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_worker_process_loses_nothing(method, tmp_path):
    """Children of multiprocessing, such as a web server's workers, end without ``atexit``."""
    (tmp_path / "work.py").write_text(
        "import glam_sdk\n"
        "def work():\n"
        "    glam_sdk.init('orders')\n"
        "    for n in range(100): glam_sdk.get_logger('x').info('worker', n=n)\n"
        "if __name__ == '__main__':\n"
        "    import multiprocessing\n"
        "    glam_sdk.get_logger('x').warning('main')\n"
        f"    child = multiprocessing.get_context({method!r}).Process(target=work)\n"
        "    child.start(); child.join()\n"
    )
    done = subprocess.run(
        [sys.executable, tmp_path / "work.py"], capture_output=True, timeout=60, check=True
    )
    entries = [decode(line) for line in done.stdout.splitlines()]
    assert [e["n"] for e in entries if e["message"] == "worker"] == list(range(100))
    assert sum(e["message"] == "main" for e in entries) == 1


def test_a_process_ends_although_its_output_is_stuck():
    """Nobody reads the pipe: the process says so on standard error and ends."""
    read, write = os.pipe()
    code = f"{START}for n in range(3000): log.info('line', n=n, filler='x' * 200)\n"
    try:
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", "import glam_sdk\n" + code],
            stdout=write,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
        assert time.monotonic() - started < 30
    finally:
        os.close(read)
        os.close(write)
    assert done.returncode == 0
    assert b"stdout is stuck" in done.stderr


def test_a_closed_pipe_ends_nothing():
    """A reader that went away costs the lines, not the process."""
    code = f"{START}os.close(1)\nfor n in range(10): log.info('x')\nsys.stderr.write('alive')"
    done = run(code)
    assert b"alive" in done.stderr
    assert done.returncode in {0, 120}  # 120: Python itself could not flush its standard output
