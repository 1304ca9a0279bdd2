"""Start the programs of the stack with the files of ``otel/``, on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from examples.stack import programs
from examples.stack.process import Program

FILES: Final = Path(__file__).parents[2] / "otel"
# A line of a file is in the queue on disk before it counts as read; without this a crash of the
# Collector loses what it read in the last tenth of a second.
COLLECTOR_FLAGS: Final = ("--feature-gates=stanza.synchronousLogEmitter",)


@dataclass(frozen=True, slots=True)
class Ports:
    """List the ports that the stack listens on; the defaults are those of the compose file."""

    otlp_http: int = 4318
    otlp_grpc: int = 4317
    jaeger: int = 16686
    jaeger_grpc: int = 16685
    jaeger_otlp: int = 14317
    prometheus: int = 9090
    logs: int = 9428
    collector_health: int = 13133
    collector_metrics: int = 8888
    jaeger_health: int = 13134
    jaeger_metrics: int = 8887


class Stack:
    """Run Collector, Jaeger, Prometheus and the log store.

    Args:
        folder: Takes their data and log files, and ``service-logs/*.log`` to be read.
        ports: Where they listen.
        scraped: Address of each service that Prometheus scrapes, by its name. Default: those
            that a folder of an earlier run lists.
    """

    def __init__(
        self, folder: Path, ports: Ports, *, scraped: Mapping[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._ports = ports
        self.service_logs = folder / "service-logs"
        self.service_logs.mkdir(parents=True, exist_ok=True)
        self._running = ExitStack()
        self.logs = self._victoria_logs()
        self.prometheus = self._prometheus()
        self.jaeger = self._jaeger()
        self.collector = self._collector()
        self._list_parts()
        if scraped is not None or not self.targets_file.exists():
            self.scrape(scraped or {})

    @property
    def otlp_endpoint(self) -> str:
        """Value of ``OTEL_EXPORTER_OTLP_ENDPOINT`` for services."""
        return _url(self._ports.otlp_http)

    @property
    def jaeger_url(self) -> str:
        """Address of Jaeger's pages and API."""
        return _url(self._ports.jaeger)

    @property
    def prometheus_url(self) -> str:
        """Address of Prometheus."""
        return _url(self._ports.prometheus)

    @property
    def logs_url(self) -> str:
        """Address of the log store."""
        return _url(self._ports.logs)

    @property
    def targets_file(self) -> Path:
        """File that lists the services Prometheus scrapes; a change is seen at once."""
        return self._folder / "prometheus" / "targets" / "services.yml"

    @property
    def collector_metrics_url(self) -> str:
        """Address of what the Collector says of itself."""
        return f"{_url(self._ports.collector_metrics)}/metrics"

    def scrape(self, services: Mapping[str, str]) -> None:
        """Tell Prometheus which services there are; it reads that from a file."""
        _write_targets(self.targets_file, "job", services)

    def _list_parts(self) -> None:
        ports = self._ports
        parts = {
            "prometheus": ports.prometheus,
            "collector": ports.collector_metrics,
            "jaeger": ports.jaeger_metrics,
            "logs": ports.logs,
        }
        own = {name: f"127.0.0.1:{port}" for name, port in parts.items()}
        _write_targets(self.targets_file.with_name("stack.yml"), "part", own)

    def __enter__(self) -> Self:
        with ExitStack() as starting:
            # The Collector last: what it sends to is there, and at the end it is gone first.
            for program in (self.logs, self.prometheus, self.jaeger, self.collector):
                starting.callback(program.stop)
                program.start()
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        self._running.close()

    def _victoria_logs(self) -> Program:
        return Program(
            "victoria-logs",
            [
                str(programs.find(programs.LOGS)),
                f"-storageDataPath={self._folder / 'logs'}",
                f"-httpListenAddr=127.0.0.1:{self._ports.logs}",
                "-retentionPeriod=14d",
                "-memory.allowedBytes=128MiB",
            ],
            f"{self.logs_url}/health",
            self._folder,
        )

    def _prometheus(self) -> Program:
        there = self._folder / "prometheus"
        shutil.copytree(
            FILES / "prometheus",
            there,
            dirs_exist_ok=True,
            ignore=shutil.ignore_patterns("targets", "tests"),
        )
        (there / "targets").mkdir(exist_ok=True)
        return Program(
            "prometheus",
            [
                str(programs.find_prometheus()),
                f"--config.file={there / 'prometheus.yml'}",
                f"--storage.tsdb.path={there / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._ports.prometheus}",
                "--enable-feature=exemplar-storage",
                "--web.enable-remote-write-receiver",
            ],
            f"{self.prometheus_url}/-/ready",
            self._folder,
        )

    def _jaeger(self) -> Program:
        ports = self._ports
        return Program(
            "jaeger",
            [str(programs.find(programs.JAEGER)), f"--config={FILES / 'jaeger' / 'jaeger.yaml'}"],
            f"http://127.0.0.1:{ports.jaeger_health}/status",
            self._folder,
            {
                "STACK_JAEGER_OTLP_LISTEN": f"127.0.0.1:{ports.jaeger_otlp}",
                "STACK_JAEGER_UI_LISTEN": f"127.0.0.1:{ports.jaeger}",
                "STACK_JAEGER_GRPC_LISTEN": f"127.0.0.1:{ports.jaeger_grpc}",
                "STACK_JAEGER_HEALTH_LISTEN": f"127.0.0.1:{ports.jaeger_health}",
                "STACK_JAEGER_METRICS_PORT": str(ports.jaeger_metrics),
                "STACK_JAEGER_DATA": str(self._folder / "jaeger"),
                "STACK_JAEGER_UI": str(FILES / "jaeger" / "ui.json"),
                "STACK_PROMETHEUS_URL": self.prometheus_url,
            },
        )

    def _collector(self) -> Program:
        ports = self._ports
        file = FILES / "collector" / "collector.yaml"
        return Program(
            "collector",
            [str(programs.find(programs.COLLECTOR)), f"--config={file}", *COLLECTOR_FLAGS],
            f"http://127.0.0.1:{ports.collector_health}/",
            self._folder,
            {
                "STACK_OTLP_GRPC_LISTEN": f"127.0.0.1:{ports.otlp_grpc}",
                "STACK_OTLP_HTTP_LISTEN": f"127.0.0.1:{ports.otlp_http}",
                "STACK_COLLECTOR_HEALTH_LISTEN": f"127.0.0.1:{ports.collector_health}",
                "STACK_COLLECTOR_METRICS_PORT": str(ports.collector_metrics),
                "STACK_COLLECTOR_DATA": str(self._folder / "collector"),
                "STACK_LOG_FILES": str(self.service_logs / "*.log"),
                "STACK_JAEGER_OTLP": f"127.0.0.1:{ports.jaeger_otlp}",
                "STACK_PROMETHEUS_URL": self.prometheus_url,
                "STACK_LOGS_URL": self.logs_url,
            },
        )


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}"


def _write_targets(file: Path, label: str, addresses: Mapping[str, str]) -> None:
    lines = [
        f'- {{targets: ["{address}"], labels: {{{label}: {name}}}}}\n'
        for name, address in addresses.items()
    ]
    half = file.with_suffix(".half")
    half.write_text("".join(lines) or "[]\n")
    half.replace(file)
