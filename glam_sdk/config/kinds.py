"""Name the kinds of values that settings have, and how each is written."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

Signal = Literal["traces", "metrics", "logs"]
Protocol = Literal["http/protobuf", "grpc"]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL"}


def lower(value: object) -> object:
    """Accept a word in any case."""
    return value.strip().lower() if isinstance(value, str) else value


def level(value: object) -> object:
    """Accept a level in any case, and by its other name."""
    word = value.strip().upper() if isinstance(value, str) else value
    return _LEVELS.get(word, word) if isinstance(word, str) else word


def on_off(value: object) -> object:
    """Accept ``on`` and ``off`` however YAML reads them."""
    # YAML 1.1 reads a bare `on` or `off` as a boolean.
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else lower(value)


Level = Annotated[LogLevel, BeforeValidator(level)]
ProtocolName = Annotated[Protocol, BeforeValidator(lower)]
Exporter = Annotated[Literal["otlp", "console", "none"], BeforeValidator(lower)]
MetricsExporter = Annotated[
    Literal["otlp", "console", "prometheus", "none"], BeforeValidator(lower)
]
InternalSpan = Annotated[Literal["transaction", "operation"], BeforeValidator(lower)]
SpanPipeline = Annotated[Literal["lean", "sdk"], BeforeValidator(lower)]
Port = Annotated[int, Field(ge=1, le=65535)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Ratio = Annotated[float, Field(ge=0, le=1)]
