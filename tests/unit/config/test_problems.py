"""Prove that whatever is wrong is reported at once, with its source and without its secrets."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from glam_sdk.config import load_settings, notes
from glam_sdk.errors import ConfigurationError

SHARED = "config/shared.yml"


def test_all_bad_values_are_in_one_message_with_source_value_and_form(root) -> None:
    """Nobody has to start a service five times to find five mistakes."""
    root.write(SHARED, "database:\n  port: high\nlog:\n  levels:\n    uvicorn: loud\n")
    root.write(".env", "\n# comment\nAPP_ENV=production\n")
    message = root.refused(
        {"ORDERS_DB_POOL_SIZE": "0", "ORDERS_HTTP__ACCESS_LOG": "maybe"},
        {"http.slow_request_s": "soon"},
    )
    assert message.splitlines() == [
        "The configuration of 'orders' has 6 problems:",
        (
            "- service.environment: 'production' from .env:3 (APP_ENV); "
            "expected 'dev', 'staging' or 'prod'."
        ),
        (
            "- http.access_log: 'maybe' from environment variable ORDERS_HTTP__ACCESS_LOG; "
            "expected 'on', 'off' or 'sampled'."
        ),
        "- http.slow_request_s: 'soon' from argument to init(); expected a number.",
        (
            "- log.levels.uvicorn: 'loud' from config/shared.yml:5; "
            "expected 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'."
        ),
        "- database.port: 'high' from config/shared.yml:2; expected a whole number.",
        (
            "- database.pool_size: '0' from environment variable ORDERS_DB_POOL_SIZE; "
            "expected 1 or more."
        ),
    ]


def test_the_source_named_is_the_one_that_won(root) -> None:
    """A good value in a weaker source does not hide where the bad one stands."""
    root.write(SHARED, "database: {port: 1}")
    root.write("config/services/orders.yml", "\ndatabase: {port: x}")
    assert "'x' from config/services/orders.yml:2;" in root.refused()


@pytest.mark.parametrize(
    ("yaml", "expected"),
    [
        (
            "database: {hostt: x}",
            "database.hostt: unknown key from {}; did you mean database.host?",
        ),
        ("databse: {host: x}", "databse: unknown key from {}; did you mean database?"),
        ("logs: {level: INFO}", "logs: unknown key from {}; did you mean log?"),
        ("nats: {zzz: 1}", "nats.zzz: unknown key from {}; known are nats.servers, nats.user, "),
        ("log: INFO", "log at {}; expected keys such as level, format"),
        ("log: [1]", "log at {}; expected keys such as level, format"),
    ],
)
def test_an_unknown_key_is_an_error_with_the_nearest_known_one(root, yaml, expected) -> None:
    """A misspelt key never passes in silence."""
    root.write(SHARED, f"# first line\n{yaml}")
    assert expected.format("config/shared.yml:2") in root.refused()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("GLAM_LOG__LEVL", "GLAM_LOG__LEVEL"),
        ("GLAM_LOG_LEVEL", "GLAM_LOG__LEVEL"),
        ("ORDERS_DATABASE__HOSTT", "ORDERS_DATABASE__HOST"),
        ("ORDERS_DATABSE__HOST", "ORDERS_DATABASE__HOST"),
        ("ORDERS_DATABASE_HOST", "ORDERS_DATABASE__HOST"),
        ("ORDERS_DB_HOSTT", "ORDERS_DB_HOST"),
        ("ORDERS_NATS_SERVRS", "ORDERS_NATS_SERVERS"),
    ],
)
def test_an_unknown_variable_of_a_known_section_is_an_error(root, name: str, near: str) -> None:
    """GLAM_ belongs to the SDK whole, the service's prefix where a section's name follows."""
    expected = f"{name}: unknown environment variable; did you mean {near}?"
    assert expected in root.refused({name: "x"})
    root.write(".env", f"{name}=x")
    assert f"{name}: unknown variable in .env:1; did you mean {near}?" in root.refused()


@pytest.mark.parametrize(
    "name",
    [
        "ORDERS_SHOP__URL",
        "ORDERS_PAGE_SIZE",
        "ORDERS_AI_DATABASE__HOST",
        "BILLING_DB_HOSTT",
        "GLAM",
    ],
)
def test_other_variables_are_not_the_sdks_business(root, name: str) -> None:
    """A service's own variables, and those of other services, are left alone."""
    root.load({name: "x"})


def test_an_unknown_argument_is_an_error(root) -> None:
    """Code is checked like any other source; it has no keys of its own."""
    message = root.refused(overrides={"htttp.metrics_path": "/m", "shop": 1})
    assert "htttp: unknown key from argument to init(); did you mean http?" in message
    assert "shop: unknown key from argument to init();" in message


def test_the_environment_cannot_rename_the_service(root) -> None:
    """The name is given in code; a variable for it would change nothing, so it is an error."""
    assert "ORDERS_SERVICE__NAME: unknown" in root.refused({"ORDERS_SERVICE__NAME": "x"})


SECRET = "hUnter-2"


@pytest.mark.parametrize(
    "environ",
    [
        {"ORDERS_DB_URL": f"mysql://root:{SECRET}@db/x"},
        {"ORDERS_DB_URL": f"postgresql://root:{SECRET}/{SECRET}@db/x"},
        {"ORDERS_DB_URL": f"postgresql://root:{SECRET}"},
        {"ORDERS_DB_URL": SECRET},
        {"ORDERS_DB_URL": f"mysql://db/x?password=a,{SECRET};{SECRET}"},
        {"ORDERS_NATS_SERVERS": f"nats://a:{SECRET},{SECRET}@h,nats://b"},
        {"ORDERS_NATS_SERVERS": f"user:{SECRET}@h:4222"},
        {"NATS_SERVERS": f"http://{SECRET}@h"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"ftp://u:{SECRET}@h"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://u:{SECRET}"},
        {"OTEL_RESOURCE_ATTRIBUTES": f"team=a,api_key={SECRET},b"},
        {"ORDERS_LOG__LEVELS": f'{{"password": "{SECRET}",'},
        {"ORDERS_NATS_SERVERS": f'["redis://u:{SECRET}@h"]'},
    ],
)
def test_a_rejected_value_never_shows_its_password(root, environ: dict[str, str]) -> None:
    """The message names the variable, and shows of the value what is no secret."""
    message = root.refused(environ)
    assert SECRET not in message
    assert f"from environment variable {next(iter(environ))}; expected " in message


@given(password=st.text(st.characters(codec="utf-8"), min_size=1, max_size=8))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_no_password_whatever_its_characters_is_shown(root, password: str) -> None:
    """A password that breaks the URL's syntax is not shown either."""
    secret = f"s3c{password}ret"
    for url in (f"redis://app:{secret}@host/0", f"postgresql://app:{secret}@host:port/0"):
        message = root.refused({"ORDERS_DB_URL": url, "ORDERS_NATS_SERVERS": url})
        assert "s3c" not in message
        assert secret not in message


def test_a_url_password_in_yaml_or_code_is_not_shown_either(root) -> None:
    """Lists and sections are masked like variables."""
    root.write(SHARED, f"nats:\n  servers:\n  - ok\n  - redis://u:{SECRET}@h\n")
    message = root.refused(overrides={"database.url": f"redis://u:{SECRET}@h"})
    assert SECRET not in message
    assert "nats.servers: nats" not in message
    assert "redis://REDACTED@h" in message


def test_a_secret_of_the_wrong_type_is_not_shown(root) -> None:
    """A password that YAML takes for a number is reported without it."""
    root.write(SHARED, "database: {password: 12345678}")
    message = root.refused()
    assert "12345678" not in message
    assert "database.password: REDACTED from config/shared.yml:1" in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1", "config/shared.yml:1 is not valid YAML"),
        ("a: 1\n\tb: 2", "config/shared.yml:2 is not valid YAML"),
        (f"database: {{password: *{SECRET}}}", "found undefined alias a name"),
        (f"database: {{password: !{SECRET} x}}", "is not valid YAML"),
        ("- 1", "config/shared.yml: expected keys with values at the top level."),
        ("log: &l\n  x: *l", "config/shared.yml is not valid YAML"),
        ("a: \x07", "config/shared.yml is not valid YAML: special characters are not allowed"),
        ("service: {version: 2026-02-31}", "config/shared.yml:1: the value cannot be read"),
        (
            "log:\n  level: INFO\n  level: DEBUG",
            "shared.yml:3: level stands twice, first at config",
        ),
        ("service: {version: 1.10}", "expected text (in YAML, written in quotes)"),
    ],
)
def test_a_broken_file_is_reported_with_its_line(root, text: str, expected: str) -> None:
    """A file that cannot be used is one more problem, not a traceback."""
    root.write(SHARED, text)
    message = root.refused({"ORDERS_DB_PORT": "x"})
    assert expected in message
    assert SECRET not in message
    assert "database.port: 'x'" in message


def test_a_file_that_cannot_be_read_is_reported(root) -> None:
    """A directory in place of a file, or bytes that are not text."""
    (root.path / "config" / "shared.yml").mkdir(parents=True)
    (root.path / ".env").write_bytes(b"A=\xff")
    message = root.refused()
    assert "config/shared.yml cannot be read: " in message
    assert ".env cannot be read: it is not UTF-8 text." in message


def test_a_broken_line_of_dotenv_is_reported_by_number_only(root) -> None:
    """The line's content may be a secret."""
    root.write(".env", f"A=1\n\nB='{SECRET}\nC=3\n")
    message = root.refused()
    assert ".env:3 cannot be read; expected NAME=value." in message
    assert SECRET not in message


def test_a_host_without_a_database_name_is_reported(root) -> None:
    """A half-given database is named at the start, not by the server."""
    message = root.refused({"ORDERS_DB_HOST": "db"})
    assert "database.host: 'db' from environment variable ORDERS_DB_HOST" in message
    assert "expected database.name beside it" in message
    root.load({"ORDERS_DB_HOST": "db", "ORDERS_DB_NAME": "orders"})


def test_a_long_value_is_cut(root) -> None:
    """A megabyte in a variable does not become a megabyte in the log."""
    assert len(root.refused({"ORDERS_DB_PORT": "9" * 1_000_000 + "x"})) < 500


def test_control_characters_do_not_reach_the_log(root) -> None:
    """A value is shown quoted, so that it cannot forge a line."""
    assert "'a\\nb'" in root.refused({"ORDERS_DB_PORT": "a\nb"})


@pytest.mark.parametrize(
    ("text", "near"), [("loging:\n  level: INFO\n", "log"), ("databases:\n  host: x\n", "database")]
)
def test_a_misspelt_section_is_refused_when_it_holds_our_settings(tmp_path, text, near):
    """A name like one of ours, with settings of that section in it, is no section of a service."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/shared.yml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings("orders", root=tmp_path, environ={})
    assert near in caught.value.message


def test_a_section_of_other_name_with_our_settings_is_noted(tmp_path):
    """``messaging.servers`` does nothing; whoever wrote it is told which section has it."""
    (tmp_path / "config").mkdir()
    (tmp_path / "config/shared.yml").write_text("messaging:\n  servers: nats://a:4222\n")
    loaded = load_settings("orders", root=tmp_path, environ={})
    assert [note for note in notes(loaded) if "messaging" in note and "nats" in note]
