"""Compare the cost of consuming: ``python -m benchmarks.consuming``.

CPU of the client process for one message, from the request to the acknowledgement, file storage,
exporting included. Peers take turns within a round; "ratio" compares with nats-py alone in the same
round. FastStream is optional, because its pins need not go with ours: ``pip install
'faststream[nats,otel,prometheus]==0.7.*'``.
"""

from __future__ import annotations

import argparse
import asyncio
from importlib.util import find_spec
from typing import Final

from opentelemetry.sdk.trace import TracerProvider

from benchmarks.messaging_peers import STREAMS, Noted
from benchmarks.processes import Tool
from benchmarks.publishing import Peer
from benchmarks.table import cell
from glam_sdk.config import NatsSettings
from glam_sdk.messaging import MessagingTelemetry, Nats, Publisher
from glam_sdk.testing.nats import NatsServer

MESSAGES: Final = 3000
_ROWS: Final = {
    "bare": "**nats-py**: `fetch(100)` and `ack`; nothing is read",
    "glam-off": "**glam**: typed, no telemetry",
    "glam": "**glam**: typed, traced and metered",
    "glam-log": "**glam**: the same and a log line each (default)",
    "faststream": "**FastStream**: typed, traced and metered",
    "faststream-log": "**FastStream**: the same and two log lines each (default)",
}


async def prepare(url: str) -> None:
    """Fill a stream with messages as a traced service sends them."""
    nats = Nats(NatsSettings(servers=(url,)), service_name="prepare", streams=STREAMS)
    await nats.start()
    telemetry = MessagingTelemetry(tracer=TracerProvider().get_tracer("prepare"))
    publisher = Publisher(nats, "prepare", telemetry=telemetry)
    await publisher.publish_many([Noted(number=number) for number in range(MESSAGES)])
    await nats.stop()


def run(rounds: int, url: str, sink: str) -> dict[str, list[float]]:
    """Return what each peer cost in each round."""
    names = [name for name in _ROWS if "faststream" not in name or find_spec("faststream")]
    costs: dict[str, list[float]] = {name: [] for name in names}
    peers = {name: Peer(name, url, sink, "benchmarks.consuming_peers") for name in names}
    try:
        for number in range(rounds + 1):
            for name in names if number % 2 else reversed(names):
                cost = peers[name].ask("consume", MESSAGES)
                if number:  # the first round warms up
                    costs[name].append(cost)
    finally:
        for peer in peers.values():
            peer.close()
    return costs


def table(costs: dict[str, list[float]]) -> str:
    """Return the table in Markdown: medians, in brackets lowest and highest of the rounds."""
    lines = ["| | CPU, µs a message | ratio to nats-py |", "|---|---|---|"]
    for name, found in costs.items():
        ratios = [mine / bare for mine, bare in zip(found, costs["bare"], strict=True)]
        lines.append(f"| {_ROWS[name]} | {cell(found, '.0f')} | {cell(ratios, '.2f')} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with NatsServer() as server, Tool("benchmarks.sink", None) as sink:
        asyncio.run(prepare(server.url))
        print(table(run(options.rounds, server.url, sink.read())))


if __name__ == "__main__":
    main()
