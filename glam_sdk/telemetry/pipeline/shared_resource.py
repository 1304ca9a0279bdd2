"""Keep one resource for all signals, also in a forked process.

The SDK's providers each turn to a copy after a fork, whose instance id is a new one even where the
service was given its own, and whose other attributes are those of the parent. Here all hold the
very same resource, which :func:`glam_sdk.telemetry.pipeline.forking.renew_identity` renews.
"""

from __future__ import annotations

from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from glam_sdk.telemetry import conventions as conv


class SharedResourceTracerProvider(TracerProvider):
    """Renew the resource itself after a fork."""

    def _update_resource(self, resource: Resource) -> None:
        _renew(self._resource, resource)


class SharedResourceMeterProvider(MeterProvider):
    """Renew the resource itself after a fork."""

    def _update_resource(self, resource: Resource) -> None:
        _renew(self._sdk_config.resource, resource)


class SharedResourceLoggerProvider(LoggerProvider):
    """Renew the resource itself after a fork."""

    def _update_resource(self, resource: Resource) -> None:
        _renew(self._resource, resource)


def _renew(shared: Resource, found: Resource) -> None:
    """Take over what detectors have found in the child, except for its instance id."""
    more = {key: each for key, each in found.attributes.items() if key != conv.SERVICE_INSTANCE_ID}
    if more:
        shared._attributes = shared.merge(Resource(more))._attributes  # noqa: SLF001 - it has no public setter
