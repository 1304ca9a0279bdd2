"""Draw what each peer costs over bare as an SVG: one group of bars an endpoint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from benchmarks.measure import Slice
from benchmarks.peers import ENDPOINTS, PEERS
from benchmarks.table import quiet_speed_ms

_WIDTH: Final = 720
_LEFT: Final = 110
_RIGHT: Final = 90
_BAR: Final = 18
_GAP: Final = 6
_GROUP: Final = 34
_COLOURS: Final = {"glam": "#1b7f5c", "other": "#9aa5b1"}


@dataclass(frozen=True, slots=True)
class Bar:
    """Hold one bar: what a peer costs at an endpoint over the bare application."""

    endpoint: str
    peer: str
    over_us: float


def bars(slices: Sequence[Slice]) -> list[Bar]:
    """Return the median over the rounds of what each peer costs over bare, in CPU µs a request."""
    quiet_ms = quiet_speed_ms(slices)

    def cost(one: Slice) -> float:
        return one.cpu_us * quiet_ms / one.speed_ms

    costs = {(s.peer, s.endpoint, s.round): cost(s) for s in slices}
    over: dict[tuple[str, str], list[float]] = {}
    for one in slices:
        base = PEERS[one.peer].base
        if one.peer != base:
            spent = cost(one) - costs[base, one.endpoint, one.round]
            over.setdefault((one.endpoint, one.peer), []).append(spent)
    return [
        Bar(endpoint, peer, median(over[endpoint, peer]))
        for endpoint in ENDPOINTS
        for peer in PEERS
        if (endpoint, peer) in over
    ]


def svg(found: Sequence[Bar]) -> str:
    """Return the picture; light and readable on both light and dark pages."""
    longest = max((bar.over_us for bar in found), default=1.0) or 1.0
    scale = (_WIDTH - _LEFT - _RIGHT) / longest
    parts: list[str] = []
    y = 30
    endpoint = ""
    for bar in found:
        if bar.endpoint != endpoint:
            endpoint = bar.endpoint
            y += _GROUP - _BAR if parts else 0
            parts.append(_text(8, y + 12, f"/{endpoint}", weight="bold"))
            y += _BAR + _GAP
        parts += _drawn(bar, y, scale)
        y += _BAR + _GAP
    title = "CPU µs a request over bare FastAPI (less is better)"
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y + 8}" role="img" '
        f'aria-label="{title}" font-family="system-ui, sans-serif" font-size="12">'
    )
    back = f'<rect width="{_WIDTH}" height="{y + 8}" fill="#ffffff"/>'
    return "\n".join([head, back, _text(8, 18, title, weight="bold"), *parts, "</svg>", ""])


def _drawn(bar: Bar, y: int, scale: float) -> list[str]:
    width = max(1.0, bar.over_us * scale)
    colour = _COLOURS["glam" if bar.peer.startswith("glam") else "other"]
    return [
        _text(_LEFT - 8, y + 13, bar.peer, anchor="end"),
        f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" fill="{colour}"/>',
        _text(round(_LEFT + width + 6), y + 13, f"{bar.over_us:+.0f}"),
    ]


def _text(x: int, y: int, shown: str, *, anchor: str = "start", weight: str = "normal") -> str:
    attributes: Mapping[str, object] = {
        "x": x,
        "y": y,
        "text-anchor": anchor,
        "font-weight": weight,
        "fill": "#1f2933",
    }
    written = " ".join(f'{name}="{value}"' for name, value in attributes.items())
    return f"<text {written}>{shown}</text>"
