"""Serve the work with no telemetry and no logging: what every other peer is compared to."""

from __future__ import annotations

from fastapi import FastAPI

from benchmarks.apps.work import add_routes, make_engine, plain_sessions

app = FastAPI()
add_routes(app, plain_sessions(make_engine()))
