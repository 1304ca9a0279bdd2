"""A port that was given is still free when its server starts, and when that starts again."""

from __future__ import annotations

import socket

import pytest

from glam_sdk.testing import free_port, processes


def test_ports_are_free_each_another_and_none_of_those_of_outgoing_connections() -> None:
    """From 32768 on a system takes one for any connection, between this call and the server's."""
    ports = [free_port() for _ in range(50)]
    assert len(set(ports)) == 50
    assert max(ports) < 32_768
    for port in ports:
        socket.create_server(("127.0.0.1", port)).close()


def test_where_all_those_are_taken_the_system_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowded machine has ports elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(processes, "_PORTS", range(port, port + 1))
        assert free_port() not in {0, port}
