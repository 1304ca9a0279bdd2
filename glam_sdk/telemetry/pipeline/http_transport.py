"""Post to a collector over one kept connection, by the standard library.

The SDK's exporters use ``requests``: 1.3 ms of CPU a request, 60 ms and 8 MB to import. This costs
an eighth and imports nothing new. What only ``requests`` can do (proxies, a password in the URL or
in ``.netrc``, sessions of a credential provider) is left to it: then there is no transport here.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import HTTPConnection, HTTPException, HTTPSConnection, InvalidURL
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit
from urllib.request import getproxies, proxy_bypass

from opentelemetry.exporter.http.transport._base import BaseHTTPResult, BaseHTTPTransport

_MAX_ANSWER: Final = 65_536
_KEPT: Final = "!#$%&'()*+,/:;=?@[]~"  # of an address that was escaped before
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


class RedirectedError(Exception):
    """The collector is somewhere else; its address has to be set."""


class KeptConnection(BaseHTTPTransport):
    """Send one request after the other to one server.

    Args:
        host: Name or address, with its port.
        trust: Tells how the server is trusted and what we show it, for ``https``. It is asked for
            each connection, so that renewed certificates are used.
    """

    def __init__(self, host: str, trust: Callable[[], ssl.SSLContext] | None = None) -> None:
        self._host = host
        self._trust = trust
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
        connection.request(method, quote(target, _KEPT), body=data, headers=dict(headers))
        response = connection.getresponse()
        body = response.read(_MAX_ANSWER)
        if not response.isclosed():
            self._drop()  # whoever says more than that is no collector
        if 300 <= response.status < 400:
            # The SDK's client would count it as sent, and nobody would have the spans.
            error = RedirectedError(f"The collector answered {response.status}.")
            return Answer(reason=response.reason, error=error)
        return Answer(response.status, response.reason, body=body, fields=response.headers)

    def _connect(self) -> HTTPConnection:
        if self._trust is None:
            return HTTPConnection(self._host)
        return HTTPSConnection(self._host, context=self._trust())

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def is_connection_error(self, exception: Exception | None) -> bool:
        """Tell whether sending again may help."""
        is_lasting = isinstance(exception, InvalidURL)
        return isinstance(exception, OSError | HTTPException) and not is_lasting

    def close(self) -> None:
        """Give the connection up; a request under way keeps it until it is done."""
        self._is_closed = True
        if self._turn.acquire(blocking=False):
            try:
                self._drop()
            finally:
                self._turn.release()


def transport_to(endpoint: str, signal: str) -> KeptConnection | None:
    """Return a transport for one signal's endpoint; None where it takes ``requests``.

    Args:
        endpoint: Full URL.
        signal: ``traces``, ``metrics`` or ``logs``, for the variables of certificates.
    """
    try:
        parts = urlsplit(endpoint)
    except ValueError:  # no URL: requests says so with each export
        return None
    if parts.scheme not in ("http", "https") or not parts.hostname or _takes_requests(parts):
        return None
    return KeptConnection(parts.netloc, _trust(signal) if parts.scheme == "https" else None)


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
        return (home / ".netrc").exists() or (home / "_netrc").exists()
    except (OSError, RuntimeError):  # somebody else's home, or none
        return False


def _trust(signal: str) -> Callable[[], ssl.SSLContext]:
    """Return what reads the certificates that the variables name."""

    def said(what: str) -> str | None:
        own = os.environ.get(f"{_OTLP}_{signal.upper()}_{what}")
        return own or os.environ.get(f"{_OTLP}_{what}") or None

    authorities = said("CERTIFICATE") or _authorities()
    certificate, key = said("CLIENT_CERTIFICATE"), said("CLIENT_KEY")

    def context() -> ssl.SSLContext:
        is_directory = Path(authorities).is_dir()
        made = ssl.create_default_context(
            cafile=None if is_directory else authorities,
            capath=authorities if is_directory else None,
        )
        if certificate is not None:
            # Without a password OpenSSL would ask for one on the terminal, where the key has one.
            made.load_cert_chain(certificate, key, password="")
        return made

    return context


def _authorities() -> str:
    """Return the file or directory of authorities that ``requests`` would trust."""
    named = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
    if named:
        return named
    import certifi  # comes with requests

    return certifi.where()
