"""Build the OpenTelemetry SDK from settings; nothing else in the package touches it."""

from __future__ import annotations

from glam_sdk.telemetry.pipeline.setup import Pipeline, configure

__all__ = ["Pipeline", "configure"]
