"""Say which service, version and instance the telemetry comes from."""

from __future__ import annotations

import os

from opentelemetry.sdk.resources import Resource

from glam_sdk._internal.ids import uuid7
from glam_sdk._internal.version import __version__
from glam_sdk.config import Settings
from glam_sdk.telemetry import conventions as conv


def build_resource(settings: Settings) -> Resource:
    """Return the resource; ``OTEL_RESOURCE_ATTRIBUTES`` and ``OTEL_SERVICE_NAME`` beat code.

    ``service.instance.id`` is a new UUID for each process, so that two workers of one service
    never write the same series.
    """
    service = settings.service
    attributes: dict[str, str | int] = {
        conv.SERVICE_NAME: service.name,
        conv.SERVICE_VERSION: service.version,
        conv.SERVICE_INSTANCE_ID: service.instance_id or str(uuid7()),
        conv.DEPLOYMENT_ENVIRONMENT_NAME: service.environment,
        conv.TELEMETRY_DISTRO_NAME: "glam_sdk",
        conv.TELEMETRY_DISTRO_VERSION: __version__,
        "process.pid": os.getpid(),
    }
    if service.namespace:
        attributes[conv.SERVICE_NAMESPACE] = service.namespace
    attributes.update(settings.telemetry.resource_attributes)
    if settings.telemetry.otel_service_name:
        attributes[conv.SERVICE_NAME] = settings.telemetry.otel_service_name
    return Resource.create(attributes)
