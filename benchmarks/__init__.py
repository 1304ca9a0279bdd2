"""Measure what telemetry costs a service."""
