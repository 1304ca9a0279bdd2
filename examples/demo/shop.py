"""Start NATS and the three services, and end them again."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from glam_sdk.testing.nats import NatsServer
from glam_sdk.testing.processes import ServiceProcess

_TELEMETRY: Final = {
    "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
    # Batches leave quickly, so that the demo need not wait for the usual 5 and 60 seconds.
    "OTEL_BSP_SCHEDULE_DELAY": "200",
    "OTEL_BLRP_SCHEDULE_DELAY": "200",
    "OTEL_METRIC_EXPORT_INTERVAL": "1000",
}


class Shop:
    """Hold the running processes.

    Args:
        folder: Takes databases and log files.
        otlp_endpoint: Where the services send their telemetry.
        settings: Further variables for single services, by their name.
    """

    names = ("storefront", "orders", "notifications")

    def __init__(
        self,
        folder: Path,
        otlp_endpoint: str,
        *,
        settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self._folder = folder
        self._settings = settings or {}
        self._environment = {**_TELEMETRY, "OTEL_EXPORTER_OTLP_ENDPOINT": otlp_endpoint}
        self._services: dict[str, ServiceProcess] = {}
        self._running = ExitStack()
        self.nats_url = ""

    @property
    def storefront_url(self) -> str:
        """Where customers send their requests."""
        return self._services["storefront"].url

    @property
    def addresses(self) -> dict[str, str]:
        """Return host and port of each service, by its name."""
        return {name: f"127.0.0.1:{process.port}" for name, process in self._services.items()}

    @property
    def log_files(self) -> dict[str, Path]:
        """Return what each service writes to its standard output."""
        return {name: process.log_file for name, process in self._services.items()}

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            self.nats_url = starting.enter_context(NatsServer()).url
            self._start("notifications", starting)
            orders = self._start("orders", starting)
            self._start("storefront", starting, STOREFRONT_ORDERS_URL=orders.url)
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self._running.close()

    def wait_for_interrupt(self) -> None:
        """Block until Ctrl-C."""
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.pause()

    def _start(self, name: str, starting: ExitStack, **more: str) -> ServiceProcess:
        environment = {
            **self._environment,
            **more,
            "NATS_SERVERS": self.nats_url,
            f"{name.upper()}_DB_URL": f"sqlite+aiosqlite:///{self._folder / name}.sqlite3",
            **self._settings.get(name, {}),
        }
        process = ServiceProcess(
            f"examples.shop.{name}:app",
            log_file=self._folder / f"{name}.log",
            environment=environment,
            inherited=_without_settings(os.environ),
        )
        self._services[name] = starting.enter_context(process)
        return process


def _without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out what would configure the services: the demo is the same on every machine."""
    prefixes = ("OTEL_", "GLAM_", "NATS_", *(f"{name.upper()}_" for name in Shop.names))
    names = {"APP_ENV", "LOG_LEVEL"}
    return {
        name: value
        for name, value in environment.items()
        if name not in names and not name.startswith(prefixes)
    }
