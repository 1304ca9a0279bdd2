"""Begin anew in a forked process: an instance id of its own, and counts from zero.

A server that loads the application before it forks gives each worker a copy of what was measured
until then; kept, it would count once for every worker. Locks that another thread held at the fork
would never be released.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.resources import Resource

from glam_sdk._internal.ids import uuid7
from glam_sdk.telemetry import conventions as conv


def renew_identity(resource: Resource, *, keeps_instance_id: bool = False) -> None:
    """Give the resource, which all three signals share, the identity of this process."""
    attributes = dict(resource.attributes)
    if not keeps_instance_id:
        attributes[conv.SERVICE_INSTANCE_ID] = str(uuid7())
    attributes["process.pid"] = os.getpid()
    resource._attributes = Resource(attributes, resource.schema_url).attributes  # type: ignore[assignment]  # noqa: SLF001 - providers and tracers hold this very object


def forget_measurements(provider: MeterProvider, reader: Any) -> None:
    """Empty the provider's storage for a reader, with new locks."""
    provider._meter_lock = threading.Lock()  # noqa: SLF001 - the SDK has no fork support here
    for meter in provider._meters.values():  # noqa: SLF001
        meter._instrument_registration_lock = threading.Lock()  # noqa: SLF001
    consumer: Any = provider._measurement_consumer  # noqa: SLF001
    consumer._lock = threading.Lock()  # noqa: SLF001
    storages = dict(consumer._reader_storages)  # noqa: SLF001
    storages.pop(reader, None)
    consumer._reader_storages = storages  # noqa: SLF001
    consumer.add_metric_reader(reader)


def call_before_fork(method: Callable[[], None]) -> None:
    """Call a method in the parent before each fork, for as long as its object lives."""
    _at_fork("before", method)


def call_in_child(method: Callable[[], None]) -> None:
    """Call a method in each forked child, for as long as its object lives."""
    _at_fork("after_in_child", method)


def _at_fork(moment: str, method: Callable[[], None]) -> None:
    weak = weakref.WeakMethod(method)

    def call() -> None:
        if (found := weak()) is not None:
            found()

    if hasattr(os, "register_at_fork"):  # Windows has none
        register: Any = os.register_at_fork
        register(**{moment: call})
