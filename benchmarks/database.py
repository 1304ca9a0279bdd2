"""Compare the cost of database work: ``python -m benchmarks.database``.

CPU of the client process for a SELECT by primary key in a transaction of its own, a list of 10 000
rows and a bulk insert of 10 000, on SQLite and PostgreSQL. Peers take turns within a round, and
what counts is the difference to the bare session of the same round.

Two peers are optional, because their pins don't go with ours; where they are not installed they
are left out: ``pip install --no-deps --pre opentelemetry-instrumentation-sqlalchemy
advanced-alchemy``.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from benchmarks.database_peers import prepare
from benchmarks.table import cell
from glam_sdk.testing.postgres import PostgresServer

PEERS: Final = {
    "bare": "session, no telemetry",
    "glam statements": "repository, statement spans, metrics",
    "glam operations": "the same and operation spans",
    "glam": "the same and transaction spans (default)",
    "contrib": "session with OpenTelemetry's instrumentation",
    "advanced-alchemy": "its repository, no telemetry",
    "advanced-alchemy contrib": "its repository with OpenTelemetry's instrumentation",
}
WORKS: Final = {"get": 400, "list": 3, "insert": 1}
_HEADS: Final = {
    "get": ("SELECT by key, µs", 1, ".0f"),
    "list": ("list of 10 000, ms", 1000, ".0f"),
    "insert": ("insert of 10 000, ms", 1000, ".0f"),
}
_NEEDS: Final = {
    "contrib": "opentelemetry.instrumentation.sqlalchemy",
    "advanced": "advanced_alchemy",
}


class Peer:
    """Keep one peer's process and ask it for work."""

    def __init__(self, name: str, url: str) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.database_peers", name, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, work: str, times: int) -> float:
        """Return the CPU microseconds of one piece of work."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The peer has no pipes.")
        print(f"{work} {times}", file=self._process.stdin, flush=True)
        return float(self._process.stdout.readline())

    def close(self) -> None:
        """Let the process end."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process.wait(timeout=30)


def is_installed(peer: str) -> bool:
    """Tell whether what a peer needs is there."""
    return all(find_spec(module) for word, module in _NEEDS.items() if word in peer)


def run(url: str, rounds: int, works: dict[str, int]) -> dict[str, dict[str, list[float]]]:
    """Return what each work cost each peer in each round."""
    peers = [Peer(name, url) for name in PEERS if is_installed(name)]
    costs: dict[str, dict[str, list[float]]] = {
        work: {peer.name: [] for peer in peers} for work in works
    }
    try:
        for number in range(rounds + 1):
            for work, times in works.items():
                for peer in peers if number % 2 else reversed(peers):
                    cost = peer.ask(work, times)
                    if number:  # the first round warms up
                        costs[work][peer.name].append(cost)
    finally:
        for peer in peers:
            peer.close()
    return costs


def table(title: str, costs: dict[str, dict[str, list[float]]]) -> str:
    """Return one Markdown table: medians, in brackets lowest and highest of the rounds."""
    heads = [cell for work in costs for cell in (_HEADS[work][0], "over bare")]
    lines = [f"### {title}", "", f"| peer | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for name in next(iter(costs.values())):
        cells = [f"**{name}**: {PEERS[name]}"]
        for work, of_peers in costs.items():
            scale, form = _HEADS[work][1:]
            mine = [cost / scale for cost in of_peers[name]]
            over = [a - b / scale for a, b in zip(mine, of_peers["bare"], strict=True)]
            cells += [cell(mine, form), "" if name == "bare" else cell(over, f"+{form}")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], help="only this one")
    parser.add_argument("--work", choices=list(WORKS), nargs="*", default=list(WORKS))
    options = parser.parse_args()
    works = {work: WORKS[work] for work in options.work}
    with tempfile.TemporaryDirectory() as directory, PostgresServer() as server:
        urls = {
            "SQLite (aiosqlite)": f"sqlite+aiosqlite:///{Path(directory) / 'bench.sqlite3'}",
            "PostgreSQL (asyncpg)": server.url,
        }
        for title, url in urls.items():
            if url.startswith(options.database or ""):
                asyncio.run(prepare(url))
                print(f"{table(title, run(url, options.rounds, works))}\n", flush=True)


if __name__ == "__main__":
    main()
