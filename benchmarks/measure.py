"""Load one server for a moment and see what it cost."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass

from benchmarks.peers import ENDPOINTS
from benchmarks.processes import Server, Tool


@dataclass(frozen=True, slots=True)
class Slice:
    """Hold what one short load on one endpoint of one peer gave.

    Attributes:
        cpu_us: CPU µs of the server per request, until it was quiet again.
        speed_ms: What the speed monitor's work took meanwhile, in CPU milliseconds.
        spans: Spans per request that the sink received; likewise log records and metrics.
        log_bytes: Bytes per request written to standard output.
    """

    round: int
    peer: str
    endpoint: str
    requests: int
    failed: int
    requests_per_s: float
    cpu_us: float
    speed_ms: float
    spans: float
    log_records: float
    metrics: float
    log_bytes: float


@dataclass(frozen=True, slots=True)
class Bench:
    """Hold the tools of a run."""

    load: Tool
    sink: Tool
    speed: Tool
    connections: int

    def measure(self, server: Server, endpoint: str, seconds: float, number: int) -> Slice:
        """Load an endpoint of a server.

        Args:
            server: What to load.
            endpoint: Name of the endpoint.
            seconds: How long requests are sent.
            number: Of the round.

        Raises:
            RuntimeError: If the server answered nothing at all.
        """
        received, written, cpu_s = self._received(server), server.log_bytes(), server.cpu_s()
        started = time.monotonic()
        job = {
            "port": server.port,
            "path": ENDPOINTS[endpoint],
            "seconds": seconds,
            "connections": self.connections,
        }
        done: dict[str, float] = json.loads(self.load.ask(json.dumps(job)))
        speed_ms = float(self.speed.ask(f"{started} {time.monotonic()}"))
        server.wait_until_quiet()
        cpu_s = server.cpu_s() - cpu_s
        arrived = [a - b for a, b in zip(self._received(server), received, strict=True)]
        requests = int(done["requests"])
        if not requests:
            raise RuntimeError(f"Peer {server.peer.name} answered nothing at {endpoint}.")
        return Slice(
            round=number,
            peer=server.peer.name,
            endpoint=endpoint,
            requests=requests,
            failed=int(done["failed"]),
            requests_per_s=requests / done["elapsed_s"],
            cpu_us=cpu_s / requests * 1e6,
            speed_ms=speed_ms,
            spans=arrived[0] / requests,
            log_records=arrived[1] / requests,
            metrics=arrived[2] / requests,
            log_bytes=(server.log_bytes() - written) / requests,
        )

    def _received(self, server: Server) -> tuple[int, int, int]:
        counts: dict[str, int] = json.loads(self.sink.ask("counts"))
        name = server.peer.name
        return (
            counts.get(f"{name}/traces", 0),
            counts.get(f"{name}/logs", 0),
            counts.get(f"{name}/metrics", 0),
        )
