"""Log levels can be changed at run time, by whoever knows the admin token and nobody else."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import httpx
import pytest
from fastapi import FastAPI

from glam_sdk.testing import AppServer, capture_telemetry

TOKEN = "a-token-that-is-long-enough"
URL = "/admin/loggers"


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """Serve an application with an admin token."""
    with capture_telemetry(overrides={"http": {"admin_token": TOKEN}}) as telemetry:
        app = telemetry.service.install(FastAPI())
        with AppServer(app) as server, httpx.Client(base_url=server.url) as found:
            yield found
    logging.getLogger("shop.prices").setLevel(logging.NOTSET)


def bearer(token: str) -> dict[str, str]:
    """Return the header that carries a token."""
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("headers", [{}, bearer("wrong"), {"Authorization": f"Basic {TOKEN}"}])
def test_without_the_token_nothing_is_shown_or_changed(
    client: httpx.Client, headers: dict[str, str]
) -> None:
    """401 with the scheme to use; the level stays."""
    assert client.get(URL, headers=headers).status_code == 401
    answer = client.put(f"{URL}/shop.prices", json={"level": "DEBUG"}, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"
    assert logging.getLogger("shop.prices").level == logging.NOTSET


def test_a_level_is_changed_and_given_back(client: httpx.Client) -> None:
    """PUT sets it, GET shows it, null lets the logger follow its parent again."""
    answer = client.put(f"{URL}/shop.prices", json={"level": "debug"}, headers=bearer(TOKEN))
    assert answer.json()["shop.prices"] == "DEBUG"
    assert client.get(URL, headers=bearer(TOKEN)).json()["shop.prices"] == "DEBUG"
    answer = client.put(f"{URL}/shop.prices", json={"level": None}, headers=bearer(TOKEN))
    assert "shop.prices" not in answer.json()


def test_an_unknown_level_is_refused_with_the_known_ones(client: httpx.Client) -> None:
    """422 that says what can be chosen."""
    answer = client.put(f"{URL}/shop.prices", json={"level": "LOUD"}, headers=bearer(TOKEN))
    assert answer.status_code == 422
    assert "WARNING" in answer.json()["error"]["message"]


def test_without_a_configured_token_the_endpoint_is_not_there() -> None:
    """Nothing is exposed by default, and it is in no OpenAPI schema."""
    with capture_telemetry() as telemetry:
        app = telemetry.service.install(FastAPI())
        with AppServer(app) as server:
            assert httpx.get(f"{server.url}{URL}", headers=bearer(TOKEN)).status_code == 404
        assert URL not in app.openapi()["paths"]
