"""Keep the one start-up call that services moving over still make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from glam_sdk.runtime.bootstrap import init
from glam_sdk.runtime.service import Service

if TYPE_CHECKING:
    from fastapi import FastAPI


def setup_middleware(
    app: FastAPI,
    *,
    service_name: str,
    enable_tracing: bool = True,
    enable_metrics: bool = True,
    metrics_path: str = "/metrics",
) -> Service:
    """Call ``init(service_name)`` and ``install(app)``; write these two lines in new code.

    Args:
        app: The application.
        service_name: Given to ``init``.
        enable_tracing: False: spans are not exported; log lines keep their trace ids.
        enable_metrics: False: metrics are not pushed; the scrape stays.
        metrics_path: Path of the scrape.
    """
    telemetry: dict[str, Any] = {}
    if not enable_tracing:
        telemetry["traces_exporter"] = ["none"]
    if not enable_metrics:
        telemetry["metrics_exporter"] = ["none"]
    service = init(
        service_name, overrides={"http": {"metrics_path": metrics_path}, "telemetry": telemetry}
    )
    service.install(app)
    return service
