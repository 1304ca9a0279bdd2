"""Post to a collector over one kept connection, by the standard library.

The SDK's exporters use ``requests``: 1.3 ms of CPU a request, 60 ms and 8 MB to import. This costs
an eighth and imports nothing new. What only ``requests`` can do (proxies, a password in the URL or
in ``.netrc``, sessions of a credential provider) is left to it: then there is no transport here.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from opentelemetry.exporter.http.transport._base import BaseHTTPResult, BaseHTTPTransport

_DEFAULT_ENDPOINT: Final = "http://localhost:4318"
_MAX_ANSWER: Final = 65_536
_OTLP: Final = "OTEL_EXPORTER_OTLP"
_CREDENTIAL_PROVIDER: Final = "OTEL_PYTHON_EXPORTER_OTLP_HTTP"


@dataclass(frozen=True, slots=True)
class Answer(BaseHTTPResult):
    """Hold what the collector answered."""

    body: bytes = b""
    fields: Message = field(default_factory=Message)

    def content(self) -> bytes:
        """Return the body."""
        return self.body

    def headers(self) -> Mapping[str, str]:
        """Return the headers; names are looked up in any case."""
        return self.fields  # type: ignore[return-value]  # a mapping in all but its base class


class KeptConnection(BaseHTTPTransport):
    """Send one request after the other to one server.

    Args:
        scheme: ``http`` or ``https``.
        host: Name or address, with its port.
        context: How the server is trusted and what we show it; for ``https``.
    """

    def __init__(self, scheme: str, host: str, context: ssl.SSLContext | None) -> None:
        self._is_secure = scheme == "https"
        self._host = host
        self._context = context
        self._is_closed = False
        self._begin()

    def _begin(self) -> None:
        self._process = os.getpid()
        self._turn = threading.Lock()
        self._connection: HTTPConnection | None = None

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        data: bytes | None = None,
    ) -> BaseHTTPResult:
        """Send one request; an error of the connection is returned, not raised."""
        if self._process != os.getpid():
            self._begin()  # the connection is the parent's
        with self._turn:
            try:
                answer = self._send(method, url, headers or {}, timeout, data)
            except (OSError, HTTPException, ValueError) as exc:
                self._drop()
                return Answer(error=exc)
            if self._is_closed:
                self._drop()
            return answer

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        timeout: float | None,
        data: bytes | None,
    ) -> Answer:
        connection = self._connection
        if connection is None:
            connection = self._connection = self._connect()
        connection.timeout = timeout
        if connection.sock is not None:
            connection.sock.settimeout(timeout)
        parts = urlsplit(url)
        target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
        connection.request(method, target, body=data, headers=dict(headers))
        response = connection.getresponse()
        body = response.read(_MAX_ANSWER)
        if not response.isclosed():
            self._drop()  # whoever says more than that is no collector
        return Answer(response.status, response.reason, body=body, fields=response.headers)

    def _connect(self) -> HTTPConnection:
        if self._is_secure:
            return HTTPSConnection(self._host, context=self._context)
        return HTTPConnection(self._host)

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def is_connection_error(self, exception: Exception | None) -> bool:
        """Tell whether sending again may help."""
        return isinstance(exception, OSError | HTTPException)

    def close(self) -> None:
        """Give the connection up; a request under way keeps it until it is done."""
        self._is_closed = True
        if self._turn.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._turn.release()


def transport_to(endpoint: str | None, signal: str) -> KeptConnection | None:
    """Return a transport for one signal's endpoint; None where it takes ``requests``.

    Args:
        endpoint: Full URL; None is a collector on this machine.
        signal: ``traces``, ``metrics`` or ``logs``, for the variables of certificates.
    """
    parts = urlsplit(endpoint or _DEFAULT_ENDPOINT)
    if parts.scheme not in ("http", "https") or not parts.hostname or _takes_requests(parts):
        return None
    context = _tls(signal) if parts.scheme == "https" else None
    return KeptConnection(parts.scheme, parts.netloc, context)


def _takes_requests(parts: Any) -> bool:
    environment = os.environ
    if any(name.startswith(_CREDENTIAL_PROVIDER) and environment[name] for name in environment):
        return True
    if "@" in parts.netloc or environment.get("NETRC") or _has_netrc():
        return True
    proxies = getproxies()
    is_proxied = parts.scheme in proxies or "all" in proxies
    return is_proxied and not proxy_bypass(parts.hostname)


def _has_netrc() -> bool:
    try:
        home = Path.home()
    except RuntimeError:  # a user without a home
        return False
    return (home / ".netrc").exists() or (home / "_netrc").exists()


def _tls(signal: str) -> ssl.SSLContext:
    def said(what: str) -> str | None:
        own = os.environ.get(f"{_OTLP}_{signal.upper()}_{what}")
        return own or os.environ.get(f"{_OTLP}_{what}") or None

    context = ssl.create_default_context(cafile=said("CERTIFICATE") or _authorities())
    certificate = said("CLIENT_CERTIFICATE")
    if certificate is not None:
        context.load_cert_chain(certificate, said("CLIENT_KEY"))
    return context


def _authorities() -> str | None:
    """Return the file of authorities that ``requests`` would trust."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if named:
        return named
    import certifi  # comes with requests

    return certifi.where()
