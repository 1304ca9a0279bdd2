"""Read settings from files, the environment and code, and know where each came from."""

from glam_sdk.config.knobs import Env
from glam_sdk.config.loader import default_prefix, load, load_settings
from glam_sdk.config.merge import deep_merge, flatten_config
from glam_sdk.config.model import Section, ServiceConfig, Source
from glam_sdk.config.provenance import Described, describe, notes, provenance
from glam_sdk.config.settings import (
    DatabaseSettings,
    HttpSettings,
    LogSettings,
    ServiceSettings,
    Settings,
    TelemetrySettings,
)
from glam_sdk.config.settings_nats import NatsSettings
from glam_sdk.config.sources import export_otel_variables, otel_variable_names

__all__ = [
    "DatabaseSettings",
    "Described",
    "Env",
    "HttpSettings",
    "LogSettings",
    "NatsSettings",
    "Section",
    "ServiceConfig",
    "ServiceSettings",
    "Settings",
    "Source",
    "TelemetrySettings",
    "deep_merge",
    "default_prefix",
    "describe",
    "export_otel_variables",
    "flatten_config",
    "load",
    "load_settings",
    "notes",
    "otel_variable_names",
    "provenance",
]
