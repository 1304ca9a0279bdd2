"""Keep one resource for all signals, also in a forked process."""

from __future__ import annotations

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider


class SharedResourceTracerProvider(TracerProvider):
    """Renew the resource itself after a fork.

    The SDK's provider turns to a copy, which would keep the identity of the parent: see
    :func:`glam_sdk.telemetry.pipeline.forking.renew_identity`.
    """

    def _update_resource(self, resource: Resource) -> None:
        with self._tracers_lock:
            merged = self._resource.merge(resource)
            self._resource._attributes = merged._attributes  # noqa: SLF001 - it has no public setter
