"""Prove that anything can be logged: one valid JSON line, bounded, without secrets."""

from __future__ import annotations

import dataclasses
import enum
import time
from collections import namedtuple
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, SecretStr

from glam_sdk.telemetry.log_chain import LogPipeline
from glam_sdk.telemetry.log_encoding import encode_json, iso_timestamp, plain, traceback_text
from tests.unit.telemetry.conftest import decode


class Failing:
    """Raise at whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError("no attribute")

    def __iter__(self) -> Any:
        raise RuntimeError("no items")


class FailingError(Exception):
    """An exception that cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def cycle() -> list[Any]:
    """Return what contains itself many times over."""
    loop: list[Any] = []
    loop.extend([loop] * 300)
    loop.append({"loop": loop})
    return loop


ODD_VALUES = [
    Failing(),
    Failing,
    FailingError("x"),
    ValueError("é\ud800"),
    ExceptionGroup("several", [ValueError(1), FailingError()]),
    cycle(),
    object(),
    10**5000,
    -(2**63),
    2**64,
    float("nan"),
    float("-inf"),
    "\ud800\udfff \x00\r\n\u2028",
    b"\xff\x00",
    bytearray(b"x"),
    memoryview(b"x"),
    Decimal("1.50"),
    UUID(int=7),
    datetime(2026, 1, 2, tzinfo=UTC),
    date(2026, 1, 2),
    range(10**9),
    {1, "a", None},
    (x for x in [1]),
    enum.Enum("Color", "RED").RED,
    enum.IntEnum("Size", "BIG").BIG,
    SecretStr("s3cret"),
    print,
]
# By position: hypothesis shows its elements, and some of these cannot be shown.
ODD = st.sampled_from(range(len(ODD_VALUES))).map(lambda index: ODD_VALUES[index])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | ODD,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.none(), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text(st.characters(), max_size=8), VALUES, max_size=5), VALUES)
def test_whatever_is_logged_becomes_one_line_of_json(fields, message):
    """The chain never raises, never breaks a line and never writes what is no JSON."""
    written: list[bytes] = []
    chain = LogPipeline(service="s", environment="dev", write=written.append)
    chain.log("info", "any", message, fields, exc=FailingError("x"))
    entry = decode(written[0])
    assert entry["level"] == "info"
    assert "logging_failed" not in entry


@given(VALUES)
def test_values_become_json_types(value):
    """Encoding what was made plain needs no second look."""
    decode(encode_json({"value": plain(value)}))


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (True, True),
        (2**63 - 1, 2**63 - 1),
        (2**63, str(2**63)),
        (float("nan"), "nan"),
        (b"\xffa", "\\xffa"),
        ("\ud800", "\\ud800"),
        (Decimal("1.50"), "1.50"),
        (UUID(int=7), str(UUID(int=7))),
        (datetime(2026, 1, 2, tzinfo=UTC), "2026-01-02T00:00:00+00:00"),
        (enum.Enum("Color", {"RED": "red"}).RED, "red"),
        (enum.IntEnum("Size", {"BIG": 3}).BIG, 3),
        ({"a": (1, [2])}, {"a": [1, [2]]}),
        ({1: "one", None: 2}, {"1": "one", "None": 2}),
        (ValueError("no"), "ValueError: no"),
        (FailingError(), "<FailingError: RuntimeError while logging it>"),
    ],
)
def test_a_value_is_shown_as_a_reader_expects(value, shown):
    """JSON keeps its own types; everything else becomes text."""
    assert plain(value) == shown


@dataclasses.dataclass
class Login:
    user: str
    password: str
    pin_code: str = dataclasses.field(default="1234", repr=False)


class Account(BaseModel):
    name: str
    api_key: str
    note: str = Field(default="hidden", exclude=True)


Pair = namedtuple("Pair", "name token")  # noqa: PYI024 - the untyped one is the one to test


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"passwd": "x", "has_passwd": True}, {"passwd": "REDACTED:passwd", "has_passwd": True}),
        ({"a": [{"Authorization": "x"}]}, {"a": [{"Authorization": "REDACTED:authorization"}]}),
        ({b"token": 1}, {"token": "REDACTED:token"}),
        (Login("ann", "x"), {"user": "ann", "password": "REDACTED:password"}),
        (Account(name="ann", api_key="x"), {"name": "ann", "api_key": "REDACTED:apikey"}),
        (Pair("ann", "x"), {"name": "ann", "token": "REDACTED:token"}),
        ({"password": None, "max_tokens": 5}, {"password": None, "max_tokens": 5}),
    ],
)  # fmt: skip
def test_secrets_are_hidden_by_key_however_deep(value, shown):
    """The marker names the rule; fields a class keeps out of its repr or dump stay out."""
    assert plain(value) == shown


@given(st.text(min_size=1).map(lambda text: f"s3cr3t{text}"), st.sampled_from([0, 1, 2]))
def test_a_secret_is_never_echoed(secret, depth):
    """Neither at the top nor nested, nor as the password of a URL in a text."""
    value: Any = {"password": secret, "ok": 1}
    for _ in range(depth):
        value = [value, (value,)]
    shown = encode_json(plain({"x": value, "api_key": secret}))
    assert b"s3cr3t" not in shown


def test_a_url_in_a_text_loses_its_password():
    """No URL is logged with its password, wherever it stands."""
    url = "postgresql://app:s3cret@db/orders"
    exc = ConnectionError(f"cannot reach {url}")
    shown = [*plain([url, exc]), traceback_text(exc)]
    assert all("s3cret" not in text for text in shown)
    assert shown[0] == "postgresql://REDACTED:REDACTED@db/orders"


@pytest.mark.parametrize(
    "value",
    [
        "x" * 10_000_000,
        b"x" * 10_000_000,
        list(range(1_000_000)),
        {str(n): n for n in range(100_000)},
        cycle(),
        ["y" * 30_000] * 256,
        range(10**12),
    ],
    ids=["text", "bytes", "list", "mapping", "cycle", "texts", "range"],
)
def test_what_is_too_large_is_cut(value):
    """A field costs bounded time and space, whatever is given."""
    started = time.process_time()
    assert len(encode_json(plain(value))) < 200_000
    assert time.process_time() - started < 1.0


def test_depth_is_bounded():
    """A nested value is shown down to a fixed depth."""
    value: Any = "end"
    for _ in range(10_000):
        value = [value]
    assert b"too deep" in encode_json(plain(value))


def test_a_traceback_keeps_its_end():
    """Of a long traceback the line that raised is worth most."""
    with pytest.raises(ValueError, match="the end") as caught:
        raise ValueError("x" * 100_000 + "the end")
    shown = traceback_text(caught.value)
    assert len(shown) <= 32_768 + 1
    assert shown.endswith("the end")


def test_times_are_utc_with_microseconds():
    """Lines of all services sort by their timestamps."""
    assert iso_timestamp(0.0) == "1970-01-01T00:00:00.000000+00:00"
    assert iso_timestamp().endswith("+00:00")
