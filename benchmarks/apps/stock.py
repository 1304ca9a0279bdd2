"""Serve the work with OpenTelemetry's instrumentation of FastAPI.

``BENCH_EXCLUDE=1`` leaves out the spans for ASGI's send and receive.
"""

from __future__ import annotations

import os

from fastapi import FastAPI
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

from benchmarks.apps.otel import set_up_logging, set_up_providers
from benchmarks.apps.work import add_routes, make_engine, plain_sessions

set_up_providers()
app = FastAPI()
add_routes(app, plain_sessions(make_engine()), set_up_logging())
if os.environ.get("BENCH_EXCLUDE") == "1":
    FastAPIInstrumentor.instrument_app(app, exclude_spans=["send", "receive"])
else:
    FastAPIInstrumentor.instrument_app(app)
