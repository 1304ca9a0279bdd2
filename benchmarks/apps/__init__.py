"""Serve the same work with the telemetry of each peer."""
