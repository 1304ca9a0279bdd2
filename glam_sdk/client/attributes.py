"""Describe a request as a CLIENT span and its metric do (OpenTelemetry HTTP conventions 1.44)."""

from __future__ import annotations

from typing import Final

import httpx
from opentelemetry.util.types import AttributeValue

from glam_sdk._internal.redact import redact_url
from glam_sdk.client.extensions import SENT, URL_TEMPLATE
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.http_methods import known_method, span_method

Attributes = dict[str, AttributeValue]

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def origin_of(url: httpx.URL) -> tuple[str, int]:
    """Return host and port of a URL, with the scheme's port where it names none."""
    return url.host, url.port or _DEFAULT_PORTS.get(url.scheme, 0)


def span_name(request: httpx.Request) -> str:
    """Return ``{method} {url.template}``, or the method alone when the caller gave no template."""
    method = span_method(known_method(request.method))
    template = request.extensions.get(URL_TEMPLATE)
    return f"{method} {template}" if template else method


def metric_attributes(request: httpx.Request) -> Attributes:
    """Return the labels that are known before sending; the span has them too."""
    host, port = origin_of(request.url)
    attributes: Attributes = {
        conv.HTTP_REQUEST_METHOD: known_method(request.method),
        conv.SERVER_ADDRESS: host,
        conv.SERVER_PORT: port,
    }
    template = request.extensions.get(URL_TEMPLATE)
    if template:
        attributes[conv.URL_TEMPLATE] = str(template)
    return attributes


def span_attributes(request: httpx.Request) -> Attributes:
    """Return what only the span has; secrets in the URL are redacted."""
    attributes: Attributes = {conv.URL_FULL: redact_url(str(request.url))}
    if request.method not in conv.HTTP_KNOWN_METHODS:
        attributes[conv.HTTP_REQUEST_METHOD_ORIGINAL] = request.method[:64]
    resent = request.extensions.get(SENT, 0)
    if resent:
        attributes[conv.HTTP_REQUEST_RESEND_COUNT] = resent
    return attributes


def response_attributes(response: httpx.Response) -> Attributes:
    """Return what the answer adds to span and metric; 4xx and 5xx are errors to a client."""
    attributes: Attributes = {conv.HTTP_RESPONSE_STATUS_CODE: response.status_code}
    version = response.extensions.get("http_version", b"")
    if version.startswith(b"HTTP/"):
        attributes[conv.NETWORK_PROTOCOL_VERSION] = version[5:].decode("ascii", "replace")
    if response.status_code >= 400:
        attributes[conv.ERROR_TYPE] = str(response.status_code)
    return attributes
