"""Speak OpenTelemetry for every other layer: names, spans, instruments, propagation, logs."""
