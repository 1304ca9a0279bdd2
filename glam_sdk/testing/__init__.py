"""Help services test themselves: captured telemetry and real servers on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glam_sdk._internal.lazy import lazy_exports

if TYPE_CHECKING:
    from glam_sdk.testing.bus import InMemoryBus, StoredMessage
    from glam_sdk.testing.nats import NatsServer
    from glam_sdk.testing.otlp import OtlpReceiver, ReceivedLog, ReceivedSpan
    from glam_sdk.testing.postgres import PostgresServer
    from glam_sdk.testing.processes import ServiceProcess, free_port
    from glam_sdk.testing.servers import AppServer
    from glam_sdk.testing.telemetry import CapturedTelemetry, capture_telemetry

_MODULES = {
    "AppServer": "servers",
    "CapturedTelemetry": "telemetry",
    "InMemoryBus": "bus",
    "NatsServer": "nats",
    "OtlpReceiver": "otlp",
    "PostgresServer": "postgres",
    "ReceivedLog": "otlp",
    "ReceivedSpan": "otlp",
    "ServiceProcess": "processes",
    "StoredMessage": "bus",
    "capture_telemetry": "telemetry",
    "free_port": "processes",
}

__all__ = [
    "AppServer",
    "CapturedTelemetry",
    "InMemoryBus",
    "NatsServer",
    "OtlpReceiver",
    "PostgresServer",
    "ReceivedLog",
    "ReceivedSpan",
    "ServiceProcess",
    "StoredMessage",
    "capture_telemetry",
    "free_port",
]

__getattr__, __dir__ = lazy_exports(
    __name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()}
)
