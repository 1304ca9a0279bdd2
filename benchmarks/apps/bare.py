"""Serve the work with no telemetry and no logging: what every other peer is compared to.

``BENCH_GC_FREEZE=1`` keeps what exists at start from the garbage collector, as a service of ours
does.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from benchmarks.apps.work import add_routes, make_engine, plain_sessions


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Start, and run."""
    if os.environ.get("BENCH_GC_FREEZE") == "1":
        gc.collect()
        gc.freeze()
    yield


app = FastAPI(lifespan=lifespan)
add_routes(app, plain_sessions(make_engine()))
