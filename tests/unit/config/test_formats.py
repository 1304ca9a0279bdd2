"""Prove how the notations of values are read."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glam_sdk.config import formats

TEXT = st.text(max_size=12)
NAMES = TEXT.filter(lambda text: bool(text.strip()))


@given(st.dictionaries(NAMES, TEXT, max_size=5))
def test_any_resource_attributes_survive_percent_encoding(attributes: dict[str, str]) -> None:
    """What a specification-conforming writer wrote is read back unchanged."""
    written = ",".join(f"{quote(k, safe='')}={quote(v, safe='')}" for k, v in attributes.items())
    assert formats.resource_attributes(written) == attributes


@given(st.text())
def test_any_text_is_resource_attributes_or_refused(text: str) -> None:
    """The parser never fails in another way than its own."""
    try:
        found = formats.resource_attributes(text)
    except formats.FormatError:
        return
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in found.items())


def test_resource_attributes_may_have_spaces_empty_members_and_repeats() -> None:
    """Blanks and empty members do not count; of a name's values the last wins."""
    assert formats.resource_attributes(" a = 1 ,, b=x%2Cy=z, a=2,") == {"a": "2", "b": "x,y=z"}


@pytest.mark.parametrize("text", ["a", "a=1,b", "=1", "a=%zz", "a=%ff", "a=100%"])
def test_malformed_resource_attributes_are_refused_whole(text: str) -> None:
    """One bad member makes the whole value bad, as the specification asks."""
    with pytest.raises(formats.FormatError):
        formats.resource_attributes(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nats://h:4222", "nats://h:4222"),
        ("tls://h", "tls://h"),
        ("ws://h:80/path", "ws://h:80/path"),
        ("wss://user:p%40ss@h", "wss://user:p%40ss@h"),
        ("nats://token@h:4222", "nats://token@h:4222"),
        ("nats://[::1]:4222", "nats://[::1]:4222"),
        ("localhost:4222", "nats://localhost:4222"),
        ("nats", "nats://nats"),
    ],
)
def test_a_nats_server_is_accepted(text: str, found: str) -> None:
    """Scheme, host and port are checked; a bare address gets the scheme."""
    assert formats.nats_server(text) == found


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://h:4222",
        "nats:/h:4222",
        "nats://",
        "nats://h:port",
        "nats://h:0",
        "nats://h:70000",
        "nats://h/x",
        "nats://u:1/2@h",
        "user:secret@h:4222",
        "h ost:4222",
        "nats://h\n:4222",
    ],
)
def test_a_malformed_nats_server_is_refused(text: str) -> None:
    """Nothing that the client could not use gets past the configuration."""
    with pytest.raises(formats.FormatError, match="nats://host:4222"):
        formats.nats_server(text)


@pytest.mark.parametrize(
    ("text", "grpc", "accepted"),
    [
        ("http://collector:4318", False, True),
        ("https://user:pw@collector/base", False, True),
        ("collector:4318", False, False),
        ("ftp://collector", False, False),
        ("http://", False, False),
        ("http://collector:99999", False, False),
        ("http://collector:4317", True, True),
        ("collector:4317", True, True),
        ("collector", True, False),
        ("unknown://collector:4317", True, False),
    ],
)
def test_an_otlp_endpoint_is_a_url_or_with_grpc_an_address(text, grpc, accepted) -> None:
    """Only gRPC takes an address without a scheme."""
    try:
        formats.otlp_endpoint(text, grpc=grpc)
    except formats.FormatError:
        assert not accepted
    else:
        assert accepted


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://u:p@h:5432/d",
        "postgres://h/d",
        "postgresql+asyncpg://h/d",
        "postgresql+asyncpg://u@/d?host=/tmp",
        "sqlite://",
        "sqlite:///x.sqlite3",
        "sqlite+aiosqlite:////abs/x.sqlite3",
    ],
)
def test_a_database_url_is_accepted(text: str) -> None:
    """PostgreSQL by network or socket, and SQLite by file or memory."""
    assert formats.database_url(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "mysql://h/d",
        "postgresql+psycopg2://h/d",
        "postgresql:/h/d",
        "postgresql:///d",
        "postgresql://u:p/w@h/d",
        "postgresql://u:1/w@h/d",
        "postgresql://h:port/d",
        "sqlite://relative.sqlite3",
        "x",
    ],
)
def test_a_database_url_of_another_kind_is_refused(text: str) -> None:
    """What SQLAlchemy would fail on later, or read differently, is refused at the start."""
    with pytest.raises(formats.FormatError):
        formats.database_url(text)


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "1e3", "x", "¹"])
def test_milliseconds_are_whole_and_positive(text: str) -> None:
    """OpenTelemetry's durations are whole milliseconds."""
    assert formats.milliseconds("1500") == 1.5
    with pytest.raises(formats.FormatError):
        formats.milliseconds(text)


def test_lists_and_mappings_can_be_written_as_json() -> None:
    """JSON carries values that hold a comma."""
    assert formats.comma_list('["a,b", "c"]') == ["a,b", "c"]
    assert formats.pairs('{"a": "1,2"}') == {"a": "1,2"}
    assert formats.comma_list(" a, ,b ") == ["a", "b"]
    assert formats.pairs("a=1, b=2=3") == {"a": "1", "b": "2=3"}


@pytest.mark.parametrize("text", ["[1,", "[secret"])
def test_broken_json_is_refused_without_its_text(text: str) -> None:
    """The cause, which quotes the text, is not kept."""
    with pytest.raises(formats.FormatError) as caught:
        formats.comma_list(text)
    assert "secret" not in str(caught.value)
    assert caught.value.__suppress_context__
