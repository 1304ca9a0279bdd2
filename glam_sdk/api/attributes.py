"""Describe a request before it is routed, so that a sampler sees it (OpenTelemetry HTTP spans)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from glam_sdk._internal.redact import redact_query
from glam_sdk.api.incoming import Incoming
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.http_methods import known_method
from glam_sdk.telemetry.tracing import PlainAttributes

_KNOWN_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})
# What a caller may write into a span, in characters.
_MAX_PATH: Final = 2_048
_MAX_QUERY: Final = 1_024
_MAX_HEADER: Final = 512


def known_scheme(scheme: str) -> str:
    """Return the scheme, or ``http`` for one that a proxy header made up."""
    return scheme if scheme in _KNOWN_SCHEMES else "http"


@lru_cache(maxsize=64)
def measured_attributes(method: str, scheme: str) -> Mapping[str, str]:
    """Return the attributes that span and metrics share from the start; do not change them.

    Args:
        method: As it came; one that no standard names becomes ``_OTHER``.
        scheme: As it came.
    """
    return {conv.HTTP_REQUEST_METHOD: known_method(method), conv.URL_SCHEME: known_scheme(scheme)}


def shown_path(scope: Mapping[str, Any]) -> str:
    """Return the path as it is shown in spans and logs, cut to a bounded length."""
    path: str = scope["path"]
    return path if len(path) <= _MAX_PATH else path[:_MAX_PATH]


def request_attributes(
    scope: Mapping[str, Any], incoming: Incoming, measured: Mapping[str, Any]
) -> PlainAttributes:
    """Return the attributes of the SERVER span that are known before routing.

    Args:
        scope: The ASGI scope.
        incoming: The caller's headers.
        measured: Attributes that the span shares with the metrics: method and scheme.
    """
    version = scope.get("http_version", "1.1")
    host, user_agent = incoming.host, incoming.user_agent[:_MAX_HEADER]
    find = _of_client if len(host) <= _MAX_HEADER else _of_client.__wrapped__
    attributes = PlainAttributes(measured)
    attributes.update(find(version, host, user_agent))
    attributes[conv.URL_PATH] = shown_path(scope)
    if measured[conv.HTTP_REQUEST_METHOD] == conv.HTTP_METHOD_OTHER:
        attributes[conv.HTTP_REQUEST_METHOD_ORIGINAL] = scope["method"][:64]
    if scope["type"] == "websocket":
        attributes[conv.NETWORK_PROTOCOL_NAME] = "websocket"
    if scope.get("query_string"):
        query = scope["query_string"][:_MAX_QUERY].decode("latin-1")
        attributes[conv.URL_QUERY] = redact_query(query)
    client = scope.get("client")
    if client and client[0]:
        attributes[conv.CLIENT_ADDRESS] = str(client[0])
    return attributes


@lru_cache(maxsize=256)
def _of_client(version: str, host: str, user_agent: str) -> Mapping[str, Any]:
    """Return what all requests of one client have in common."""
    found: dict[str, Any] = {conv.NETWORK_PROTOCOL_VERSION: version}
    if user_agent:
        found[conv.USER_AGENT_ORIGINAL] = user_agent
    return found | _server_address(host)


def _server_address(host: str) -> dict[str, Any]:
    """Split ``Host``; a bracketed IPv6 address keeps its colons."""
    found: dict[str, Any] = {}
    address, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        address, port = host, ""
    if address:
        found[conv.SERVER_ADDRESS] = address.strip("[]")[:_MAX_HEADER]
    if len(port) <= 5 and port.isascii() and port.isdecimal() and int(port) <= 65_535:
        found[conv.SERVER_PORT] = int(port)
    return found
