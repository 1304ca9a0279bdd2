"""Name the applications that are compared, and the requests they get."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ENDPOINTS: Final = {"ping": "/ping", "items": "/items/*", "db": "/db/*"}
"""Path of each endpoint; ``*`` runs through the ids 1 to 1000."""

_ELSEWHERE: Final = Path(__file__).resolve().parent.parent / ".venv" / "peers" / "bin" / "python"
"""Interpreter of the peers that want other versions than ours; see the README for the command."""

_TENTH: Final = {
    "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
    "OTEL_TRACES_SAMPLER_ARG": "0.1",
}
_STABLE: Final = {"OTEL_SEMCONV_STABILITY_OPT_IN": "http,database"}


@dataclass(frozen=True, slots=True)
class Peer:
    """Say how one application is started.

    Args:
        name: What the tables call it.
        module: The module of ``benchmarks.apps`` that has it.
        note: What it does, in a few words.
        environment: Added to what all peers get.
        endpoints: The endpoints at which it differs from another peer.
        by_default: Whether it runs when no peers are chosen.
        sampled: Share of the requests that have spans.
        python: Its interpreter.
        base: The peer that it is compared to.
    """

    name: str
    module: str
    note: str
    environment: Mapping[str, str] = field(default_factory=dict)
    endpoints: tuple[str, ...] = tuple(ENDPOINTS)
    by_default: bool = True
    sampled: float = 1.0
    python: Path = Path(sys.executable)
    base: str = "bare"


_ALL: Final = (
    Peer("bare", "bare", "FastAPI, no telemetry, no log lines"),
    Peer(
        "bare-again",
        "bare",
        "the same once more: what two equal servers differ by",
        by_default=False,
    ),
    Peer(
        "bare-frozen",
        "bare",
        "bare, and the garbage collector leaves alone what exists at start, as glam has it",
        {"BENCH_GC_FREEZE": "1"},
        by_default=False,
    ),
    Peer("stock", "stock", "OpenTelemetry's FastAPI instrumentation, defaults", _STABLE),
    Peer(
        "stock-lean",
        "stock",
        "the same without spans for send and receive",
        {**_STABLE, "BENCH_EXCLUDE": "1"},
        by_default=False,
    ),
    Peer("native", "native", "FastAPI's own telemetry, operation spans off"),
    Peer(
        "glam",
        "glam",
        "glam_sdk: traces, metrics, JSON lines, one of them the access log",
        {"OTEL_LOGS_EXPORTER": "none"},
    ),
    Peer("glam-logs", "glam", "the same, each line exported by OTLP as well"),
    Peer(
        "glam-10",
        "glam",
        "glam, a tenth of the traces sampled",
        {"OTEL_LOGS_EXPORTER": "none", **_TENTH},
        ("ping",),
        sampled=0.1,
    ),
    Peer(
        "glam-sdk",
        "glam",
        "glam with the plain SDK's spans",
        {"OTEL_LOGS_EXPORTER": "none", "GLAM_TELEMETRY__SPAN_PIPELINE": "sdk"},
        by_default=False,
    ),
    Peer(
        "glam-uow",
        "glam",
        "glam, reading in a read-only unit of work",
        {"OTEL_LOGS_EXPORTER": "none", "BENCH_UNIT_OF_WORK": "1"},
        ("db",),
        by_default=False,
    ),
    Peer(
        "logfire",
        "logfire_app",
        "Pydantic Logfire, exporting by OTLP only",
        python=_ELSEWHERE,
        by_default=False,
    ),
    Peer(
        "litestar-bare",
        "litestar_app",
        "Litestar, no telemetry, no log lines",
        {"BENCH_BARE": "1"},
        python=_ELSEWHERE,
        base="litestar-bare",
        by_default=False,
    ),
    Peer(
        "litestar",
        "litestar_app",
        "Litestar with its OpenTelemetry plugin, compared to its own bare",
        python=_ELSEWHERE,
        base="litestar-bare",
        by_default=False,
    ),
)
PEERS: Final = {peer.name: peer for peer in _ALL}


def choose(names: str) -> list[Peer]:
    """Return the peers of a comma-separated list and what they are compared to, ``bare`` first.

    An empty list stands for the default ones. A peer that is not installed is left out, and a line
    on standard error says so.

    Raises:
        ValueError: If a name is unknown.
    """
    wanted = {word.strip() for word in names.split(",") if word.strip()}
    if unknown := wanted - set(PEERS):
        raise ValueError(f"No such peer: {', '.join(sorted(unknown))}. Known: {', '.join(PEERS)}.")
    if not wanted:
        return [peer for peer in _ALL if peer.by_default]
    wanted |= {"bare", *(PEERS[name].base for name in wanted)}
    found = []
    for peer in (peer for peer in _ALL if peer.name in wanted):
        if peer.python.exists():
            found.append(peer)
        else:
            reason = f"{peer.python} is not there; benchmarks/README.md says how to make it"
            print(f"{peer.name} is left out: {reason}.", file=sys.stderr)
    return found
