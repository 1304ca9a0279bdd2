"""Every Python block in README and docs runs; the quickstart is small and works."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python[ ]*(?P<flags>[^\n]*)\n(?P<code>.*?)^```", re.MULTILINE | re.DOTALL)


def runnable(page: Path) -> str:
    """Return the page's blocks as one program, but those marked ``no-run``."""
    blocks = BLOCK.finditer(page.read_text())
    return "\n\n".join(m["code"] for m in blocks if "no-run" not in m["flags"])


@pytest.mark.parametrize(
    "page", [p for p in PAGES if runnable(p)], ids=lambda p: str(p.relative_to(ROOT))
)
def test_the_code_of_a_page_runs(page: Path, tmp_path: Path) -> None:
    """A reader who copies the blocks in order gets no error."""
    script = tmp_path / "page.py"
    script.write_text(runnable(page))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PYTEST"))}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_relative_links_lead_somewhere() -> None:
    """A page that moved takes its links along."""
    missing = [
        f"{page.relative_to(ROOT)} → {target}"
        for page in PAGES
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#\s]+)", page.read_text())
        if not (page.parent / target).exists()
    ]
    assert missing == []


def test_the_quickstart_is_one_file_under_forty_lines() -> None:
    """What a newcomer reads first fits on a screen."""
    assert len((ROOT / "examples/quickstart.py").read_text().splitlines()) < 40


def test_source_files_stay_small() -> None:
    """Under 300 lines each: a file that grows past it has two jobs."""
    long = {
        str(file.relative_to(ROOT)): lines
        for folder in ("glam_sdk", "examples", "benchmarks")
        for file in (ROOT / folder).rglob("*.py")
        if (lines := len(file.read_text().splitlines())) >= 300
    }
    assert long == {}
