"""``glam config`` shows every setting with its source and no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from glam_sdk import cli


def test_every_setting_is_shown_with_its_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Variable, file and line, or default; passwords are masked."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/shared.yml").write_text("log:\n  level: DEBUG\n")
    monkeypatch.setenv("ORDERS_DB_URL", "postgresql://ada:hunter2@db/orders")
    assert cli.main(["config", "orders", "--root", str(tmp_path)]) == 0
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()}
    assert rows["log.level"].endswith("config/shared.yml:2")
    assert rows["database.url"].endswith("environment variable ORDERS_DB_URL")
    assert rows["http.metrics_path"].endswith("default")
    assert "hunter2" not in "".join(rows.values())


def test_only_what_was_set_can_be_asked_for(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """``--set`` leaves the defaults out."""
    monkeypatch.setenv("LOG_LEVEL", "WARNING")
    assert cli.main(["config", "orders", "--root", str(tmp_path), "--set"]) == 0
    shown = capsys.readouterr().out
    assert "log.level" in shown
    assert "default" not in shown


def test_bad_settings_are_reported_together(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Exit code 1, every problem in one message on standard error."""
    monkeypatch.setenv("ORDERS_DB_POOL_SIZE", "many")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    assert cli.main(["config", "orders", "--root", str(tmp_path)]) == 1
    message = capsys.readouterr().err
    assert "ORDERS_DB_POOL_SIZE" in message
    assert "LOG_LEVEL" in message
