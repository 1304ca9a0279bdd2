"""Compare the CPU a request costs with and without telemetry: ``make bench``.

All servers run at once, idle but for the one under load. Each round gives every peer one short
slice of load per endpoint, in a fresh random order, so that what changes on the machine meanwhile
hits all alike.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path

from benchmarks.measure import Bench, Slice
from benchmarks.peers import ENDPOINTS, Peer, choose
from benchmarks.plot import bars, svg
from benchmarks.processes import Server, Tool
from benchmarks.table import markdown

_CONNECTIONS = 16
_WARM_UP_S = 0.5
# Sent soon after the load, so that each slice pays for all its own spans.
_SOON = {
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "OTEL_BLRP_SCHEDULE_DELAY": "200",
    "OTEL_METRIC_EXPORT_INTERVAL": "5000",
}


@dataclass(frozen=True, slots=True)
class Options:
    """Hold what was asked for on the command line."""

    peers: list[Peer]
    endpoints: list[str]
    rounds: int
    seconds: float
    json_file: Path | None
    svg_file: Path | None


def read_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line; on a mistake, say so and end the process."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=6, help="slices per cell (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.8, help="of a slice (%(default)s)")
    parser.add_argument("--peers", default="", help="names separated by commas (the default ones)")
    parser.add_argument("--endpoints", default=",".join(ENDPOINTS), help="(%(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep every slice here")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the medians here")
    given = parser.parse_args(arguments)
    endpoints = [word for word in given.endpoints.split(",") if word]
    if unknown := set(endpoints) - set(ENDPOINTS):
        parser.error(f"No such endpoint: {', '.join(sorted(unknown))}.")
    if given.rounds < 1 or given.seconds < 0.2 or not endpoints:
        parser.error("At least one round, one endpoint and 0.2 seconds are needed.")
    try:
        peers = choose(given.peers)
    except ValueError as exc:
        parser.error(str(exc))
    return Options(peers, endpoints, given.rounds, given.seconds, given.json, given.svg)


def cores() -> tuple[int | None, int | None]:
    """Return a core for the server and another for the rest; None where there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[0], allowed[1]) if len(allowed) > 1 else (None, None)


def surroundings() -> str:
    """Return the versions and the machine that the figures belong to."""
    packages = ("fastapi", "opentelemetry-sdk", "sqlalchemy", "uvicorn")
    named = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"Python {platform.python_version()}, {named}; {os.cpu_count()} cores."


def make_database(path: Path) -> Path:
    """Create the file with the thousand rows that ``/db`` reads."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE items (id INTEGER PRIMARY KEY, name VARCHAR, price FLOAT)")
        rows = [(n, f"item {n}", n * 1.5) for n in range(1, 1001)]
        connection.executemany("INSERT INTO items VALUES (?, ?, ?)", rows)
    connection.close()
    return path


def start_server(
    peer: Peer, run: Path, sink_port: str, core: int | None, pace: Mapping[str, str]
) -> Server:
    """Prepare a peer's server: its directory, its database, where and when it exports."""
    directory = run / peer.name
    directory.mkdir()
    environment = {
        "APP_ENV": "prod",
        "BENCH_DATABASE": str(shutil.copy(run / "items.sqlite3", directory)),
        "OTEL_SERVICE_NAME": "orders",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{sink_port}/{peer.name}",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        **pace,
    }
    return Server(peer, directory, environment, core)


def run_rounds(options: Options, servers: Sequence[Server], bench: Bench) -> Iterator[Slice]:
    """Warm up, then yield slice after slice."""
    shuffle = random.Random(1)  # noqa: S311 - an order, not a secret
    for number in range(options.rounds + 1):
        seconds = options.seconds if number else _WARM_UP_S
        for endpoint in options.endpoints:
            taking_part = [s for s in servers if endpoint in s.peer.endpoints]
            for server in shuffle.sample(taking_part, len(taking_part)):
                found = bench.measure(server, endpoint, seconds, number)
                if number:
                    yield found
        done = f"round {number} of {options.rounds}" if number else "warm"
        print(f"{done} …", file=sys.stderr, flush=True)


@contextmanager
def running(
    peers: Sequence[Peer], pace: Mapping[str, str]
) -> Iterator[tuple[list[Server], Tool, Tool]]:
    """Give the servers of the peers, a sink and a load for them; end all of it with the block.

    Args:
        peers: Each gets a server, on the core that is the servers'.
        pace: Variables that say when they export.
    """
    server_core, other_core = cores()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="glam-bench-")))
        make_database(work / "items.sqlite3")
        sink = stack.enter_context(Tool("benchmarks.sink", other_core))
        load = stack.enter_context(Tool("benchmarks.load", other_core))
        port = sink.read()
        servers = [
            stack.enter_context(start_server(peer, work, port, server_core, pace)) for peer in peers
        ]
        yield servers, sink, load


def run(options: Options) -> tuple[list[Slice], dict[str, float]]:
    """Start everything, measure, end everything; returns each peer's memory in MiB as well."""
    server_core, _ = cores()
    with (
        Tool("benchmarks.speed", server_core) as speed,
        running(options.peers, _SOON) as (servers, sink, load),
    ):
        slices = list(run_rounds(options, servers, Bench(load, sink, speed, _CONNECTIONS)))
        return slices, {server.peer.name: server.resident_mib() for server in servers}


def stop_once(*_: object) -> None:
    """Leave the run at the first signal, and let nothing disturb the ending of its processes."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    raise KeyboardInterrupt


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table; 1 when a request failed."""
    options = read_options(arguments)
    if sys.platform != "linux":
        print("The benchmark reads another process's CPU clock, which only Linux has.")
        return 2
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, stop_once)
    try:
        slices, memory = run(options)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    if options.json_file is not None:
        options.json_file.write_text(json.dumps([asdict(one) for one in slices]))
    if options.svg_file is not None:
        options.svg_file.write_text(svg(bars(slices)))
    for peer in options.peers:
        print(f"- {peer.name}: {peer.note}")
    print(f"\n{surroundings()}\n{markdown(slices)}")
    resident = ", ".join(f"{peer} {mib:.0f}" for peer, mib in memory.items())
    print(f"\nResident memory after all rounds, MiB: {resident}.")
    return 1 if any(one.failed for one in slices) else 0


if __name__ == "__main__":
    sys.exit(main())
