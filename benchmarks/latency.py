"""Compare how long requests wait at a fixed rate: ``python -m benchmarks.latency``.

As in ``make bench`` all servers run at once and take turns in a fresh random order each round. The
rate is a share of what the bare application answered when it was asked for as much as it gives.
Exports run at their default intervals, as they would in production.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.arrivals import Waits
from benchmarks.http import cores, running, surroundings
from benchmarks.peers import ENDPOINTS, PEERS, Peer, choose
from benchmarks.processes import Server, Tool
from benchmarks.table import cell

_CONNECTIONS = 32
_WARM_UP_S = 1.5
_LAST_BATCH_S = 7.0  # spans wait five seconds for others at most
_HEAD = (
    "| peer | half wait at most, ms | over bare, times | 99 % wait at most, ms | over bare, times "
    "| spans/request |\n|---|---|---|---|---|---|"
)


@dataclass(frozen=True, slots=True)
class Options:
    """Hold what was asked for on the command line."""

    peers: list[Peer]
    endpoint: str
    rounds: int
    seconds: float
    share: float
    rate: float | None


@dataclass(frozen=True, slots=True)
class Turn:
    """Hold one turn of one peer."""

    round: int
    peer: str
    waits: Waits


@dataclass(frozen=True, slots=True)
class Found:
    """Hold what a run gave.

    Attributes:
        rate: Requests a second.
        turns: All turns but those of the warm-up.
        spans: By peer, the spans that reached the sink per request, of the whole run.
    """

    rate: float
    turns: list[Turn]
    spans: dict[str, float]


def read_options(arguments: Sequence[str] | None) -> Options:
    """Read the command line; on a mistake, say so and end the process."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.latency", description=(__doc__ or "").split("\n\n")[0]
    )
    parser.add_argument("--rounds", type=int, default=12, help="turns of a peer (%(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a turn (%(default)s)")
    parser.add_argument("--peers", default="bare-again,native,glam,glam-logs", help="(%(default)s)")
    parser.add_argument("--endpoint", default="ping", choices=ENDPOINTS, help="(%(default)s)")
    parser.add_argument("--share", type=float, default=0.4, help="of bare's most (%(default)s)")
    parser.add_argument("--rate", type=float, help="requests a second, in place of the share")
    given = parser.parse_args(arguments)
    if given.rounds < 1 or given.seconds < 0.2 or not 0 < given.share < 1:
        parser.error("At least one round, 0.2 seconds and a share between 0 and 1 are needed.")
    try:
        peers = choose(given.peers)
    except ValueError as exc:
        parser.error(str(exc))
    return Options(peers, given.endpoint, given.rounds, given.seconds, given.share, given.rate)


def most(load: Tool, server: Server, endpoint: str) -> float:
    """Return the requests a second that a server answers when it is asked for all it gives."""
    job = {"port": server.port, "path": ENDPOINTS[endpoint], "seconds": 2.0, "connections": 16}
    load.ask(json.dumps({**job, "seconds": _WARM_UP_S}))
    done: dict[str, float] = json.loads(load.ask(json.dumps(job)))
    return done["requests"] / done["elapsed_s"]


def turns(
    options: Options, servers: Sequence[Server], rate: float, arrivals: Tool
) -> Iterator[Turn]:
    """Yield turn after turn; the first round, 0, warms up."""
    shuffle = random.Random(1)  # noqa: S311 - an order, not a secret
    for number in range(options.rounds + 1):
        for server in shuffle.sample(servers, len(servers)):
            job = {
                "port": server.port,
                "path": ENDPOINTS[options.endpoint],
                "seconds": options.seconds if number else _WARM_UP_S,
                "rate": rate,
                "connections": _CONNECTIONS,
            }
            waits = Waits(**json.loads(arrivals.ask(json.dumps(job))))
            server.wait_until_quiet()
            yield Turn(number, server.peer.name, waits)
        print(f"round {number} of {options.rounds} …", file=sys.stderr, flush=True)


def run(options: Options) -> Found:
    """Start everything, measure, end everything."""
    _, other_core = cores()
    with (
        Tool("benchmarks.arrivals", other_core) as arrivals,
        running(options.peers, {}) as (servers, sink, load),
    ):
        rate = options.rate or options.share * most(load, servers[0], options.endpoint)
        found = list(turns(options, servers, rate, arrivals))
        time.sleep(_LAST_BATCH_S)
        arrived: dict[str, int] = json.loads(sink.ask("counts"))
    sent: Counter[str] = Counter()
    for turn in found:
        sent[turn.peer] += turn.waits.requests
    spans = {peer: arrived.get(f"{peer}/traces", 0) / number for peer, number in sent.items()}
    return Found(rate, [turn for turn in found if turn.round], spans)


def markdown(found: Found) -> str:
    """Return a table: medians over the rounds, in brackets lowest and highest."""
    waits = {(one.peer, one.round): one.waits for one in found.turns}
    lines = [_HEAD]
    for peer, spans in found.spans.items():
        base = PEERS[peer].base
        own = [one for one in found.turns if one.peer == peer]
        middle = [one.waits.middle_ms / waits[base, one.round].middle_ms for one in own]
        late = [one.waits.late_ms / waits[base, one.round].late_ms for one in own]
        cells = [
            peer,
            cell([one.waits.middle_ms for one in own], ".2f"),
            "" if peer == base else cell(middle, ".2f"),
            cell([one.waits.late_ms for one in own], ".2f"),
            "" if peer == base else cell(late, ".2f"),
            f"{spans:.4f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table; 1 when a request failed."""
    options = read_options(arguments)
    if sys.platform != "linux":
        print("The benchmark reads another process's CPU clock, which only Linux has.")
        return 2
    try:
        found = run(options)
    except KeyboardInterrupt:
        print("Stopped.", file=sys.stderr)
        return 130
    failed = sum(one.waits.failed for one in found.turns)
    print(
        f"/{options.endpoint} at {found.rate:.0f} requests/s; {failed} failed. {surroundings()}\n"
    )
    print(markdown(found))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
