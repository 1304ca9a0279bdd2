"""Watch how fast the server's core is, from a process of its own that is pinned to it.

On a shared machine the same code takes one to two times the CPU time, depending on the neighbours
and changing within tenths of a second. A fixed piece of work, timed every 40 ms, says by how much.

A line ``<start> <end>`` (monotonic seconds) on standard input is answered with the mean CPU
milliseconds of the work in between. It ends with its standard input.
"""

from __future__ import annotations

import select
import sys
import time
from statistics import fmean
from typing import Final

_PERIOD_S: Final = 0.04


def work() -> int:
    """Do the fixed work and return the CPU nanoseconds it took."""
    started = time.thread_time_ns()
    counts: dict[str, int] = {}
    for i in range(900):
        key = f"k{i & 255}"
        counts[key] = counts.get(key, 0) + len([i, key, i & 3])
    return time.thread_time_ns() - started


def answer(line: str, samples: list[tuple[float, int]]) -> str:
    """Return the mean of the samples between the two moments of a line."""
    start, end = map(float, line.split())
    inside = [taken for at, taken in samples if start <= at <= end]
    return f"{fmean(inside) / 1e6:.6f}" if inside else "nan"


def main() -> None:
    """Sample and answer until standard input ends."""
    samples: list[tuple[float, int]] = []
    poll = select.poll()
    poll.register(sys.stdin, select.POLLIN)
    due = time.monotonic()
    while True:
        due = max(due + _PERIOD_S, time.monotonic())
        if poll.poll(max(0.0, (due - time.monotonic()) * 1000)):
            line = sys.stdin.readline()
            if not line:
                return
            print(answer(line, samples), flush=True)
            samples.clear()
        else:
            work()  # fills the caches for the run that counts
            samples.append((time.monotonic(), work()))


if __name__ == "__main__":
    main()
