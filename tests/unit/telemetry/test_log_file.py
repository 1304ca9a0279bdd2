"""Prove that the log file has the same lines and is rotated by size."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from glam_sdk.telemetry import log_file, log_setup
from glam_sdk.telemetry.log_file import RotatingFile
from glam_sdk.telemetry.logs import get_logger, pipeline
from glam_sdk.testing import capture_telemetry
from tests.unit.telemetry.conftest import decode


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "orders.log"


@pytest.fixture
def in_production(tmp_path, monkeypatch):
    """Run in an empty directory, and close the file that was opened there."""
    monkeypatch.chdir(tmp_path)
    yield {"service": {"environment": "prod"}}
    log_setup.close_file()


def log_into_file(overrides):
    """Log through the outputs that the settings open, and wait until all is written."""
    with capture_telemetry("orders", overrides=overrides) as telemetry:
        write = log_setup.open_outputs(telemetry.service.settings)
        pipeline().write = lambda line: (telemetry.lines.append(line), write(line))
        get_logger("x").info("order.placed", order_id=7)
        get_logger("x").warning("order.late")
        assert log_setup.flush(10)
        return telemetry.lines


def test_production_writes_a_file_named_after_the_service(in_production, path):
    """The file has the very lines that standard output has."""
    lines = log_into_file(in_production)
    assert path.read_bytes().splitlines() == lines
    assert [decode(line)["message"] for line in lines] == ["order.placed", "order.late"]


def test_a_file_can_be_named_in_any_environment(in_production, tmp_path):
    """``log.file`` names the file; its directory is made."""
    chosen = tmp_path / "a" / "b.log"
    log_into_file({"log": {"file": str(chosen)}})
    assert len(chosen.read_bytes().splitlines()) == 2
    assert not (tmp_path / "logs").exists()


def test_without_production_or_a_name_there_is_no_file(in_production, tmp_path):
    """Development and staging log to standard output alone."""
    log_into_file({"service": {"environment": "staging"}})
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_cannot_be_written_is_told_and_left_out(in_production, tmp_path):
    """A read-only file system must not keep a service from starting."""
    (tmp_path / "logs").write_text("in the way")
    told, *entries = [decode(line) for line in log_into_file(in_production)]
    assert [entry["message"] for entry in entries] == ["order.placed", "order.late"]
    assert (told["message"], told["level"]) == ("log.file_unavailable", "warning")
    assert (told["path"], told["environment"]) == ("logs/orders.log", "prod")


def test_the_size_and_number_of_files_are_those_of_the_contract():
    """10 MB and five predecessors."""
    assert (log_file.MAX_BYTES, log_file.BACKUPS) == (10 * 1024 * 1024, 5)


def test_a_full_file_is_put_aside(path):
    """No file grows beyond its size, and the oldest goes."""
    file = RotatingFile(path, max_bytes=1_000, backups=3)
    for number in range(100):
        file(b"%04d " % number + b"x" * 94 + b"\n")
    file.close()
    assert sorted(p.name for p in path.parent.iterdir()) == [
        *("orders.log", "orders.log.1", "orders.log.2", "orders.log.3")
    ]
    assert all(p.stat().st_size <= 1_000 for p in path.parent.iterdir())
    newest_first = [path, *(path.with_name(f"orders.log.{n}") for n in (1, 2, 3))]
    kept = b"".join(p.read_bytes() for p in reversed(newest_first)).splitlines()
    assert [int(line[:4]) for line in kept] == list(range(60, 100))


def test_a_batch_larger_than_a_file_is_not_torn(path):
    """Lines are never split over two files."""
    file = RotatingFile(path, max_bytes=10, backups=1)
    file(b"a" * 50 + b"\n")
    file(b"b\n")
    file.close()
    assert path.read_bytes() == b"b\n"
    assert path.with_name("orders.log.1").read_bytes() == b"a" * 50 + b"\n"


def test_no_predecessors_may_be_kept(path):
    """With none, a full file is emptied."""
    file = RotatingFile(path, max_bytes=10, backups=0)
    for _ in range(3):
        file(b"12345678\n")
    file.close()
    assert [p.name for p in path.parent.iterdir()] == ["orders.log"]


def test_a_file_moved_away_by_others_is_made_anew(path):
    """``logrotate`` or an operator may move or delete the file."""
    file = RotatingFile(path)
    file(b"one\n")
    path.replace(path.with_name("moved"))
    file(b"two\n")
    path.unlink()
    path.parent.joinpath("moved").unlink()
    path.parent.rmdir()
    file(b"three\n")
    file.close()
    assert path.read_bytes() == b"three\n"


@pytest.mark.skipif(os.name == "nt", reason="an open file cannot be renamed there")
def test_several_processes_share_one_file(path):
    """Workers rotate once each time, and no line of any is lost or torn."""
    code = (
        "import sys, pathlib\n"
        "from glam_sdk.telemetry.log_file import RotatingFile\n"
        "file = RotatingFile(pathlib.Path(sys.argv[1]), max_bytes=5_000, backups=1_000)\n"
        "for n in range(400): file(f'{sys.argv[2]} {n} {\"x\" * 80}\\n'.encode())\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(path), name]) for name in ("a", "b", "c")
    ]
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    lines = [line for p in path.parent.iterdir() for line in p.read_text().splitlines()]
    seen = {tuple(line.split()[:2]) for line in lines}
    assert len(lines) == len(seen) == 1_200
    assert all(line.endswith("x" * 80) for line in lines)
