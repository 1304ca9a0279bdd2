"""Describe a request before it is routed, so that a sampler sees it (OpenTelemetry HTTP spans)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from glam_sdk._internal.redact import redact_query
from glam_sdk.api.incoming import Incoming
from glam_sdk.telemetry import conventions as conv

_KNOWN_METHODS: Final = frozenset(
    {"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"}
)
_OTHER: Final = "_OTHER"


def known_method(method: str) -> str:
    """Return the method, or ``_OTHER`` for one no standard names: a client must not make series."""
    return method if method in _KNOWN_METHODS else _OTHER


def span_method(method: str) -> str:
    """Return how the span's name begins; ``HTTP`` for an unknown method."""
    return "HTTP" if method == _OTHER else method


def request_attributes(scope: Mapping[str, Any], incoming: Incoming, method: str) -> dict[str, Any]:
    """Return the attributes of the SERVER span that are known before routing."""
    attributes: dict[str, Any] = {
        conv.HTTP_REQUEST_METHOD: method,
        conv.URL_SCHEME: scope.get("scheme", "http"),
        conv.URL_PATH: scope["path"],
        conv.NETWORK_PROTOCOL_VERSION: scope.get("http_version", "1.1"),
    }
    if method == _OTHER:
        attributes[conv.HTTP_REQUEST_METHOD_ORIGINAL] = scope["method"][:64]
    if scope["type"] == "websocket":
        attributes[conv.NETWORK_PROTOCOL_NAME] = "websocket"
    if scope.get("query_string"):
        attributes[conv.URL_QUERY] = redact_query(scope["query_string"].decode("latin-1"))
    if scope.get("client"):
        attributes[conv.CLIENT_ADDRESS] = scope["client"][0]
    if incoming.user_agent:
        attributes[conv.USER_AGENT_ORIGINAL] = incoming.user_agent
    attributes.update(_server_address(incoming.host))
    return attributes


def _server_address(host: str) -> dict[str, Any]:
    """Split ``Host``; a bracketed IPv6 address keeps its colons."""
    address, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        address, port = host, ""
    found: dict[str, Any] = {}
    if address:
        found[conv.SERVER_ADDRESS] = address.strip("[]")
    if port.isascii() and port.isdecimal() and int(port[:6]) <= 65_535:
        found[conv.SERVER_PORT] = int(port)
    return found
