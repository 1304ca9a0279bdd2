"""The main job, end to end: one request is followed through every service of the example shop."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from examples.demo.report import is_whole
from examples.demo.shop import Shop
from examples.demo.traffic import send_traffic
from glam_sdk.testing import OtlpReceiver, ReceivedSpan


@dataclass(frozen=True)
class Followed:
    """What is left to look at when the shop has closed."""

    trace_id: str
    trace: list[ReceivedSpan]
    all_spans: list[ReceivedSpan]
    lines: dict[str, list[str]]
    scrapes: dict[str, str]

    def one(self, service: str, kind: str) -> ReceivedSpan:
        """Return the trace's one span of a service and kind."""
        found = [s for s in self.trace if s.service == service and s.kind == kind]
        assert len(found) == 1, found
        return found[0]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    """Run the shop, send the demo's traffic, and stop it."""
    folder = tmp_path_factory.mktemp("shop")
    with OtlpReceiver() as receiver, Shop(folder, receiver.endpoint) as running:
        _, followed = send_traffic(running.storefront_url)
        assert receiver.wait_for(lambda r: is_whole(r.trace(followed)), timeout_s=30)
        scrapes = {accept: scrape(running.storefront_url, accept) for accept in (TEXT, OPENMETRICS)}
        files = running.log_files
    return Followed(
        followed,
        receiver.trace(followed),
        list(receiver.spans),
        {name: read_lines(file) for name, file in files.items()},
        scrapes,
    )


TEXT = "text/plain"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def scrape(url: str, accept: str) -> str:
    """Return the storefront's scrape in one format."""
    request = urllib.request.Request(f"{url}/metrics", headers={"Accept": accept})
    with urllib.request.urlopen(request, timeout=10) as answer:
        body: bytes = answer.read()
        return body.decode()


def read_lines(file: Path) -> list[str]:
    """Return what a service wrote."""
    return file.read_text().splitlines()


def test_one_trace_reaches_from_the_first_request_to_the_last_write(shop: Followed) -> None:
    """One root, every service, and the UPDATE that ends the story."""
    assert is_whole(shop.trace)


def test_the_http_client_span_is_the_parent_of_the_next_services_server_span(
    shop: Followed,
) -> None:
    """Storefront's CLIENT span ⊃ orders' SERVER span."""
    client = next(s for s in shop.trace if s.service == "storefront" and s.kind == "CLIENT")
    assert shop.one("orders", "SERVER").parent_id == client.span_id
    assert client.parent_id == shop.one("storefront", "SERVER").span_id


@pytest.mark.parametrize(
    ("producer", "consumer"), [("orders", "notifications"), ("notifications", "orders")]
)
def test_the_producer_span_is_the_parent_of_the_consumer_span(
    shop: Followed, producer: str, consumer: str
) -> None:
    """What the outbox stored with the row is what the consumer continues."""
    assert shop.one(consumer, "CONSUMER").parent_id == shop.one(producer, "PRODUCER").span_id


def test_each_request_has_exactly_one_server_span(shop: Followed) -> None:
    """FastAPI's own telemetry is in the process and stays out of the way."""
    servers = [s for s in shop.all_spans if s.kind == "SERVER"]
    assert len(servers) == 8  # four requests to the storefront, four from it to orders
    assert {s.name for s in servers} == {"POST /checkout", "POST /orders"}


def test_database_writes_are_in_the_trace(shop: Followed) -> None:
    """The row, the outbox and the inbox are CLIENT spans of the stable conventions."""
    names = {s.name for s in shop.trace if "db.system.name" in s.attributes}
    assert {"INSERT orders", "INSERT glam_outbox", "INSERT glam_inbox", "UPDATE orders"} <= names


def test_every_line_is_one_json_object(shop: Followed) -> None:
    """The web server's own lines included."""
    for name, lines in shop.lines.items():
        for line in lines:
            entry = json.loads(line)
            assert entry["service"] == name
            assert {"timestamp", "level", "message", "environment"} <= set(entry)


def test_grep_for_the_trace_id_tells_the_whole_story(shop: Followed) -> None:
    """Lines written inside a request or a handler carry its trace id, in every service."""
    story = [
        (name, json.loads(line)["message"])
        for name, lines in shop.lines.items()
        for line in lines
        if shop.trace_id in line
    ]
    assert set(story) >= {
        ("storefront", "checkout.started"),
        ("storefront", "http.request"),
        ("orders", "order.placed"),
        ("orders", "http.request"),
        ("notifications", "notification.sent"),
        ("orders", "order.notified"),
    }


def test_one_correlation_id_goes_with_the_trace(shop: Followed) -> None:
    """It travels as baggage over HTTP, through the outbox and over JetStream."""
    ids = {
        json.loads(line).get("correlation_id")
        for lines in shop.lines.values()
        for line in lines
        if shop.trace_id in line
    }
    assert len(ids) == 1
    assert None not in ids


def test_the_refused_order_is_no_server_error(shop: Followed) -> None:
    """A 409 leaves the SERVER spans unset; the client that got it marks its own as error."""
    refused = [s for s in shop.all_spans if s.attributes.get("http.response.status_code") == 409]
    assert {(s.service, s.kind, s.status) for s in refused} == {
        ("storefront", "SERVER", "UNSET"),
        ("storefront", "CLIENT", "ERROR"),
        ("orders", "SERVER", "UNSET"),
    }


def test_the_scrape_is_valid_in_both_formats(shop: Followed) -> None:
    """prometheus_client's two parsers accept it and find the request metrics."""
    name = "http_server_request_duration_seconds"
    assert name in {family.name for family in parse_text(shop.scrapes[TEXT])}
    assert name in {family.name for family in parse_openmetrics(shop.scrapes[OPENMETRICS])}


def test_an_exemplar_leads_from_the_metric_to_the_trace(shop: Followed) -> None:
    """The newest request of its bucket is the one that was followed."""
    exemplars = {
        sample.exemplar.labels["trace_id"]
        for family in parse_openmetrics(shop.scrapes[OPENMETRICS])
        for sample in family.samples
        if sample.exemplar
    }
    assert exemplars <= {s.trace_id for s in shop.all_spans}
    assert exemplars
