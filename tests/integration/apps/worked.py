"""A service that runs in several worker processes."""

import os

import prometheus_client
from fastapi import FastAPI

import glam_sdk
from glam_sdk.telemetry.metrics import counter, gauge, histogram, up_down_counter

service = glam_sdk.init("worked")
app = service.install(FastAPI())

jobs = counter("jobs.done", unit="{job}", description="Jobs done.")
took = histogram("job.duration", unit="s", description="Duration of jobs.")
active = up_down_counter("jobs.active", unit="{job}", description="Jobs under way.")
highest = gauge("job.highest", description="Highest number.", workers="max")
levels = gauge("job.levels", description="Sum over workers.", workers="sum")
lowest = gauge("job.lowest", description="Lowest number.", workers="min")
latest = gauge("job.latest", description="Number set last.", workers="last")
mine = gauge("job.mine", description="Number of a worker.", workers="worker")
own = prometheus_client.Counter("own_jobs", "Jobs, counted the old way.")
own_sizes = prometheus_client.Histogram("own_sizes", "Sizes.", buckets=[10, 100])
own_parts = prometheus_client.Summary("own_parts", "Parts.")
own_level = prometheus_client.Gauge("own_level", "Level.", multiprocess_mode="max")
own_gauges = [
    prometheus_client.Gauge(f"own_{mode}", f"By {mode}.", multiprocess_mode=mode)
    for mode in ("max", "min", "sum", "mostrecent", "livemostrecent", "liveall")
]

# Counted before a server that preloads forks: this must not count once for each worker.
jobs.add(1000, {"when": "import"})
own.inc(1000)


@app.get("/job/{number}")
async def job(number: int) -> dict[str, int]:
    """Count a job in every way."""
    jobs.add(1)
    own.inc()
    own_sizes.observe(number)
    own_parts.observe(1)
    own_level.set(number)
    took.record(number / 1000)
    active.add(1)
    for each in (highest, lowest, latest, *own_gauges):
        each.set(number)
    mine.set(number)
    levels.set(1)
    return {"pid": os.getpid()}
