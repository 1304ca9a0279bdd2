"""Find what no exporter can encode, so that one odd metric does not cost every push."""

from __future__ import annotations

import logging
from dataclasses import replace

from opentelemetry.sdk.metrics.export import Metric, MetricsData, ResourceMetrics, ScopeMetrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

_log = logging.getLogger("glam_sdk.telemetry")


class Encodable:
    """Leave out of a push what failed to be encoded once, for as long as it fails."""

    def __init__(self) -> None:
        self._suspects: set[str] = set()

    def known(self, data: MetricsData) -> MetricsData:
        """Return the data without the suspects that still fail."""
        return self._left(data, everything=False) if self._suspects else data

    def searched(self, data: MetricsData) -> MetricsData | None:
        """Return the data without what fails, or None where nothing does."""
        before = set(self._suspects)
        left = self._left(data, everything=True)
        return left if self._suspects != before else None

    def _left(self, data: MetricsData, *, everything: bool) -> MetricsData:
        resources = []
        for resource in data.resource_metrics:
            scopes = [
                replace(
                    scope,
                    metrics=[
                        metric
                        for metric in scope.metrics
                        if not (everything or metric.name in self._suspects)
                        or self._is_encodable(metric)
                    ],
                )
                for scope in resource.scope_metrics
            ]
            resources.append(replace(resource, scope_metrics=scopes))
        return MetricsData(resource_metrics=resources)

    def _is_encodable(self, metric: Metric) -> bool:
        # Imported here: a service that only answers scrapes does without it.
        from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics

        scope = ScopeMetrics(InstrumentationScope("test"), [metric], "")
        alone = MetricsData([ResourceMetrics(Resource({}), [scope], "")])
        try:
            encode_metrics(alone).SerializeToString()
        except Exception:  # noqa: BLE001 - whatever it is, this metric is the one
            if metric.name not in self._suspects:
                self._suspects.add(metric.name)
                extra = {"metric": metric.name}
                _log.warning("metrics.not_exportable", extra=extra, exc_info=True)
            return False
        return True
