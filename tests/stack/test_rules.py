"""Prometheus accepts its files, and each alert fires when it should."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from examples.stack import programs

FOLDER = Path(__file__).parents[2] / "otel" / "prometheus"
RULES = yaml.safe_load((FOLDER / "rules" / "alerts.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]


def promtool(*arguments: str) -> str:
    """Run promtool in the folder of the rules; skip where it is not installed."""
    try:
        program = programs.find_prometheus("promtool")
    except programs.NotAvailableError as exc:
        pytest.skip(str(exc))
    done = subprocess.run(
        [program, *arguments], cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_accepts_its_configuration_with_all_rules_and_targets() -> None:
    """`promtool check config` reads the rule files and the target files as well."""
    said = promtool("check", "config", "prometheus.yml")
    assert said.count("SUCCESS") >= 3


def test_each_alert_fires_when_it_should_and_alone() -> None:
    """`promtool test rules` with series that lead to it."""
    promtool("test", "rules", "rules/tests/alerts.yml")


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_is_tested_and_says_what_to_do(alert: dict[str, object]) -> None:
    """A summary, a place to look at, a severity, and a case in the tests where it fires."""
    annotations = alert["annotations"]
    assert isinstance(annotations, dict)
    assert annotations["summary"]
    assert len(annotations["description"]) > 40
    assert alert["labels"] in ({"severity": "page"}, {"severity": "ticket"})
    tests = (FOLDER / "rules" / "tests" / "alerts.yml").read_text()
    assert f'alertname="{alert["alert"]}"' in tests
