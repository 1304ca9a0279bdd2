"""Every query of every dashboard is asked of the real Prometheus and log store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from examples.demo.traffic import send_traffic

from .asking import log_lines, series, until
from .conftest import Watched

FOLDER = Path(__file__).parents[2] / "otel" / "grafana" / "dashboards"
DASHBOARDS = {file.stem: json.loads(file.read_text()) for file in sorted(FOLDER.glob("*.json"))}
PANELS = [
    pytest.param(panel, id=f"{uid}: {panel['title']}")
    for uid, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
]
# Panels that are rightly empty after a few orders of which none goes wrong.
NEEDS = {
    "Alerts": "an alert that fires",
    "Failed operations by span": "a failed operation",
    "Log lines of level error": "an error",
    "Circuits": "a call that failed, which makes a circuit",
    "Failed statements": "a statement that fails",
    "Requests that got no connection": "a pool that is exhausted",
    "Handlers that failed": "a handler that raises",
    "Dead letters": "a message that no attempt can help",
    "Duplicates not handled again": "a message delivered twice",
    "Collector: lost": "a full queue on disk or a store that refuses for good",
    "Lost in the service": "a full queue or a refused export",
    "Metrics with too many series": "a label with too many values",
}


def without_variables(query: str) -> str:
    """Put in what Grafana would."""
    return query.replace("$__rate_interval", "1m").replace("$job", ".+")


@pytest.fixture(scope="module")
def busy(watched: Watched) -> Watched:
    """Make some traffic after the first scrape: a rate needs two of them with a difference."""
    counted = 'http_server_request_duration_seconds_count{job="storefront"}'
    until(lambda: series(watched.stack, counted), what="scrape of the first traffic")
    send_traffic(watched.shop.storefront_url)
    return watched


@pytest.mark.parametrize("panel", PANELS)
def test_a_panel_has_data(busy: Watched, panel: dict[str, Any]) -> None:
    """Each query is understood, and answers unless the panel is listed as needing more."""
    ask = log_lines if panel["datasource"]["uid"] == "logs" else series
    queries = [without_variables(target["expr"]) for target in panel["targets"]]
    answers = [ask(busy.stack, query) for query in queries]  # an error is an exception
    if panel["title"] not in NEEDS:
        for query, answer in zip(queries, answers, strict=True):
            if not answer:
                until(lambda q=query: ask(busy.stack, q), what=f"data for {query}")


def test_the_list_of_panels_that_need_more_is_up_to_date() -> None:
    """A renamed panel leaves the list."""
    assert set(NEEDS) <= {panel.values[0]["title"] for panel in PANELS}
