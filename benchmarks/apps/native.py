"""Serve the work with FastAPI's own telemetry, without its spans for parts of an operation."""

from __future__ import annotations

from fastapi import FastAPI

from benchmarks.apps.otel import set_up_logging, set_up_providers
from benchmarks.apps.work import add_routes, make_engine, plain_sessions

set_up_providers()
app = FastAPI(telemetry={"operation_spans": False})
add_routes(app, plain_sessions(make_engine()), set_up_logging())
