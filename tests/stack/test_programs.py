"""Programs are found, or it is said why not and what would help."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from examples.demo.jaeger import jaeger_url
from examples.stack import programs
from examples.stack.process import Program
from examples.stack.stack import Ports, Stack
from glam_sdk.testing.processes import free_port


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let nothing have been built so far."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "glam_sdk-stack"


def test_what_is_not_built_is_told_with_the_command_that_builds_it(empty_cache: Path) -> None:
    """One sentence for each program that is missing."""
    reasons = programs.missing()
    for program in programs.BUILT:
        assert any(program.name in reason and "make stack-programs" in reason for reason in reasons)


def test_a_program_that_was_built_is_used_again(empty_cache: Path) -> None:
    """Name and version are its place; nothing is run to find or to build it again."""
    path = empty_cache / f"jaeger-{programs.JAEGER.version}" / "jaeger"
    path.parent.mkdir(parents=True)
    path.touch()
    assert programs.find(programs.JAEGER) == path
    assert programs.build(programs.JAEGER, deadline=0) == path


def test_without_go_nothing_is_built(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is Go."""
    monkeypatch.setenv("PATH", str(empty_cache))
    with pytest.raises(programs.NotAvailableError, match="there is no Go here"):
        programs.build(programs.LOGS, deadline=time.monotonic() + 60)


def test_a_build_ends_at_its_deadline(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow Go does not hold up whoever waits, and leaves nothing behind."""
    tools = empty_cache / "bin"
    tools.mkdir(parents=True)
    (tools / "go").write_text("#!/bin/sh\nexec sleep 60\n")
    (tools / "go").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
    with pytest.raises(programs.NotAvailableError, match="No time is left"):
        programs.build(programs.LOGS, deadline=time.monotonic() + 0.2)
    assert not programs.LOGS.path.exists()


def test_a_program_that_ends_at_start_shows_what_it_wrote(tmp_path: Path) -> None:
    """The end of its log is the error's message."""
    program = Program(
        "broken",
        ["/bin/sh", "-c", "echo no such option; exit 1"],
        f"http://127.0.0.1:{free_port()}/",
        tmp_path,
    )
    with pytest.raises(RuntimeError, match="no such option"):
        program.start(timeout_s=10)


def test_the_services_that_somebody_listed_are_scraped_again_after_a_restart(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A data folder that is kept keeps its list of targets, too."""
    for program in programs.BUILT:
        program.path.parent.mkdir(parents=True)
        program.path.touch()
    (tmp_path / "prometheus").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    folder = tmp_path / "data"
    stack = Stack(folder, Ports())
    assert stack.targets_file.read_text() == "[]\n"
    mine = '- {targets: ["127.0.0.1:8000"], labels: {job: mine}}\n'
    stack.targets_file.write_text(mine)
    assert Stack(folder, Ports()).targets_file.read_text() == mine


def test_without_jaeger_the_demo_prints_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that nobody answers on is no Jaeger."""
    monkeypatch.setenv("JAEGER_URL", f"http://127.0.0.1:{free_port()}")
    assert jaeger_url("http://127.0.0.1:4318") is None
