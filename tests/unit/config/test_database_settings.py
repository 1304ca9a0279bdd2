"""Prove which database URL comes out of the settings."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import make_url

from glam_sdk.config import DatabaseSettings

PLAIN = st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=10)


@pytest.mark.parametrize(
    ("given_url", "driver", "expected"),
    [
        ("postgresql://u:p@h/d", "asyncpg", "postgresql+asyncpg://u:p@h/d"),
        ("postgres://h/d", "psycopg", "postgresql+psycopg://h/d"),
        ("postgresql+asyncpg://h/d", "psycopg", "postgresql+asyncpg://h/d"),
        ("sqlite:///a.sqlite3", "asyncpg", "sqlite+aiosqlite:///a.sqlite3"),
        ("sqlite://", "asyncpg", "sqlite+aiosqlite://"),
    ],
)
def test_a_url_gets_its_asynchronous_driver(given_url: str, driver: str, expected: str) -> None:
    """Services keep the URL they have."""
    settings = DatabaseSettings(url=given_url, async_driver=driver)
    assert settings.sqlalchemy_url() == expected


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("localhost", 6543),
        ("127.0.0.1", 6543),
        ("host.docker.internal", 6543),
        ("db", 5432),
        ("::1", 5432),
    ],
)
def test_the_external_port_wins_where_the_host_is_reached_from_outside(host, port) -> None:
    """Inside Docker's network the inner port counts, on the machine itself the published one."""
    settings = DatabaseSettings(host=host, name="d", port_external=6543)
    assert urlsplit(settings.sqlalchemy_url()).port == port


def test_without_an_external_port_the_port_counts_everywhere() -> None:
    """The external port is optional."""
    settings = DatabaseSettings(host="localhost", name="d", port=5433)
    assert settings.sqlalchemy_url() == "postgresql+asyncpg://localhost:5433/d"


@given(user=PLAIN, password=PLAIN, name=PLAIN)
def test_user_password_and_name_reach_sqlalchemy_unchanged(user, password, name) -> None:
    """Any character is percent-encoded as SQLAlchemy decodes it."""
    settings = DatabaseSettings(host="h", user=user, password=password, name=name)
    url = make_url(settings.sqlalchemy_url())
    assert (url.username, url.password) == (user, password)
    assert unquote(url.database or "") == name


@given(password=PLAIN.map("s3c{}ret".format))
def test_the_safe_url_has_everything_but_the_password(password: str) -> None:
    """Host, port, name and user help to find the fault; the password does not."""
    settings = DatabaseSettings(host="h", user="app", password=password, name="d")
    assert settings.safe_url() == "postgresql+asyncpg://app:REDACTED@h:5432/d"
    assert password not in repr(settings)


@pytest.mark.parametrize(
    ("url", "safe"),
    [
        ("postgresql://u:p@h/d?sslpassword=x&ssl=on", "u:REDACTED@h/d?sslpassword=REDACTED&ssl=on"),
        ("postgresql://u@/d?host=/tmp", "u@/d?host=/tmp"),
    ],
)
def test_the_safe_url_of_a_given_url_hides_its_secrets(url: str, safe: str) -> None:
    """Passwords in the query are secrets too."""
    assert DatabaseSettings(url=url).safe_url() == f"postgresql+asyncpg://{safe}"


def test_the_safe_url_of_sqlite_is_its_file() -> None:
    """Three slashes stay three slashes."""
    assert DatabaseSettings().safe_url() == "sqlite+aiosqlite:///service.sqlite3"
    assert DatabaseSettings(url="sqlite:////a/b").safe_url() == "sqlite+aiosqlite:////a/b"


def test_a_url_wins_over_the_parts() -> None:
    """Whoever gives a URL has said everything."""
    settings = DatabaseSettings(url="sqlite:///a", host="h", name="d")
    assert settings.sqlalchemy_url() == "sqlite+aiosqlite:///a"
