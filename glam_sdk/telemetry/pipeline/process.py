"""Measure the process: CPU, memory, file descriptors, threads, garbage collection.

Everything is read when somebody scrapes or pushes, from ``/proc`` where there is one; between two
collections it costs nothing.
"""

from __future__ import annotations

import gc
import os
import resource as unix
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider

from glam_sdk._internal.version import __version__
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.pipeline.forking import call_in_child

_STATM: Final = Path("/proc/self/statm")
_FDS: Final = Path("/proc/self/fd")
_Read = Callable[[CallbackOptions], Iterable[Observation]]


class _Origin:
    """Be where this process began, the one it was forked from left out."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.collections: list[dict[str, int]] = [{}, {}, {}]

    def renew(self) -> None:
        self.at, self.collections = time.monotonic(), gc.get_stats()


_origin: Final = _Origin()


def observe_process(provider: MeterProvider) -> None:
    """Show the process on the scrape and in the push."""
    call_in_child(_origin.renew)
    meter = provider.get_meter("glam_sdk.process", __version__, conv.SCHEMA_URL)
    counters: list[tuple[str, str, str, _Read]] = [
        (conv.PROCESS_CPU_TIME, "s", "CPU seconds of the process.", _cpu),
        (conv.PROCESS_CONTEXT_SWITCHES, "{context_switch}", "Context switches.", _switches),
        (conv.CPYTHON_GC_COLLECTIONS, "{collection}", "Garbage collections.", _gc("collections")),
        (conv.CPYTHON_GC_COLLECTED_OBJECTS, "{object}", "Objects collected.", _gc("collected")),
        (
            conv.CPYTHON_GC_UNCOLLECTABLE_OBJECTS,
            "{object}",
            "Objects that could not be collected.",
            _gc("uncollectable"),
        ),
    ]
    for name, unit, description, read in counters:
        meter.create_observable_counter(name, [read], unit, description)
    levels: list[tuple[str, str, str, _Read]] = [
        (conv.PROCESS_MEMORY_USAGE, "By", "Physical memory in use.", _memory(1)),
        (conv.PROCESS_MEMORY_VIRTUAL, "By", "Virtual memory reserved.", _memory(0)),
        (conv.PROCESS_FILE_DESCRIPTORS, "{file_descriptor}", "Open file descriptors.", _fds),
        (conv.PROCESS_THREAD_COUNT, "{thread}", "Threads.", _threads),
    ]
    for name, unit, description, read in levels:
        meter.create_observable_up_down_counter(name, [read], unit, description)
    meter.create_observable_gauge(
        conv.PROCESS_UPTIME, [_uptime], "s", "Seconds since the process started."
    )


def _cpu(_: CallbackOptions) -> Iterable[Observation]:
    times = os.times()
    yield Observation(times.user, {conv.CPU_MODE: "user"})
    yield Observation(times.system, {conv.CPU_MODE: "system"})


def _switches(_: CallbackOptions) -> Iterable[Observation]:
    usage, key = unix.getrusage(unix.RUSAGE_SELF), conv.PROCESS_CONTEXT_SWITCH_TYPE
    yield Observation(usage.ru_nvcsw, {key: "voluntary"})
    yield Observation(usage.ru_nivcsw, {key: "involuntary"})


def _memory(field: int) -> _Read:
    def read(_: CallbackOptions) -> Iterable[Observation]:
        try:
            pages = int(_STATM.read_bytes().split()[field])
        except OSError:
            return  # no /proc: what getrusage has is the peak, which is something else
        yield Observation(pages * unix.getpagesize())

    return read


def _fds(_: CallbackOptions) -> Iterable[Observation]:
    try:
        yield Observation(len(os.listdir(_FDS)) - 1)  # noqa: PTH208 - half the cost of iterdir; one is its own
    except OSError:
        return


def _threads(_: CallbackOptions) -> Iterable[Observation]:
    yield Observation(threading.active_count())


def _gc(what: str) -> _Read:
    def read(_: CallbackOptions) -> Iterable[Observation]:
        for generation, stats in enumerate(gc.get_stats()):
            before = _origin.collections[generation].get(what, 0)
            yield Observation(stats[what] - before, {conv.CPYTHON_GC_GENERATION: generation})

    return read


def _uptime(_: CallbackOptions) -> Iterable[Observation]:
    yield Observation(round(time.monotonic() - _origin.at, 3))
