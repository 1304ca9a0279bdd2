"""Prove what ``glam db`` says: to a script, to a deployment, and to whoever uses it first."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from pydantic import SecretStr

from glam_sdk.cli import main
from glam_sdk.config import DatabaseSettings
from glam_sdk.database import Database

ROOT = Path(__file__).parents[2]
MODELS = """
from sqlalchemy import MetaData
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

class Base(DeclarativeBase):
    metadata = MetaData()

class Thing(Base):
    __tablename__ = "things"
    id: Mapped[int] = mapped_column(primary_key=True)
"""
COMMAND = "import sys; from glam_sdk.cli import main; sys.exit(main())"
Glam = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory to work in, whose service has models."""
    (tmp_path / "thing_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("THINGS_DATABASE__URL", f"sqlite+aiosqlite:///{tmp_path / 'things.sqlite3'}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "thing_models", raising=False)
    return tmp_path


@pytest.fixture
def glam(folder: Path, capsys: pytest.CaptureFixture[str]) -> Glam:
    """Give the command, run in this process: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(["db", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def glam_process(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a process of its own, as what starts telemetry must be."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "PYTEST"))}
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "db", *arguments],
        cwd=folder,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_upgrade_says_where_the_database_is_and_nothing_else(folder: Path, glam: Glam) -> None:
    """A script can read standard output; what is no warning is not on standard error either."""
    assert glam("init", "things", "--models", "thing_models")[0] == 0
    code, said, errors = glam("revision", "things", "-m", "First")
    assert (code, errors) == (0, "")
    assert len(said.splitlines()) == 1
    (revision,) = [f.name.partition("_")[0] for f in (folder / "migrations/versions").glob("*.py")]
    done = glam_process(folder, "upgrade", "things")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"things is at {revision}.\n", "")
    versions = folder / "migrations/versions"
    (versions / "2_slow.py").write_text(
        f"revision, down_revision = 'two', {revision!r}\n"
        "def upgrade():\n"
        "    import logging\n"
        "    logging.getLogger('things').warning('Rows without a colour: %d', 3)\n"
        "def downgrade():\n    raise NotImplementedError\n"
    )
    done = glam_process(folder, "upgrade", "things")
    assert (done.returncode, done.stdout) == (0, "things is at two.\n")
    assert "Rows without a colour: 3" in done.stderr
    assert not done.stderr.startswith("{")


def test_what_a_newcomer_gets_wrong_is_said_with_what_to_do(folder: Path, glam: Glam) -> None:
    """One line each, with the next command; no traceback, and nothing half done."""
    for action in (["upgrade"], ["check"], ["revision", "-m", "x"], ["downgrade", "base"]):
        name, *rest = action
        code, said, errors = glam(name, "things", *rest)
        assert (code, said) == (1, "")
        assert "glam db init things --models" in errors, errors
        assert errors.count("\n") == 1

    for models, word in (("nosuch", "nosuch"), ("thing_models:Tables", "Tables")):
        code, said, errors = glam("init", "things", "--models", models)
        assert (code, said) == (1, "")
        assert word in errors
    assert not (folder / "migrations").exists()

    assert glam("init", "things", "--models", "thing_models")[0] == 0
    assert glam("revision", "things", "-m", "First")[0] == 0
    code, _, errors = glam("revision", "things", "-m", "Second")
    assert (code, "glam db upgrade things" in errors) == (1, True)

    code, said, errors = _told(glam_process(folder, "upgrade", "things", "nosuch"))
    assert (code, said, "'nosuch'" in errors, errors.count("\n")) == (1, "", True, 1)
    code, _, errors = _told(glam_process(folder, "downgrade", "things", "-1"))
    assert (code, "fewer" in errors) == (1, True)
    code, _, errors = glam("downgrade", "things", "base", "--sql")
    assert (code, "from:to" in errors) == (1, True)


def _told(done: subprocess.CompletedProcess[str]) -> tuple[int, str, str]:
    return done.returncode, done.stdout, done.stderr


def test_no_migration_is_written_where_there_is_nothing_to_change(folder: Path, glam: Glam) -> None:
    """An empty one can be asked for."""
    glam("init", "things", "--models", "thing_models")
    glam("revision", "things", "-m", "First")
    assert glam("upgrade", "things", "--sql")[1].count("CREATE TABLE things") == 1
    assert _told(glam_process(folder, "upgrade", "things"))[0] == 0
    code, said, _ = glam("revision", "things", "-m", "Second")
    assert (code, "agree" in said) == (0, True)
    assert len(list((folder / "migrations/versions").glob("*.py"))) == 1
    code, said, _ = glam("revision", "things", "-m", "By hand", "--empty")
    assert (code, said.strip().endswith("_by_hand.py")) == (0, True)


def test_models_that_cannot_be_imported_any_more_are_named(folder: Path, glam: Glam) -> None:
    """Somebody moved them; the file that has to follow is in the answer."""
    glam("init", "things", "--models", "thing_models")
    env = folder / "migrations/env.py"
    env.write_text(env.read_text().replace("thing_models", "moved_models"))
    code, said, errors = glam("check", "things")
    assert (code, said) == (1, "")
    assert "moved_models" in errors
    assert "env.py" in errors


async def test_the_pool_says_nothing_of_itself_at_info(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLAlchemy's own chatter stays below the level that SQLAlchemy gives it."""
    caplog.set_level("INFO")
    db = Database(DatabaseSettings(url=SecretStr("sqlite+aiosqlite://")))
    await db.start()
    await db.stop()
    assert [r for r in caplog.records if "Pool" in r.getMessage()] == []
