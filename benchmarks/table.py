"""Make a table of many slices."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from benchmarks.measure import Slice
from benchmarks.peers import PEERS

_HEAD = (
    "| peer | CPU µs/request | over bare | ratio to bare | spans/request | log bytes/request "
    "| requests/s |\n|---|---|---|---|---|---|---|"
)


def quiet_speed_ms(slices: Sequence[Slice]) -> float:
    """Return what the monitor's work takes when the machine is quiet: the fastest twentieth."""
    found = sorted(one.speed_ms for one in slices)
    return found[len(found) // 20]


def markdown(slices: Sequence[Slice]) -> str:
    """Return one table an endpoint: medians over the rounds, in brackets lowest and highest."""
    quiet_ms = quiet_speed_ms(slices)
    speeds = [one.speed_ms for one in slices]
    middle, worst = median(speeds), max(speeds)
    text = [f"Speed monitor, ms: {quiet_ms:.3f} quiet, {middle:.3f} median, {worst:.3f} worst."]
    for endpoint in dict.fromkeys(one.endpoint for one in slices):
        here = [one for one in slices if one.endpoint == endpoint]
        text += ["", f"### /{endpoint}", "", _HEAD]
        for peer in [name for name in PEERS if any(one.peer == name for one in here)]:
            base = PEERS[peer].base
            bare = {one.round: _cpu_us(one, quiet_ms) for one in here if one.peer == base}
            text.append(_row([one for one in here if one.peer == peer], bare, quiet_ms))
    return "\n".join([*text, *_warnings(slices)])


def _cpu_us(one: Slice, quiet_ms: float) -> float:
    return one.cpu_us * quiet_ms / one.speed_ms


def _row(slices: Sequence[Slice], bare: dict[int, float], quiet_ms: float) -> str:
    cpu = [_cpu_us(one, quiet_ms) for one in slices]
    over = [_cpu_us(one, quiet_ms) - bare[one.round] for one in slices]
    ratio = [_cpu_us(one, quiet_ms) / bare[one.round] for one in slices]
    is_bare = slices[0].peer == PEERS[slices[0].peer].base
    cells = [
        slices[0].peer,
        cell(cpu, ".0f"),
        "" if is_bare else cell(over, "+.0f"),
        "" if is_bare else cell(ratio, ".2f"),
        f"{_per_request(slices, 'spans'):.2f}",
        f"{_per_request(slices, 'log_bytes'):.0f}",
        cell([one.requests_per_s for one in slices], ".0f"),
    ]
    return f"| {' | '.join(cells)} |"


def cell(values: Sequence[float], form: str) -> str:
    """Return the median of some values and, in brackets, the lowest and highest."""
    return f"{median(values):{form}} ({min(values):{form}}…{max(values):{form}})"


def _per_request(slices: Sequence[Slice], name: str) -> float:
    total: float = sum(getattr(one, name) * one.requests for one in slices)
    return total / sum(one.requests for one in slices)


def _warnings(slices: Sequence[Slice]) -> list[str]:
    """Say where the figures are worth nothing: failed requests, and spans that got lost."""
    found = []
    for peer, endpoint in dict.fromkeys((one.peer, one.endpoint) for one in slices):
        here = [one for one in slices if (one.peer, one.endpoint) == (peer, endpoint)]
        if failed := sum(one.failed for one in here):
            found.append(f"WARNING: {peer} failed {failed} requests at /{endpoint}.")
        if PEERS[peer].sampled < 1:
            continue
        spans = _per_request(here, "spans")
        if abs(spans - round(spans)) > 0.01:
            found.append(f"WARNING: {peer} lost spans at /{endpoint}; what is lost was not paid.")
    return ["", *found] if found else []
