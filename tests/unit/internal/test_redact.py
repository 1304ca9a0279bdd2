"""Prove that secrets are recognised by key and never echoed."""

from __future__ import annotations

import time
from urllib.parse import quote, quote_plus, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glam_sdk._internal.redact import (
    REDACTED,
    is_sensitive,
    redact_query,
    redact_text,
    redact_url,
    secret_rule,
)

SECRET_KEYS = [
    "password",
    "Password",
    "userPassword",
    "DBPassword",
    "db_password2",
    "userpassword",
    "db_pass",
    "X-Api-Key",
    "apiKey",
    "APIToken",
    "access_token",
    "tokens",
    "Authorization",
    "proxy-authorization",
    "Set-Cookie",
    "session_id",
    "client.secret",
    "aws_secret_access_key",
    "credentials",
    "user[password]",
    "otp",
    "cvv",
    "privateKey",
]
HARMLESS_KEYS = [
    "secretary",
    "tokenizer",
    "passenger",
    "compass",
    "token_count",
    "tokenType",
    "max_tokens",
    "prompt_tokens",
    "password_changed_at",
    "cookie_consent",
    "keyboard",
    "author",
    "order_id",
    "design",
    "",
]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_key_that_names_a_secret_is_recognised(key):
    """Words count in any case and notation, also run together where they mean nothing else."""
    assert is_sensitive(key)


@pytest.mark.parametrize("key", HARMLESS_KEYS)
def test_a_key_that_only_looks_like_one_is_left_alone(key):
    """What is known about a secret, such as how many tokens, may be seen."""
    assert not is_sensitive(key)


def test_the_rule_is_named():
    """A reader learns which word hid the value."""
    assert secret_rule("X-Auth-Token") == "authtoken"
    assert secret_rule("x" * 500 + "_password") == "password"


NAMES = st.sampled_from(
    ["password", "api_key", "token", "sig", "code", "user[password]", "a?token", "pass%77ord"]
)
SECRETS = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="&#"), min_size=1, max_size=20
).map(lambda text: f"s3cr3t{text}s3cr3t")


@given(NAMES, SECRETS, st.booleans(), st.sampled_from(["", "page=2&", "a=1;", "x&"]))
def test_a_query_never_echoes_a_secret(name, secret, encode, before):
    """The value goes whole, whatever characters it has; what stands before stays."""
    query = f"{before}{name}={quote_plus(secret) if encode else secret}&limit=5"
    shown = redact_query(query)
    assert "s3cr3t" not in shown
    assert shown == f"{before}{name}={REDACTED}&limit=5"


@given(st.text(max_size=60))
def test_a_query_without_secrets_stays_as_it_was_sent(query):
    """Redaction changes nothing else, not even the encoding."""
    if not any(word in query.lower() for word in ("=",)):
        assert redact_query(query) == query
    assert redact_query("page=1&q=a%20b+c&&x") == "page=1&q=a%20b+c&&x"


PASSWORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=20)


@given(PASSWORDS.map(lambda text: f"s3cr3t{text}"), st.sampled_from(["", "/db", "/db?ssl=on#x"]))
def test_a_url_never_echoes_a_percent_encoded_password(password, rest):
    """User and password become the marker; host and path stay."""
    shown = redact_url(f"postgresql://app:{quote(password, safe='')}@db.example:5432{rest}")
    assert shown == f"postgresql://REDACTED:REDACTED@db.example:5432{rest}"


@given(PASSWORDS.map(lambda text: f"s3cr3t{text}tail-end"))
def test_a_url_never_echoes_a_password_that_was_not_encoded(password):
    """A bare slash, question mark or at sign in a password must not save part of it."""
    shown = redact_url(f"postgresql://app:{password}@db.example/orders")
    assert "s3cr3t" not in shown
    assert "tail-end" not in shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/x?page=1", "https://a.example/x?page=1"),
        ("https://a.example/x?sig=abc&page=1", "https://a.example/x?sig=REDACTED&page=1"),
        ("https://a.example/#access_token=abc", "https://a.example/#access_token=REDACTED"),
        ("https://a.example/@user/post", "https://a.example/@user/post"),
        ("nats://u:p@a:4222,nats://u:p@b", "nats://REDACTED:REDACTED@a:4222,nats://REDACTED:REDACTED@b"),
        ("http://token@a", "http://REDACTED:REDACTED@a"),
        ("redis://:pa#ss@a", REDACTED),
        ("http://[::1", REDACTED),
        ("app:secret@db/orders", "REDACTED@db/orders"),
    ],
)  # fmt: skip
def test_a_url_keeps_what_is_no_secret(url, shown):
    """Only credentials and sensitive parameters go; an unreadable URL goes whole."""
    assert redact_url(url) == shown


@given(st.text(max_size=80))
def test_any_text_can_be_taken_for_a_url(text):
    """Redaction never raises."""
    assert isinstance(redact_url(text), str)
    assert isinstance(redact_query(text), str)
    assert isinstance(redact_text(text), str)


def test_credentials_are_found_within_a_text():
    """A message or traceback may quote a URL."""
    text = "connect to 'postgresql://app:s3cret@db/x' failed; see http://docs.example/a@b"
    shown = redact_text(text)
    assert shown == (
        "connect to 'postgresql://REDACTED:REDACTED@db/x' failed; see http://docs.example/a@b"
    )


@pytest.mark.parametrize("piece", ["://", "://a:", "://a:b/", "x://:@", "a:b@"])
def test_a_hostile_text_costs_bounded_time(piece):
    """No text makes the search more than linear in effect."""
    started = time.process_time()
    redact_text(piece * 10_000 + " @")
    redact_query((piece + "&;=") * 5_000)
    assert time.process_time() - started < 2.0


def test_the_netloc_survives_without_its_credentials():
    """A redacted URL is still a URL."""
    assert urlsplit(redact_url("https://u:p@h:8443/x?token=1")).port == 8443
