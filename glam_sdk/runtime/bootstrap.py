"""Start the telemetry of a process with one call, and end it."""

from __future__ import annotations

import atexit
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from glam_sdk.config import Settings, export_otel_variables, load_settings, notes
from glam_sdk.errors import ConfigurationError, GlamBaseError
from glam_sdk.runtime import state
from glam_sdk.runtime.service import Service
from glam_sdk.telemetry.logs import get_logger
from glam_sdk.telemetry.pipeline import Pipeline, configure


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
    with state.lock:
        running = state.current()
        if running is not None:
            if running.name != service_name:
                raise ConfigurationError(
                    f"This process already runs as {running.name!r}, so init({service_name!r}) "
                    "was refused. Call init once per process, or shutdown() in between."
                )
            return running
        merged = _with_arguments(overrides, version=version, namespace=namespace)
        try:
            settings = load_settings(service_name, overrides=merged, env_prefix=env_prefix)
        except ConfigurationError:
            _print_our_errors_plainly()
            raise
        service = Service(settings, _pipeline_for(settings))
        for note in notes(settings):
            get_logger("glam_sdk.config").warning("config.note", note=note)
        state.set_current(service)
        atexit.register(shutdown)
        return service


def prepare() -> None:
    """Build the pipeline before the application is loaded; a later ``init`` takes it over.

    Without ``OTEL_SERVICE_NAME`` the service is ``unknown_service``, as the specification says.
    """
    with state.lock:
        if state.current() is not None or state.prepared() is not None:
            return
        settings = load_settings("unknown_service")
        if settings.telemetry.otel_service_name:
            settings = load_settings(settings.telemetry.otel_service_name)
        export_otel_variables(settings)
        state.set_prepared(configure(settings))
        atexit.register(shutdown)


def _pipeline_for(settings: Settings) -> Pipeline:
    export_otel_variables(settings)
    pipeline = state.prepared()
    if pipeline is None:
        return configure(settings)
    state.set_prepared(None)
    pipeline.take_over(settings)
    return pipeline


def shutdown() -> list[str]:
    """Export what is waiting and end the telemetry of this process, within the deadline.

    Returns:
        The signals that could not be exported in time; empty when all went out or nothing ran.
    """
    with state.lock:
        service, pipeline = state.current(), state.prepared()
        state.set_current(None)
        state.set_prepared(None)
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


def _print_our_errors_plainly() -> None:
    """Let an uncaught error of ours end the process with its message, without a traceback.

    Set only once a start has failed: the message already says what is wrong and where.
    """
    previous = sys.excepthook

    def hook(kind: type[BaseException], exc: BaseException, trace: TracebackType | None) -> None:
        if isinstance(exc, GlamBaseError):
            sys.stderr.write(f"{exc.code}: {exc.message}\n")
        else:
            previous(kind, exc, trace)

    sys.excepthook = hook
