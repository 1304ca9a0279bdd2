"""Run the stack of ``otel/`` without Docker: Collector, Jaeger, Prometheus and a log store."""
