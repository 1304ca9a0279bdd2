"""Declare every setting of the SDK: its type, default, environment names and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from glam_sdk.config import formats, kinds, urls
from glam_sdk.config.knobs import CodeOnly, Env
from glam_sdk.config.model import Section, ServiceConfig
from glam_sdk.config.settings_nats import NatsSettings


class ServiceSettings(Section):
    """Say what the service is, as the OpenTelemetry resource has it, and how its process runs."""

    name: Annotated[str, CodeOnly()]
    """Name of the service, as given to `init()`."""
    version: str = "0.0.0"
    """Version of the service (`service.version`)."""
    namespace: str | None = None
    """Group of services that this one belongs to (`service.namespace`)."""
    environment: Annotated[
        Literal["dev", "staging", "prod"], BeforeValidator(kinds.lower), Env("APP_ENV")
    ] = "dev"
    """Where the service runs (`deployment.environment.name`)."""
    instance_id: str | None = None
    """Name of this process among its peers (`service.instance.id`); made up when not set."""
    gc_freeze: bool = True
    """Whether garbage collections leave alone what exists once the service has started."""


class HttpSettings(Section):
    """Set up the HTTP edge."""

    metrics_path: str = "/metrics"
    """Path of the Prometheus scrape."""
    health_prefix: str = ""
    """Path that `/health`, `/health/live` and `/health/ready` stand under."""
    exclude: tuple[str, ...] = ()
    """Further paths that get no spans, no metrics and no access log."""
    trust_incoming: Annotated[Literal["internal", "edge"], BeforeValidator(kinds.lower)] = (
        "internal"
    )
    """`internal` continues a caller's trace; `edge` only links to it and drops its baggage."""
    baggage_allowed: tuple[str, ...] = ()
    """Baggage keys that are taken over even at the `edge`."""
    access_log: Annotated[Literal["on", "off", "sampled"], BeforeValidator(kinds.on_off)] = "on"
    """Access log of fast successful requests; errors and slow requests are always logged."""
    access_log_sample_ratio: kinds.Ratio = 0.1
    """Share of fast successful requests that a `sampled` access log keeps."""
    slow_request_s: kinds.Seconds = 1.0
    """Seconds from which a request counts as slow."""
    admin_token: Annotated[SecretStr | None, Field(min_length=16)] = None
    """Token for `/admin/loggers`, where log levels are changed; without one it is not there."""
    drain_delay_s: Annotated[float, Field(ge=0, le=300)] = 0.0
    """Seconds between SIGTERM, when readiness begins to fail, and the server's stop."""

    @field_validator("metrics_path")
    @classmethod
    def _metrics_path(cls, value: str) -> str:
        return formats.http_path(value) or "/"

    @field_validator("health_prefix")
    @classmethod
    def _health_prefix(cls, value: str) -> str:
        return formats.http_path(value) if value else ""


class LogSettings(Section):
    """Set up the logs."""

    level: Annotated[kinds.Level, Env("LOG_LEVEL")] = "INFO"
    """Least severe level that is written."""
    format: Annotated[Literal["auto", "json", "console"], BeforeValidator(kinds.lower)] = "auto"
    """`auto` is `console` in `dev` on a terminal, and `json` everywhere else."""
    levels: dict[str, kinds.Level] = Field(default_factory=dict)
    """Levels of single loggers, such as `sqlalchemy.engine=WARNING`."""
    file: Path | None = None
    """File that log lines are written to as well; `logs/<service>.log` in `prod`."""
    file_mode: Annotated[Literal["auto", "on", "off"], BeforeValidator(kinds.on_off)] = "auto"
    """`auto` writes the file in `prod` and where `file` names one."""
    file_max_bytes: Annotated[int, Field(ge=1024)] = 10_485_760
    """Size in bytes at which the file is put aside and a new one begun."""
    file_backups: Annotated[int, Field(ge=0)] = 5
    """Files put aside that are kept."""
    repeat_limit: Annotated[int, Field(ge=0)] = 5
    """Identical errors written in one window, the rest are counted (0: all are written)."""
    repeat_window_s: kinds.Seconds = 10.0
    """Seconds after which what was held back is told and counting begins anew."""


class TelemetrySettings(Section):
    """Set up what leaves the process; its variables are those of OpenTelemetry."""

    disabled: Annotated[bool, Env("OTEL_SDK_DISABLED", formats.otel_boolean)] = False
    """Whether nothing is recorded at all."""
    traces_exporter: Annotated[
        tuple[kinds.Exporter, ...], Env("OTEL_TRACES_EXPORTER", formats.otel_words)
    ] = ("otlp",)
    """Where spans go; `otlp` sends once an endpoint is set."""
    metrics_exporter: Annotated[
        tuple[kinds.MetricsExporter, ...], Env("OTEL_METRICS_EXPORTER", formats.otel_words)
    ] = ("otlp",)
    """Where metrics go besides the scrape, which is always there (so `prometheus` adds nothing)."""
    logs_exporter: Annotated[
        tuple[kinds.Exporter, ...], Env("OTEL_LOGS_EXPORTER", formats.otel_words)
    ] = ("otlp",)
    """Where log records go besides standard output."""
    protocol: Annotated[kinds.ProtocolName, Env("OTEL_EXPORTER_OTLP_PROTOCOL")] = "http/protobuf"
    """Protocol of the OTLP export."""
    traces_protocol: Annotated[
        kinds.ProtocolName | None, Env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
    ] = None
    """Protocol for spans, where it differs."""
    metrics_protocol: Annotated[
        kinds.ProtocolName | None, Env("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL")
    ] = None
    """Protocol for metrics, where it differs."""
    logs_protocol: Annotated[kinds.ProtocolName | None, Env("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL")] = (
        None
    )
    """Protocol for log records, where it differs."""
    endpoint: Annotated[str | None, Env("OTEL_EXPORTER_OTLP_ENDPOINT")] = None
    """Address of the collector; without one nothing is sent."""
    traces_endpoint: Annotated[str | None, Env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")] = None
    """Full address for spans, where it differs."""
    metrics_endpoint: Annotated[str | None, Env("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")] = None
    """Full address for metrics, where it differs."""
    logs_endpoint: Annotated[str | None, Env("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")] = None
    """Full address for log records, where it differs."""
    resource_attributes: Annotated[
        dict[str, str],
        Env("OTEL_RESOURCE_ATTRIBUTES", formats.resource_attributes, beats_code=True),
    ] = Field(default_factory=dict)
    """Further resource attributes; the variable's win over everything said in code."""
    otel_service_name: Annotated[str | None, Env("OTEL_SERVICE_NAME", beats_code=True)] = None
    """Name of the service in telemetry, where it differs; wins over everything said in code."""
    metric_export_interval_s: Annotated[
        kinds.Seconds, Env("OTEL_METRIC_EXPORT_INTERVAL", formats.milliseconds)
    ] = 60.0
    """Seconds between two pushes of metrics (the OpenTelemetry variable is in milliseconds)."""
    metric_export_timeout_s: Annotated[
        kinds.Seconds, Env("OTEL_METRIC_EXPORT_TIMEOUT", formats.milliseconds)
    ] = 30.0
    """Seconds that one push may take, where the exporter's own timeout is not shorter."""
    metric_series_limit: Annotated[int, Field(ge=1)] = 2000
    """Series that one metric may have; measurements beyond are counted as its overflow."""
    metric_label_length: Annotated[int, Field(ge=16)] = 256
    """Characters that are kept of a label's value in metrics."""
    span_pipeline: kinds.SpanPipeline = "lean"
    """What records spans and log lines: `lean`, or `sdk`, OpenTelemetry's (the same, slower)."""
    runtime_metrics: bool = True
    """Whether process, garbage collection and event loop are measured."""
    workers_dir: Path | None = None
    """Directory in which workers sum up their metrics; uvicorn and gunicorn need none."""
    shutdown_timeout_s: kinds.Seconds = 5.0
    """Seconds that all signals together have to send what is left when the service stops."""

    @field_validator("endpoint", "traces_endpoint", "metrics_endpoint", "logs_endpoint")
    @classmethod
    def _endpoint(cls, value: str | None, info: ValidationInfo) -> str | None:
        own = (info.field_name or "").replace("endpoint", "protocol")
        protocol = info.data.get(own) or info.data.get("protocol")
        return formats.otlp_endpoint(value, grpc=protocol == "grpc") if value else None

    def exporters_for(self, signal: kinds.Signal) -> frozenset[str]:
        """Return the exporters to build for a signal: ``otlp``, ``console``, both or none."""
        chosen: tuple[str, ...] = getattr(self, f"{signal}_exporter")
        return frozenset(chosen) - {"none", "prometheus"}

    def protocol_for(self, signal: kinds.Signal) -> kinds.Protocol:
        """Return the OTLP protocol of a signal."""
        own: kinds.Protocol | None = getattr(self, f"{signal}_protocol")
        return own or self.protocol

    def endpoint_for(self, signal: kinds.Signal) -> str | None:
        """Return the address that a signal is sent to, ``/v1/traces`` added where it belongs."""
        own: str | None = getattr(self, f"{signal}_endpoint")
        if own or not self.endpoint or self.protocol_for(signal) == "grpc":
            return own or self.endpoint
        return f"{self.endpoint.rstrip('/')}/v1/{signal}"


class DatabaseSettings(Section):
    """Say which database to use; without `url` and `host` it is an SQLite file."""

    url: Annotated[SecretStr | None, Env("{prefix}DATABASE_URL"), Env("{prefix}DB_URL")] = None
    """URL of the database; it wins over the parts below."""
    name: Annotated[str | None, Env("{prefix}DB_NAME")] = None
    """Name of the PostgreSQL database."""
    host: Annotated[str | None, Env("{prefix}DB_HOST")] = None
    """Host of the PostgreSQL server."""
    port: Annotated[kinds.Port, Env("{prefix}DB_PORT")] = 5432
    """Port of the PostgreSQL server."""
    port_external: Annotated[kinds.Port | None, Env("{prefix}DB_PORT_EXTERNAL")] = None
    """Port that wins when `host` is `localhost`, `127.0.0.1` or `host.docker.internal`."""
    user: Annotated[str | None, Env("{prefix}DB_USER")] = None
    """User to log in as."""
    password: Annotated[SecretStr | None, Env("{prefix}DB_PASSWORD")] = None
    """Password of the user."""
    enabled: Annotated[bool, Env("{prefix}DB_ENABLED")] = True
    """Whether the service has a database."""
    pool_size: Annotated[int, Field(ge=1), Env("{prefix}DB_POOL_SIZE")] = 5
    """Connections that are kept open."""
    max_overflow: Annotated[int, Field(ge=-1), Env("{prefix}DB_MAX_OVERFLOW")] = 10
    """Connections that may be opened beyond those (-1: any number)."""
    pool_pre_ping: Annotated[bool, Env("{prefix}DB_POOL_PRE_PING")] = True
    """Whether a connection is tried before it is used."""
    pool_recycle: Annotated[int, Field(ge=-1), Env("{prefix}DB_POOL_RECYCLE")] = 3600
    """Seconds after which a connection is replaced (-1: never)."""
    async_driver: Annotated[
        Literal["asyncpg", "psycopg"], BeforeValidator(kinds.lower), Env("{prefix}DB_ASYNC_DRIVER")
    ] = "asyncpg"
    """Driver for PostgreSQL, where the URL does not name one."""
    echo: Annotated[bool, Env("{prefix}DB_ECHO")] = False
    """Whether every statement is logged."""
    connect_timeout_s: kinds.Seconds = 5.0
    """Seconds that a connection may take to be made."""
    pool_timeout_s: kinds.Seconds = 30.0
    """Seconds to wait for a free connection."""
    statement_timeout_s: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    """Seconds after which PostgreSQL gives a statement up (0: never, as behind PgBouncer)."""
    slow_query_s: Annotated[float, Field(ge=0)] = 0.5
    """Seconds from which a statement is logged as slow (0: none is)."""
    repeated_query_limit: Annotated[int, Field(ge=0)] = 10
    """Times a request may ask the same before a log line hints at it (0: no hints)."""
    internal_spans: tuple[kinds.InternalSpan, ...] = ("operation", "transaction")
    """Spans around those of statements: each repository `operation`, each whole `transaction`."""
    sqlite_path: str = "service.sqlite3"
    """SQLite file used when neither `url` nor `host` is set; `<service>.sqlite3` by default."""

    @field_validator("url")
    @classmethod
    def _url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            formats.database_url(value.get_secret_value())
        return value

    @field_validator("host")
    @classmethod
    def _host(cls, value: str | None, info: ValidationInfo) -> str | None:
        if value and info.data.get("name", "?") is None and info.data.get("url", "?") is None:
            raise formats.FormatError("database.name beside it")
        return value

    def sqlalchemy_url(self) -> str:
        """Return the URL for SQLAlchemy, with its asynchronous driver and its password."""
        return urls.sqlalchemy_url(self)

    def safe_url(self) -> str:
        """Return the same URL for people: the password is REDACTED."""
        return urls.without_password(urls.sqlalchemy_url(self))


class Settings(ServiceConfig):
    """Hold every setting of the SDK."""

    service: ServiceSettings
    http: HttpSettings = HttpSettings()
    log: LogSettings = LogSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    database: DatabaseSettings = DatabaseSettings()
    nats: NatsSettings = NatsSettings()

    @classmethod
    def defaults_for(cls, service_name: str) -> Mapping[str, Any]:
        """Name the SQLite file after the service."""
        return {"database": {"sqlite_path": f"{service_name}.sqlite3"}}
