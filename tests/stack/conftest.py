"""Run the whole stack and the shop once for all tests that ask real programs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, fields

import pytest

from examples.demo.shop import Shop
from examples.demo.traffic import send_traffic
from examples.stack import programs
from examples.stack.stack import Ports, Stack
from glam_sdk.testing.processes import free_port


@dataclass(frozen=True, slots=True)
class Watched:
    """The running stack, the shop that sends to it, and a request that was made."""

    stack: Stack
    shop: Shop
    trace_id: str
    """Of an order that went through all three services."""
    refused: str
    """Of an order that was refused."""


def free_ports() -> Ports:
    """Return ports that nobody uses at the moment."""
    taken: set[int] = set()
    while len(taken) < len(fields(Ports)):
        taken.add(free_port())
    return Ports(*taken)


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Start stack and shop, send the shop's traffic; skip with the reason where that is impossible.

    Two services send log records by OTLP; notifications only writes lines to a file that the
    Collector reads. All three are scraped.
    """
    if not os.environ.get("STACK_TEST"):
        pytest.skip("`make stack-test` asks the real programs")
    if reasons := programs.missing():
        pytest.skip(" ".join(reasons))
    folder = tmp_path_factory.mktemp("stack")
    scraped = {"OTEL_METRICS_EXPORTER": "none"}
    with ExitStack() as running:
        stack = running.enter_context(Stack(folder, free_ports()))
        lines = {"OTEL_LOGS_EXPORTER": "none"}
        lines["NOTIFICATIONS_LOG__FILE"] = str(stack.service_logs / "notifications.log")
        (folder / "shop").mkdir()
        shop = Shop(
            folder / "shop",
            stack.otlp_endpoint,
            settings={
                "storefront": scraped,
                "orders": scraped,
                "notifications": {**scraped, **lines},
            },
        )
        running.enter_context(shop)
        stack.scrape(shop.addresses)
        refused, trace_id = send_traffic(shop.storefront_url)
        yield Watched(stack, shop, trace_id, refused)
