"""Name every span attribute, metric and log field that glam_sdk writes.

OpenTelemetry semantic conventions 1.44 first (https://opentelemetry.io/docs/specs/semconv/);
``glam.`` where none exists. These names are public: dashboards and alerts are built on them.
"""

from __future__ import annotations

from typing import Final

SCHEMA_URL: Final = "https://opentelemetry.io/schemas/1.44.0"

# Resource
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_NAMESPACE: Final = "service.namespace"
SERVICE_INSTANCE_ID: Final = "service.instance.id"
DEPLOYMENT_ENVIRONMENT_NAME: Final = "deployment.environment.name"
TELEMETRY_DISTRO_NAME: Final = "telemetry.distro.name"
TELEMETRY_DISTRO_VERSION: Final = "telemetry.distro.version"

# General
ERROR_TYPE: Final = "error.type"
EXCEPTION_TYPE: Final = "exception.type"
EXCEPTION_MESSAGE: Final = "exception.message"
EXCEPTION_STACKTRACE: Final = "exception.stacktrace"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"
CLIENT_ADDRESS: Final = "client.address"
NETWORK_PROTOCOL_NAME: Final = "network.protocol.name"
NETWORK_PROTOCOL_VERSION: Final = "network.protocol.version"
USER_AGENT_ORIGINAL: Final = "user_agent.original"
URL_FULL: Final = "url.full"
URL_PATH: Final = "url.path"
URL_QUERY: Final = "url.query"
URL_SCHEME: Final = "url.scheme"
URL_TEMPLATE: Final = "url.template"

# HTTP
HTTP_REQUEST_METHOD: Final = "http.request.method"
HTTP_REQUEST_METHOD_ORIGINAL: Final = "http.request.method_original"
HTTP_REQUEST_RESEND_COUNT: Final = "http.request.resend_count"
HTTP_RESPONSE_STATUS_CODE: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"
HTTP_SERVER_REQUEST_DURATION: Final = "http.server.request.duration"
HTTP_SERVER_ACTIVE_REQUESTS: Final = "http.server.active_requests"
HTTP_CLIENT_REQUEST_DURATION: Final = "http.client.request.duration"

# Database
DB_SYSTEM_NAME: Final = "db.system.name"
DB_NAMESPACE: Final = "db.namespace"
DB_OPERATION_NAME: Final = "db.operation.name"
DB_OPERATION_BATCH_SIZE: Final = "db.operation.batch.size"
DB_COLLECTION_NAME: Final = "db.collection.name"
DB_QUERY_SUMMARY: Final = "db.query.summary"
DB_QUERY_TEXT: Final = "db.query.text"
DB_RESPONSE_STATUS_CODE: Final = "db.response.status_code"
DB_CLIENT_OPERATION_DURATION: Final = "db.client.operation.duration"
DB_CLIENT_CONNECTION_COUNT: Final = "db.client.connection.count"
DB_CLIENT_CONNECTION_MAX: Final = "db.client.connection.max"
DB_CLIENT_CONNECTION_IDLE_MAX: Final = "db.client.connection.idle.max"
DB_CLIENT_CONNECTION_PENDING_REQUESTS: Final = "db.client.connection.pending_requests"
DB_CLIENT_CONNECTION_TIMEOUTS: Final = "db.client.connection.timeouts"
DB_CLIENT_CONNECTION_WAIT_TIME: Final = "db.client.connection.wait_time"
DB_CLIENT_CONNECTION_POOL_NAME: Final = "db.client.connection.pool.name"
DB_CLIENT_CONNECTION_STATE: Final = "db.client.connection.state"
GLAM_DB_TRANSACTION_OUTCOME: Final = "glam.db.transaction.outcome"
GLAM_DB_TRANSACTION_READ_ONLY: Final = "glam.db.transaction.read_only"
GLAM_DB_TRANSACTION_ATTEMPT: Final = "glam.db.transaction.attempt"
GLAM_DB_REPEATED_QUERY: Final = "glam.db.repeated_query"
GLAM_DB_REPEATED_QUERY_COUNT: Final = "glam.db.repeated_query.count"
GLAM_DB_SLOW_QUERY: Final = "glam.db.slow_query"
GLAM_DB_MIGRATION_REVISION: Final = "glam.db.migration.revision"
GLAM_DB_MIGRATION_DIRECTION: Final = "glam.db.migration.direction"

# Messaging
MESSAGING_SYSTEM: Final = "messaging.system"
MESSAGING_OPERATION_NAME: Final = "messaging.operation.name"
MESSAGING_OPERATION_TYPE: Final = "messaging.operation.type"
MESSAGING_DESTINATION_NAME: Final = "messaging.destination.name"
MESSAGING_DESTINATION_TEMPLATE: Final = "messaging.destination.template"
MESSAGING_CONSUMER_GROUP_NAME: Final = "messaging.consumer.group.name"
MESSAGING_MESSAGE_ID: Final = "messaging.message.id"
MESSAGING_MESSAGE_CONVERSATION_ID: Final = "messaging.message.conversation_id"
MESSAGING_MESSAGE_BODY_SIZE: Final = "messaging.message.body.size"
MESSAGING_BATCH_MESSAGE_COUNT: Final = "messaging.batch.message_count"
MESSAGING_CLIENT_OPERATION_DURATION: Final = "messaging.client.operation.duration"
MESSAGING_CLIENT_SENT_MESSAGES: Final = "messaging.client.sent.messages"
MESSAGING_CLIENT_CONSUMED_MESSAGES: Final = "messaging.client.consumed.messages"
MESSAGING_PROCESS_DURATION: Final = "messaging.process.duration"

# Process and telemetry
CPU_MODE: Final = "cpu.mode"
CPYTHON_GC_GENERATION: Final = "cpython.gc.generation"
CPYTHON_GC_COLLECTIONS: Final = "cpython.gc.collections"
CPYTHON_GC_COLLECTED_OBJECTS: Final = "cpython.gc.collected_objects"
CPYTHON_GC_UNCOLLECTABLE_OBJECTS: Final = "cpython.gc.uncollectable_objects"
PROCESS_CPU_TIME: Final = "process.cpu.time"
PROCESS_CONTEXT_SWITCHES: Final = "process.context_switches"
PROCESS_CONTEXT_SWITCH_TYPE: Final = "process.context_switch.type"
PROCESS_MEMORY_USAGE: Final = "process.memory.usage"
PROCESS_MEMORY_VIRTUAL: Final = "process.memory.virtual"
PROCESS_FILE_DESCRIPTORS: Final = "process.unix.file_descriptor.count"
PROCESS_THREAD_COUNT: Final = "process.thread.count"
PROCESS_UPTIME: Final = "process.uptime"
OTEL_METRIC_OVERFLOW: Final = "otel.metric.overflow"
WORKER: Final = "worker"  # label of a gauge that several worker processes show one by one
OTEL_COMPONENT_TYPE: Final = "otel.component.type"
OTEL_COMPONENT_NAME: Final = "otel.component.name"
OTEL_SDK_EXPORTER_SPAN_EXPORTED: Final = "otel.sdk.exporter.span.exported"
OTEL_SDK_EXPORTER_LOG_EXPORTED: Final = "otel.sdk.exporter.log.exported"
OTEL_SDK_EXPORTER_POINT_EXPORTED: Final = "otel.sdk.exporter.metric_data_point.exported"
OTEL_SDK_PROCESSOR_SPAN_PROCESSED: Final = "otel.sdk.processor.span.processed"
OTEL_SDK_PROCESSOR_LOG_PROCESSED: Final = "otel.sdk.processor.log.processed"
OTEL_SDK_PROCESSOR_SPAN_QUEUE_SIZE: Final = "otel.sdk.processor.span.queue.size"
OTEL_SDK_PROCESSOR_LOG_QUEUE_SIZE: Final = "otel.sdk.processor.log.queue.size"
OTEL_SDK_PROCESSOR_SPAN_QUEUE_CAPACITY: Final = "otel.sdk.processor.span.queue.capacity"
OTEL_SDK_PROCESSOR_LOG_QUEUE_CAPACITY: Final = "otel.sdk.processor.log.queue.capacity"
OTEL_SDK_EXPORTER_OPERATION_DURATION: Final = "otel.sdk.exporter.operation.duration"
OTEL_SDK_COLLECTION_DURATION: Final = "otel.sdk.metric_reader.collection.duration"
GLAM_EVENT_LOOP_LAG: Final = "glam.event_loop.lag"
GLAM_METRICS_OVERFLOWED: Final = "glam.metrics.overflowed"
GLAM_METRIC_NAME: Final = "glam.metric.name"

# Ours
GLAM_REQUEST_ID: Final = "glam.request_id"
GLAM_CORRELATION_ID: Final = "glam.correlation_id"
GLAM_ERROR_CODE: Final = "glam.error.code"
GLAM_DELIVERY_ATTEMPT: Final = "glam.delivery.attempt"
GLAM_ERRORS: Final = "glam.errors"
GLAM_LOG_DROPPED_LINES: Final = "glam.log.dropped_lines"
GLAM_OUTCOME: Final = "glam.outcome"
GLAM_CLIENT_CIRCUIT_STATE: Final = "glam.client.circuit_state"
GLAM_COMPONENT: Final = "glam.component"
GLAM_COMPONENT_HEALTHY: Final = "glam.component.healthy"
GLAM_REASON: Final = "glam.reason"
GLAM_MESSAGING_DEAD_LETTERS: Final = "glam.messaging.dead_letters"
GLAM_OUTBOX_PENDING: Final = "glam.outbox.pending"
GLAM_OUTBOX_OLDEST_AGE: Final = "glam.outbox.oldest.age"
GLAM_OUTBOX_PARKED: Final = "glam.outbox.parked"
GLAM_MESSAGING_CONSUMER_LAG: Final = "glam.messaging.consumer.lag"
GLAM_MESSAGING_CONSUMER_OLDEST_AGE: Final = "glam.messaging.consumer.oldest.age"
GLAM_MESSAGING_CONSUMER_UNSETTLED: Final = "glam.messaging.consumer.unsettled"
GLAM_MESSAGING_CONSUMER_REDELIVERED: Final = "glam.messaging.consumer.redelivered"
GLAM_MESSAGING_HANDLER_PAUSE: Final = "glam.messaging.handler.pause"
GLAM_MESSAGING_IN_FLIGHT: Final = "glam.messaging.in_flight"
GLAM_MESSAGING_SUPPRESSED_DUPLICATES: Final = "glam.messaging.suppressed_duplicates"

HTTP_KNOWN_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
"""Values of ``http.request.method``; any other method is ``_OTHER``, so it cannot make series."""
HTTP_METHOD_OTHER: Final = "_OTHER"

# Advised buckets in seconds, from the conventions of each metric.
HTTP_DURATION_BUCKETS: Final = (
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
DB_DURATION_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0)
MESSAGING_DURATION_BUCKETS: Final = HTTP_DURATION_BUCKETS
LAG_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
