"""Provide lean tracers where the SDK's are asked for."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import Tracer
from opentelemetry.util.types import Attributes

from glam_sdk.telemetry.pipeline.lean.handover import Handover
from glam_sdk.telemetry.pipeline.lean.tracer import LeanTracer
from glam_sdk.telemetry.pipeline.shared_resource import SharedResourceTracerProvider


class LeanTracerProvider(SharedResourceTracerProvider):
    """Be the SDK's provider in everything but its tracers.

    Sampler, limits, ids, configurator, resource and processors are set as there; instrumentations
    that look for the SDK's class find it.
    """

    def __init__(self, **settings: Any) -> None:
        handover = Handover(settings.pop("active_span_processor", None))
        super().__init__(active_span_processor=handover, **settings)
        self._handover = handover
        self._known: dict[tuple[str, str | None, str | None], trace.Tracer] = {}

    def get_tracer(
        self,
        instrumenting_module_name: str,
        instrumenting_library_version: str | None = None,
        schema_url: str | None = None,
        attributes: Attributes = None,
    ) -> trace.Tracer:
        """Return the tracer of a scope; the same one each time."""
        key = (instrumenting_module_name, instrumenting_library_version, schema_url)
        known = None if attributes else self._known.get(key)
        if known is not None:
            return known
        tracer = self._lean(super().get_tracer(*key, attributes))
        if not attributes:
            self._known[key] = tracer
        return tracer

    def _lean(self, tracer: trace.Tracer) -> trace.Tracer:
        if not isinstance(tracer, Tracer):
            return tracer  # the SDK is switched off
        with self._tracers_lock:
            scope = tracer._instrumentation_scope  # noqa: SLF001 - no public way to see it
            found = self._tracers[scope]
            if not isinstance(found, LeanTracer):
                found = self._tracers[scope] = LeanTracer(found, self._handover)
        return found
