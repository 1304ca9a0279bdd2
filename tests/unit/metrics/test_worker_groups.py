"""Which processes sum up their metrics, and where."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource

from glam_sdk.telemetry.pipeline import workers
from glam_sdk.telemetry.pipeline.forking import renew_identity
from glam_sdk.telemetry.pipeline.scrape import Scraper
from glam_sdk.testing import capture_telemetry


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch) -> Path:
    """Let the groups be under this directory."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_a_process_alone_is_in_no_group(temporary: Path) -> None:
    """Neither started by multiprocessing nor forked by gunicorn: it answers for itself."""
    assert workers.group_directory("shop", None) is None
    assert not list(temporary.iterdir())


def test_gunicorn_workers_are_a_group_by_their_arbiter(temporary: Path, monkeypatch) -> None:
    """One parent is one group for each service; only its owner can look inside."""
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", sys)
    shop, other = (workers.group_directory(name, None) for name in ("shop", "../other"))
    assert shop is not None
    assert shop.name.startswith(f"{os.getppid()}-")
    assert shop.name.endswith("-shop")
    assert other is not None
    assert other.parent == shop.parent
    assert shop.parent.stat().st_mode & 0o077 == 0


def test_what_ended_leaders_left_is_removed(temporary: Path, monkeypatch) -> None:
    """Restarts of a whole service leave nothing behind."""
    monkeypatch.setitem(sys.modules, "gunicorn.arbiter", sys)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    first = workers.group_directory("shop", None)
    assert first is not None
    left = first.parent / f"{ended.pid}-1-shop"
    reused = first.parent / f"{os.getpid()}-1-shop"  # the id is another process's now
    for directory in (first, left, reused):
        directory.mkdir()
        (directory / "0.json").write_text("x")
    workers.group_directory("shop", None)
    assert [path.name for path in first.parent.iterdir()] == [first.name]


def test_a_group_is_one_target_whoever_answers(tmp_path: Path) -> None:
    """target_info names the group, not the worker that was asked."""
    answers = [
        workers.group_target(
            Resource({"service.name": "shop", "service.instance.id": each, "process.pid": 7}),
            tmp_path,
        )
        for each in ("one", "two")
    ]
    assert answers[0] == answers[1]
    assert answers[0].attributes["service.name"] == "shop"
    assert "process.pid" not in answers[0].attributes


def test_the_scrapes_of_a_group_have_one_target(tmp_path: Path) -> None:
    """Prometheus would otherwise take each answer for that of another target."""
    scrapers = [
        Scraper(Resource({"service.name": "shop", "service.instance.id": each}))
        for each in ("one", "two")
    ]
    try:
        for scraper in scrapers:
            scraper.join_workers("shop", tmp_path)
        first, second = (scraper.scrape("")[0].decode() for scraper in scrapers)
    finally:
        for scraper in scrapers:
            scraper.leave_workers()
    (target,) = re.findall(r"^target_info.*$", first, re.MULTILINE)
    assert re.findall(r"^target_info.*$", second, re.MULTILINE) == [target]
    assert 'service_name="shop"' in target


def test_a_fork_has_an_identity_of_its_own() -> None:
    """All that hold the resource see the new instance id."""
    resource = Resource({"service.name": "shop", "service.instance.id": "parent"})
    renew_identity(resource)
    assert resource.attributes["service.instance.id"] != "parent"
    assert resource.attributes["process.pid"] == os.getpid()
    assert resource.attributes["service.name"] == "shop"


async def test_a_directory_can_be_named_for_other_servers(tmp_path: Path) -> None:
    """GLAM_TELEMETRY__WORKERS_DIR joins processes that no known server has started."""
    overrides = {"telemetry": {"workers_dir": str(tmp_path), "metrics_exporter": ["none"]}}
    with capture_telemetry("shop", overrides=overrides) as telemetry:
        async with telemetry.service:
            assert (tmp_path / "shop" / "0.sock").exists()
            assert "process_cpu_time_seconds_total" in telemetry.scrape()
        assert (tmp_path / "shop" / "0.json").stat().st_size > 1000


async def test_a_directory_that_cannot_be_used_stops_no_service(tmp_path: Path) -> None:
    """The service runs and answers for itself; the log says what is the matter."""
    (tmp_path / "file").write_text("")
    overrides = {"telemetry": {"workers_dir": str(tmp_path / "file")}}
    with capture_telemetry("shop", overrides=overrides) as telemetry:
        async with telemetry.service:
            assert "process_cpu_time_seconds_total" in telemetry.scrape()
        assert len(telemetry.logs("metrics.workers_not_joined")) == 1
