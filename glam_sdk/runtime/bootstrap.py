"""Start the telemetry of a process with one call, and end it."""

from __future__ import annotations

import atexit
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from glam_sdk.config import (
    Settings,
    export_otel_variables,
    load_settings,
    notes,
    otel_variable_names,
)
from glam_sdk.errors import ConfigurationError
from glam_sdk.runtime import state
from glam_sdk.runtime.plain_failure import failing_plainly
from glam_sdk.runtime.service import Service
from glam_sdk.telemetry.logs import get_logger

if TYPE_CHECKING:
    from glam_sdk.telemetry.pipeline import Pipeline


def init(
    service_name: str,
    *,
    version: str | None = None,
    namespace: str | None = None,
    env_prefix: str | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> Service:
    """Configure traces, metrics, logs and propagation, and return the running service.

    Safe before or after ``FastAPI()`` is made; a second call with the same name returns the same
    service.

    Args:
        service_name: ``service.name``; ``OTEL_SERVICE_NAME`` beats it in telemetry.
        version: ``service.version``.
        namespace: ``service.namespace``.
        env_prefix: Prefix of the service's variables; by default the name in upper case, such as
            ``ORDERS_`` for ``orders`` and ``orders-service``.
        overrides: Settings that beat every other source, nested as in the YAML files.

    Raises:
        ConfigurationError: Listing every bad value with its source; or when the process is
            already another service.
    """
    with state.lock, failing_plainly():
        running = state.current()
        if running is not None:
            return _same(running, service_name)
        if state.has_ended():
            raise ConfigurationError(
                f"init({service_name!r}) was called after shutdown(). OpenTelemetry's providers "
                "can be set once in a process: call shutdown() only when the process ends."
            )
        merged = _with_arguments(overrides, version=version, namespace=namespace)
        settings = load_settings(service_name, overrides=merged, env_prefix=env_prefix)
        service = Service(settings, _pipeline_for(settings))
        state.set_current(service)
        atexit.register(shutdown)
        for note in notes(settings):
            get_logger("glam_sdk.config").warning("config.note", note=note)
        return service


def _same(running: Service, service_name: str) -> Service:
    if running.name != service_name:
        raise ConfigurationError(
            f"This process already runs as {running.name!r}, so init({service_name!r}) "
            "was refused. Call init once per process."
        )
    return running


def prepare() -> None:
    """Build the pipeline before the application is loaded; a later ``init`` takes it over.

    Without ``OTEL_SERVICE_NAME`` the service is ``unknown_service``, as the specification says.
    """
    with state.lock, failing_plainly():
        if state.current() is not None or state.prepared() is not None:
            return
        settings = load_settings("unknown_service")
        if settings.telemetry.otel_service_name:
            settings = load_settings(settings.telemetry.otel_service_name)
        state.set_prepared(_built(settings))
        atexit.register(shutdown)


def _pipeline_for(settings: Settings) -> Pipeline:
    pipeline = state.prepared()
    if pipeline is None:
        return _built(settings)
    state.set_prepared(None)
    pipeline.take_over(settings)
    return pipeline


def _built(settings: Settings) -> Pipeline:
    export_otel_variables(settings)
    try:
        # The SDK reads some of its variables when it is imported.
        from glam_sdk.telemetry.pipeline import configure

        return configure(settings)
    except ValueError as exc:
        raise ConfigurationError(
            f"OpenTelemetry refused its configuration: {exc}. Look at the OTEL_* variables that "
            f"are set: {', '.join(otel_variable_names()) or 'none'}."
        ) from exc


def shutdown() -> list[str]:
    """Export what is waiting and end the telemetry of this process, within the deadline.

    Returns:
        The signals that could not be exported in time; empty when all went out or nothing ran.
    """
    with state.lock:
        service, pipeline = state.current(), state.prepared()
        state.end()
    atexit.unregister(shutdown)
    if service is not None:
        return service.shutdown()
    if pipeline is not None:
        return pipeline.shutdown(pipeline.settings.telemetry.shutdown_timeout_s)
    return []


def _with_arguments(
    overrides: Mapping[str, Any] | None, *, version: str | None, namespace: str | None
) -> dict[str, Any]:
    merged = dict(overrides or {})
    given = {"version": version, "namespace": namespace}
    service = {key: value for key, value in given.items() if value is not None}
    if service:
        merged["service"] = {**merged.get("service", {}), **service}
    return merged
