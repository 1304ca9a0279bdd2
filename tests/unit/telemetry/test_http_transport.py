"""One connection is kept and its loss survived; what only requests can do is left to it."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.client import InvalidURL
from pathlib import Path
from typing import Any

import certifi
import pytest

from glam_sdk.config import load_settings
from glam_sdk.telemetry.pipeline.exporters import log_exporters, metric_exporter, span_exporters
from glam_sdk.telemetry.pipeline.http_transport import KeptConnection, transport_to

OK = b"HTTP/1.1 200 OK\r\nX-Answer: one\r\nContent-Length: 2\r\n\r\nhi"
URL = "http://127.0.0.1:4318/v1/traces"


class Server:
    """Answer on plain sockets, and count the connections."""

    def __init__(self) -> None:
        self.answer = OK
        self.connections = 0
        self.requests: list[bytes] = []
        self.per_connection = 99
        self.listener = socket.create_server(("127.0.0.1", 0))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listener.getsockname()[1]}/v1/traces?a=b"

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections += 1
            with connection, suppress(OSError):
                for _ in range(self.per_connection):
                    head = b""
                    while b"\r\n\r\nbody" not in head:
                        received = connection.recv(4096)
                        if not received:
                            break
                        head += received
                    else:
                        self.requests.append(head)
                        connection.sendall(self.answer)
                        continue
                    break


@contextmanager
def serving() -> Iterator[Server]:
    server = Server()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
        thread.join(10)


def open_transport(url: str) -> KeptConnection:
    transport = transport_to(url, "traces")
    assert transport is not None
    return transport


def test_one_connection_serves_all_requests() -> None:
    """Path, query, headers and body arrive; status, headers and body come back."""
    with serving() as server:
        transport = open_transport(server.url)
        for _ in range(3):
            answer = transport.request(
                "POST", server.url, headers={"tenant": "t"}, timeout=5, data=b"body"
            )
            assert (answer.status_code, answer.reason, answer.error) == (200, "OK", None)
            assert (answer.content(), answer.text()) == (b"hi", "hi")
            assert answer.headers().get("x-answer") == "one"
        transport.close()
    assert server.connections == 1
    assert server.requests[0].startswith(b"POST /v1/traces?a=b HTTP/1.1\r\n")
    assert b"tenant: t\r\n" in server.requests[0]


def test_a_path_is_written_as_requests_would_write_it() -> None:
    """What no request line may hold is escaped, what is escaped stays."""
    with serving() as server:
        transport = open_transport(server.url)
        url = server.url.replace("/v1/traces?a=b", "/tenant ü/%20/traces?a=b c")
        assert transport.request("POST", url, timeout=5, data=b"body").status_code == 200
        transport.close()
    assert server.requests[0].startswith(b"POST /tenant%20%C3%BC/%20/traces?a=b%20c HTTP/1.1")


def test_an_address_that_is_none_is_not_tried_again() -> None:
    """The next attempt would find the same."""
    transport = open_transport("http://collector:otlp/")
    error = transport.request("POST", "http://collector:otlp/", timeout=1).error
    assert isinstance(error, InvalidURL)
    assert not transport.is_connection_error(error)


def test_a_connection_that_was_closed_is_made_anew() -> None:
    """The first request after it is an error that another attempt mends."""
    with serving() as server:
        server.per_connection = 1
        transport = open_transport(server.url)
        results = []
        for _ in range(4):
            answer = transport.request("POST", server.url, timeout=5, data=b"body")
            results.append(answer.status_code)
            if answer.error is not None:
                assert transport.is_connection_error(answer.error)
        transport.close()
    assert results.count(200) >= 2
    assert server.connections == results.count(200)


@pytest.mark.parametrize(
    ("answer", "connections"),
    [
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 1),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + b"x" * 100_000, 2),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", 2),
    ],
)
def test_answers_end_as_http_says(answer: bytes, connections: int) -> None:
    """Empty and chunked answers keep the connection; a very long one costs it."""
    with serving() as server:
        server.answer = answer
        transport = open_transport(server.url)
        for _ in range(2):
            assert transport.request("POST", server.url, timeout=5, data=b"body").error is None
        transport.close()
    assert server.connections == connections


def test_what_cannot_be_reached_is_an_answer_with_an_error() -> None:
    """Nothing is raised where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    transport = open_transport(f"http://127.0.0.1:{port}")
    answer = transport.request("POST", f"http://127.0.0.1:{port}/", timeout=1, data=b"body")
    assert isinstance(answer.error, ConnectionRefusedError)
    assert transport.is_connection_error(answer.error)
    assert not transport.is_connection_error(ValueError())
    assert not transport.is_connection_error(None)


def test_a_server_that_hangs_costs_the_timeout() -> None:
    """The timeout of the request holds for a connection that is kept, too."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        transport = open_transport(url)
        for _ in range(2):
            answer = transport.request("POST", url, timeout=0.05, data=b"body")
            assert isinstance(answer.error, TimeoutError)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("HTTP_PROXY", "http://proxy:3128"),
        ("ALL_PROXY", "http://proxy:3128"),
        ("OTEL_PYTHON_EXPORTER_OTLP_HTTP_TRACES_CREDENTIAL_PROVIDER", "mine"),
        ("NETRC", "/etc/netrc"),
    ],
)
def test_what_only_requests_can_do_is_left_to_it(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Proxies, credential providers and .netrc; but not where NO_PROXY excepts the host."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("no_proxy", "NO_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert transport_to(URL, "traces") is not None
    monkeypatch.setenv(variable, value)
    assert transport_to(URL, "traces") is None
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    assert (transport_to(URL, "traces") is not None) is variable.endswith("PROXY")


def test_a_home_that_cannot_be_looked_into_has_no_netrc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of another user in a container; here its name is too long."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HOME", "/" + "x" * 5_000)
    assert transport_to(URL, "traces") is not None


def test_a_password_in_the_url_is_left_to_requests() -> None:
    """It becomes a header there."""
    assert transport_to("http://user:secret@127.0.0.1:4318/v1/traces", "traces") is None


@pytest.mark.parametrize("endpoint", ["http://[::1/v1/traces", "localhost:4318", "ftp://x/", ""])
def test_an_odd_endpoint_is_left_to_requests(endpoint: str) -> None:
    """What it says of it is an export's error, and no reason not to start."""
    assert transport_to(endpoint, "traces") is None


@pytest.mark.parametrize("endpoint", [None, "http://collector.test:4318"])
def test_every_signal_leaves_by_it(endpoint: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default to the collector on this machine, as the specification says."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HOME", "/nonexistent")
    environ = {f"OTEL_{signal}_EXPORTER": "otlp" for signal in ("TRACES", "METRICS", "LOGS")}
    if endpoint is not None:
        environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = endpoint
    settings = load_settings("shop", environ=environ)
    made = [*span_exporters(settings), metric_exporter(settings), *log_exporters(settings)]
    hosts = []
    for exporter in made:
        client: Any = getattr(exporter, "_client")  # noqa: B009 - three classes, one field
        assert isinstance(client._transport, KeptConnection)
        assert client._endpoint.startswith(endpoint or "http://localhost:4318/v1/")
        hosts.append(client._transport._host)
    assert hosts == ["collector.test:4318" if endpoint else "localhost:4318"] * 3


def test_certificates_are_read_with_each_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A missing file is an export's error, not the service's; once it is there, it is used."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HOME", str(tmp_path))
    missing = tmp_path / "ca.pem"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(missing))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"https://127.0.0.1:{port}/v1/traces"
    transport = open_transport(url)
    assert isinstance(transport.request("POST", url, timeout=1).error, FileNotFoundError)
    shutil.copy(certifi.where(), missing)
    assert isinstance(transport.request("POST", url, timeout=1).error, ConnectionRefusedError)


def test_authorities_may_be_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As REQUESTS_CA_BUNDLE may for requests."""
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    url = f"https://127.0.0.1:{port}/v1/traces"
    answer = open_transport(url).request("POST", url, timeout=1)
    assert isinstance(answer.error, ConnectionRefusedError)


def timeout_of(exporter: Any) -> float:
    holder = exporter if hasattr(exporter, "_timeout") else exporter._client
    return float(holder._timeout)


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_timeout_of_zero_is_no_limit(protocol: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the specification has it; read as it stands, no export would ever succeed."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0")
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    settings = load_settings("shop", environ=environ)
    for exporter in (*span_exporters(settings), *log_exporters(settings)):
        assert timeout_of(exporter) > 60
        exporter.shutdown()
    pushed: Any = metric_exporter(settings)
    assert timeout_of(pushed) == settings.telemetry.metric_export_timeout_s
    pushed.shutdown()
