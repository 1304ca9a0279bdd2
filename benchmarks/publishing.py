"""Compare the cost of publishing: ``python -m benchmarks.publishing``.

CPU of the client process for one message that a stream has confirmed, file storage, exporting
included. Peers take turns within a round; "ratio" compares with nats-py alone in the same round.
FastStream is optional, because its pins need not go with ours: ``pip install 'faststream[nats,
otel,prometheus]==0.7.*'``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Final

from benchmarks.messaging_peers import STREAMS
from benchmarks.processes import Tool
from benchmarks.table import cell
from glam_sdk.config import NatsSettings
from glam_sdk.messaging import Nats
from glam_sdk.testing.nats import NatsServer

WORKS: Final = {"single": 1000, "many": 1000, "batch": 1000}
_ROWS: Final[tuple[tuple[str, str, str], ...]] = (
    ("bare", "single", "**nats-py**: one after the other"),
    ("glam", "single", "**glam**: `publish`"),
    ("faststream", "single", "**FastStream**: `publish`"),
    ("bare", "many", "**nats-py**: `publish_async`"),
    ("glam", "many", "**glam**: `publish_many`"),
    ("faststream", "many", "**FastStream**: `publish` under `gather`"),
    ("glam", "batch", "**glam**: `publish_many`, stream that allows batches"),
)


class Peer:
    """Keep one peer's process and ask it for work."""

    def __init__(
        self, name: str, url: str, sink: str, module: str = "benchmarks.messaging_peers"
    ) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, name, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink}/{name}"},
        )

    def ask(self, work: str, times: int) -> float:
        """Return the CPU microseconds of one message."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The peer has no pipes.")
        print(f"{work} {times}", file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Let the process end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)


async def prepare(url: str) -> None:
    """Make the streams."""
    nats = Nats(NatsSettings(servers=(url,)), service_name="prepare", streams=STREAMS)
    await nats.start()
    await nats.stop()


def run(rounds: int, url: str, sink: str) -> dict[tuple[str, str], list[float]]:
    """Return what each row cost in each round."""
    rows = [row for row in _ROWS if row[0] != "faststream" or find_spec("faststream")]
    costs: dict[tuple[str, str], list[float]] = {(peer, work): [] for peer, work, _ in rows}
    peers = {name: Peer(name, url, sink) for name in dict.fromkeys(peer for peer, _, _ in rows)}
    try:
        for number in range(rounds + 1):
            for name, work in costs if number % 2 else reversed(costs):
                cost = peers[name].ask(work, WORKS[work])
                if number:  # the first round warms up
                    costs[name, work].append(cost)
    finally:
        for peer in peers.values():
            peer.close()
    return costs


def table(costs: dict[tuple[str, str], list[float]]) -> str:
    """Return the table in Markdown: medians, in brackets lowest and highest of the rounds."""
    lines = ["| | CPU, µs a message | ratio to nats-py, one after the other |", "|---|---|---|"]
    base = costs["bare", "single"]
    for peer, work, title in _ROWS:
        if found := costs.get((peer, work)):
            ratios = [mine / bare for mine, bare in zip(found, base, strict=True)]
            lines.append(f"| {title} | {cell(found, '.0f')} | {cell(ratios, '.2f')} |")
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
