"""Describe a request before it is routed, so that a sampler sees it (OpenTelemetry HTTP spans)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Final

from glam_sdk._internal.redact import redact_query
from glam_sdk.api.incoming import Headers, text_of
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.http_methods import known_method, span_method
from glam_sdk.telemetry.tracing import BegunAttributes, OwnAttributes, SharedAttributes

_KNOWN_SCHEMES: Final = frozenset({"http", "https", "ws", "wss"})
# What a caller may write into a span, in characters.
_MAX_METHOD: Final = 64
_MAX_PATH: Final = 2_048
_MAX_QUERY: Final = 1_024
_MAX_HEADER: Final = 512


def known_scheme(scheme: str) -> str:
    """Return the scheme, or ``http`` for one that a proxy header made up."""
    return scheme if scheme in _KNOWN_SCHEMES else "http"


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """Hold what requests of one method and scheme have in common from the start.

    Attributes:
        attributes: What span and metrics share.
        key: Stands for them where series are looked up.
        method: As span and log show it.
        is_other: Whether no standard names the method.
    """

    attributes: Mapping[str, str]
    key: tuple[str, ...]
    method: str
    is_other: bool


@lru_cache(maxsize=64)
def kind_of(method: str, scheme: str) -> Kind:
    """Return the kind of a request, the same object for all of one kind.

    Args:
        method: As it came; one that no standard names becomes ``_OTHER``.
        scheme: As it came.
    """
    return _kind_of_known(known_method(method), known_scheme(scheme))


@cache
def _kind_of_known(method: str, scheme: str) -> Kind:
    """Return it, and keep it: callers who make up methods must not have it made anew."""
    shared = {conv.HTTP_REQUEST_METHOD: method, conv.URL_SCHEME: scheme}
    is_other = method == conv.HTTP_METHOD_OTHER
    return Kind(shared, tuple(shared.values()), span_method(method), is_other)


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Hold what requests of one kind have in common that ended in the same way.

    Attributes:
        attributes: What span and metrics share.
        key: Stands for them where series are looked up.
        added: Those that the span has not had from the start.
        span_name: The span's, where a route matched.
        has_failed: Whether there is an ``error.type``.
    """

    attributes: Mapping[str, Any]
    key: tuple[Any, ...]
    added: SharedAttributes
    span_name: str | None
    has_failed: bool


@lru_cache(maxsize=1024)
def outcome_of(
    kind: Kind, route: str | None, status: int | None, error_type: str | None
) -> Outcome:
    """Return how a request ended, the same for all that ended so.

    Args:
        kind: Of the request.
        route: Template of the route that matched.
        status: Of the answer.
        error_type: What went wrong.
    """
    found = {
        conv.HTTP_ROUTE: route,
        conv.HTTP_RESPONSE_STATUS_CODE: status,
        conv.ERROR_TYPE: error_type,
    }
    added = SharedAttributes({name: value for name, value in found.items() if value is not None})
    attributes = {**kind.attributes, **added}
    name = None if route is None else f"{kind.method} {route}"
    key = tuple(attributes.values())
    return Outcome(attributes, key, added, name, error_type is not None)


def shown_path(path: str) -> str:
    """Return the path as it is shown in spans and logs, cut to a bounded length."""
    return path if len(path) <= _MAX_PATH else path[:_MAX_PATH]


def request_attributes(scope: Mapping[str, Any], headers: Headers, kind: Kind) -> BegunAttributes:
    """Return the attributes of the SERVER span that are known before routing.

    Args:
        scope: The ASGI scope.
        headers: The caller's.
        kind: Has the attributes that the span shares with the metrics.
    """
    host, user_agent = headers.get(b"host", b""), headers.get(b"user-agent", b"")
    find = _of_client if len(host) + len(user_agent) <= _MAX_HEADER else _of_client.__wrapped__
    shared = find(kind, scope.get("http_version", "1.1"), host, user_agent)
    path = scope["path"]
    # As in shown_path, whose call would be felt.
    own: OwnAttributes = {conv.URL_PATH: path if len(path) <= _MAX_PATH else path[:_MAX_PATH]}
    if kind.is_other:
        own[conv.HTTP_REQUEST_METHOD_ORIGINAL] = scope["method"][:_MAX_METHOD]
    if scope["type"] == "websocket":
        own[conv.NETWORK_PROTOCOL_NAME] = "websocket"
    if scope.get("query_string"):
        query = scope["query_string"][:_MAX_QUERY].decode("latin-1")
        own[conv.URL_QUERY] = redact_query(query)
    client = scope.get("client")
    if client and client[0]:
        own[conv.CLIENT_ADDRESS] = str(client[0])
    return shared, own


@lru_cache(maxsize=256)
def _of_client(kind: Kind, version: str, host: bytes, user_agent: bytes) -> SharedAttributes:
    """Return what all requests of one kind and one client have in common."""
    found: dict[str, Any] = {**kind.attributes, conv.NETWORK_PROTOCOL_VERSION: version}
    if shown := text_of(user_agent)[:_MAX_HEADER]:
        found[conv.USER_AGENT_ORIGINAL] = shown
    return SharedAttributes(found | _server_address(text_of(host)))


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
