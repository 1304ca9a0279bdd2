"""List every metric of the SDK: its kind, unit, labels and meaning.

The names come from :mod:`glam_sdk.telemetry.conventions`. The reference page is written from here,
and a test compares what a running service shows with it: a changed name, unit or label fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from glam_sdk.telemetry import conventions as conv

Kind = Literal["counter", "up_down_counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class MetricSpec:
    """Describe one metric."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    workers: Literal["sum", "max", "min"] = "sum"
    """What one scrape shows of several worker processes."""


_HTTP = (conv.HTTP_REQUEST_METHOD, conv.HTTP_RESPONSE_STATUS_CODE, conv.ERROR_TYPE)
_MESSAGE = (
    conv.MESSAGING_SYSTEM,
    conv.MESSAGING_OPERATION_NAME,
    conv.MESSAGING_OPERATION_TYPE,
    conv.MESSAGING_DESTINATION_NAME,
)
_HANDLED = (*_MESSAGE, conv.MESSAGING_CONSUMER_GROUP_NAME)
_CONSUMER = (conv.MESSAGING_SYSTEM, conv.MESSAGING_CONSUMER_GROUP_NAME)
_POOL = (conv.DB_CLIENT_CONNECTION_POOL_NAME,)
_GENERATION = (conv.CPYTHON_GC_GENERATION,)
_PART = (conv.OTEL_COMPONENT_TYPE, conv.OTEL_COMPONENT_NAME)
_OUT = (*_PART, conv.ERROR_TYPE)
_M = MetricSpec

HTTP: Final = (
    _M(
        conv.HTTP_SERVER_REQUEST_DURATION, "histogram", "s", "Duration of HTTP server requests.",
        (*_HTTP, conv.HTTP_ROUTE, conv.URL_SCHEME, conv.NETWORK_PROTOCOL_NAME,
         conv.NETWORK_PROTOCOL_VERSION),
        conv.HTTP_DURATION_BUCKETS,
    ),
    _M(
        conv.HTTP_SERVER_ACTIVE_REQUESTS, "up_down_counter", "{request}",
        "Number of active HTTP server requests.", (conv.HTTP_REQUEST_METHOD, conv.URL_SCHEME),
    ),
    _M(
        conv.HTTP_CLIENT_REQUEST_DURATION, "histogram", "s", "Duration of HTTP client requests.",
        (*_HTTP, conv.SERVER_ADDRESS, conv.SERVER_PORT, conv.URL_TEMPLATE,
         conv.NETWORK_PROTOCOL_VERSION),
        conv.HTTP_DURATION_BUCKETS,
    ),
    _M(
        conv.GLAM_ERRORS, "counter", "{error}",
        "Number of requests answered with an error, by its code.",
        (conv.GLAM_ERROR_CODE, conv.HTTP_ROUTE),
    ),
    _M(
        conv.GLAM_CLIENT_CIRCUIT_STATE, "gauge", "{state}",
        "State of the circuit to a host: 0 closed, 1 half-open, 2 open.",
        (conv.SERVER_ADDRESS, conv.SERVER_PORT), workers="max",
    ),
    _M(
        conv.GLAM_COMPONENT_HEALTHY, "gauge", "{state}",
        "Whether a part of the service was well when readiness was last asked for: 1, else 0.",
        (conv.GLAM_COMPONENT,), workers="min",
    ),
)  # fmt: skip

DATABASE: Final = (
    _M(
        conv.DB_CLIENT_OPERATION_DURATION, "histogram", "s",
        "Duration of database client operations.",
        (conv.DB_SYSTEM_NAME, conv.DB_NAMESPACE, conv.DB_OPERATION_NAME, conv.DB_COLLECTION_NAME,
         conv.DB_QUERY_SUMMARY, conv.SERVER_ADDRESS, conv.SERVER_PORT, conv.ERROR_TYPE,
         conv.DB_RESPONSE_STATUS_CODE),
        conv.DB_DURATION_BUCKETS,
    ),
    _M(
        conv.DB_CLIENT_CONNECTION_COUNT, "up_down_counter", "{connection}",
        "Connections that are currently in the state.", (*_POOL, conv.DB_CLIENT_CONNECTION_STATE),
    ),
    _M(
        conv.DB_CLIENT_CONNECTION_MAX, "up_down_counter", "{connection}",
        "Connections that may be open at once.", _POOL,
    ),
    _M(
        conv.DB_CLIENT_CONNECTION_IDLE_MAX, "up_down_counter", "{connection}",
        "Idle connections that are kept at most.", _POOL,
    ),
    _M(
        conv.DB_CLIENT_CONNECTION_PENDING_REQUESTS, "up_down_counter", "{request}",
        "Requests that wait for a connection.", _POOL,
    ),
    _M(
        conv.DB_CLIENT_CONNECTION_TIMEOUTS, "counter", "{timeout}",
        "Requests for a connection that got none in time.", _POOL,
    ),
    _M(
        conv.DB_CLIENT_CONNECTION_WAIT_TIME, "histogram", "s",
        "Time it took to get a connection from the pool.", _POOL, conv.DB_DURATION_BUCKETS,
    ),
)  # fmt: skip

MESSAGING: Final = (
    _M(
        conv.MESSAGING_CLIENT_SENT_MESSAGES, "counter", "{message}",
        "Messages a producer attempted to send.", (*_MESSAGE, conv.ERROR_TYPE),
    ),
    _M(
        conv.MESSAGING_CLIENT_OPERATION_DURATION, "histogram", "s",
        "Duration of a send, until the stream acknowledged it.", (*_MESSAGE, conv.ERROR_TYPE),
        conv.MESSAGING_DURATION_BUCKETS,
    ),
    _M(
        conv.MESSAGING_CLIENT_CONSUMED_MESSAGES, "counter", "{message}",
        "Messages delivered to the application.", (*_HANDLED, conv.ERROR_TYPE),
    ),
    _M(
        conv.MESSAGING_PROCESS_DURATION, "histogram", "s", "Duration of processing one message.",
        (*_HANDLED, conv.ERROR_TYPE), conv.MESSAGING_DURATION_BUCKETS,
    ),
    _M(
        conv.GLAM_MESSAGING_DEAD_LETTERS, "counter", "{message}",
        "Messages stored as dead letters.", (*_HANDLED, conv.GLAM_REASON),
    ),
    _M(
        conv.GLAM_MESSAGING_SUPPRESSED_DUPLICATES, "counter", "{message}",
        "Deliveries not handled because the event had been handled before.", _HANDLED,
    ),
    _M(
        conv.GLAM_MESSAGING_CONSUMER_LAG, "gauge", "{message}",
        "Messages of the stream not delivered to the consumer so far.", _CONSUMER, workers="max",
    ),
    _M(
        conv.GLAM_MESSAGING_CONSUMER_OLDEST_AGE, "gauge", "s",
        "How long the oldest unsettled message has been in the stream.", _CONSUMER, workers="max",
    ),
    _M(
        conv.GLAM_MESSAGING_CONSUMER_UNSETTLED, "gauge", "{message}",
        "Messages delivered to the consumer and not settled, in all processes.", _CONSUMER,
        workers="max",
    ),
    _M(
        conv.GLAM_MESSAGING_CONSUMER_REDELIVERED, "gauge", "{message}",
        "Unsettled messages delivered more than once.", _CONSUMER, workers="max",
    ),
    _M(
        conv.GLAM_MESSAGING_HANDLER_PAUSE, "gauge", "s",
        "Time between attempts of a handler slowed down because all fail, or 0.", _HANDLED,
        workers="max",
    ),
    _M(
        conv.GLAM_MESSAGING_IN_FLIGHT, "gauge", "{message}",
        "Messages being handled in this process.", _CONSUMER,
    ),
    _M(
        conv.GLAM_OUTBOX_PENDING, "gauge", "{message}", "Messages that no stream has so far.",
        workers="max",
    ),
    _M(
        conv.GLAM_OUTBOX_OLDEST_AGE, "gauge", "s",
        "How long the oldest message has been waiting.", workers="max",
    ),
    _M(
        conv.GLAM_OUTBOX_PARKED, "gauge", "{message}",
        "Messages set aside because no stream can take them.", workers="max",
    ),
)  # fmt: skip

PROCESS: Final = (
    _M(conv.PROCESS_CPU_TIME, "counter", "s", "CPU seconds of the process.", (conv.CPU_MODE,)),
    _M(
        conv.PROCESS_CONTEXT_SWITCHES, "counter", "{context_switch}", "Context switches.",
        (conv.PROCESS_CONTEXT_SWITCH_TYPE,),
    ),
    _M(conv.PROCESS_MEMORY_USAGE, "up_down_counter", "By", "Physical memory in use."),
    _M(conv.PROCESS_MEMORY_VIRTUAL, "up_down_counter", "By", "Virtual memory reserved."),
    _M(
        conv.PROCESS_FILE_DESCRIPTORS, "up_down_counter", "{file_descriptor}",
        "Open file descriptors.",
    ),
    _M(conv.PROCESS_THREAD_COUNT, "up_down_counter", "{thread}", "Threads."),
    _M(conv.PROCESS_UPTIME, "gauge", "s", "Seconds since the process started.", workers="max"),
    _M(conv.CPYTHON_GC_COLLECTIONS, "counter", "{collection}", "Garbage collections.", _GENERATION),
    _M(
        conv.CPYTHON_GC_COLLECTED_OBJECTS, "counter", "{object}", "Objects collected.", _GENERATION
    ),
    _M(
        conv.CPYTHON_GC_UNCOLLECTABLE_OBJECTS, "counter", "{object}",
        "Objects that could not be collected.", _GENERATION,
    ),
    _M(
        conv.GLAM_EVENT_LOOP_LAG, "histogram", "s", "How late the event loop called back.",
        buckets=conv.LAG_BUCKETS,
    ),
)  # fmt: skip

_EXPORTED = "What was exported; with error.type, what could not be."
_PROCESSED = "What was handed to the exporter; with error.type, what was dropped."
TELEMETRY: Final = (
    _M(conv.OTEL_SDK_EXPORTER_SPAN_EXPORTED, "counter", "{span}", _EXPORTED, _OUT),
    _M(conv.OTEL_SDK_EXPORTER_LOG_EXPORTED, "counter", "{log_record}", _EXPORTED, _OUT),
    _M(conv.OTEL_SDK_EXPORTER_POINT_EXPORTED, "counter", "{data_point}", _EXPORTED, _OUT),
    _M(
        conv.OTEL_SDK_EXPORTER_OPERATION_DURATION, "histogram", "s", "Duration of exports.", _OUT,
        conv.HTTP_DURATION_BUCKETS,
    ),
    _M(
        conv.OTEL_SDK_COLLECTION_DURATION, "histogram", "s",
        "Duration of collecting all metrics, for a scrape or a push.", _PART,
        conv.DB_DURATION_BUCKETS,
    ),
    _M(conv.OTEL_SDK_PROCESSOR_SPAN_PROCESSED, "counter", "{span}", _PROCESSED, _OUT),
    _M(conv.OTEL_SDK_PROCESSOR_LOG_PROCESSED, "counter", "{log_record}", _PROCESSED, _OUT),
    _M(
        conv.OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE, "up_down_counter", "{span}",
        "What waits for export.", _PART,
    ),
    _M(
        conv.OTEL_SDK_PROCESSOR_LOG_QUEUE_SIZE, "up_down_counter", "{log_record}",
        "What waits for export.", _PART,
    ),
    _M(
        conv.OTEL_SDK_PROCESSOR_SPAN_QUEUE_CAPACITY, "up_down_counter", "{span}", "What may wait.",
        _PART,
    ),
    _M(
        conv.OTEL_SDK_PROCESSOR_LOG_QUEUE_CAPACITY, "up_down_counter", "{log_record}",
        "What may wait.", _PART,
    ),
    _M(
        conv.GLAM_METRICS_OVERFLOWED, "counter", "{metric}",
        "Metrics with more series than allowed.", (conv.GLAM_METRIC_NAME,),
    ),
    _M(
        "glam.log.dropped_lines", "counter", "{line}",
        "Log lines that were not written: lost by an output, or held back as repeats.",
        (conv.GLAM_REASON,),
    ),
)  # fmt: skip

AREAS: Final[Mapping[str, tuple[MetricSpec, ...]]] = {
    "HTTP": HTTP,
    "Database": DATABASE,
    "Messaging": MESSAGING,
    "Process": PROCESS,
    "Telemetry itself": TELEMETRY,
}


def all_metrics() -> dict[str, MetricSpec]:
    """Return every metric by its name."""
    return {spec.name: spec for specs in AREAS.values() for spec in specs}
