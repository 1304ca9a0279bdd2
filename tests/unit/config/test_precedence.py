"""Prove which source wins."""

from __future__ import annotations

import pytest

from glam_sdk.config import Settings, default_prefix, load_settings
from glam_sdk.config.knobs import SHARED_PREFIX, knobs_of
from glam_sdk.errors import ConfigurationError

SHARED = "config/shared.yml"
SERVICE = "config/services/orders.yml"


def test_without_any_source_every_setting_has_a_default_that_works(root) -> None:
    """An empty directory and an empty environment are a configuration."""
    settings = root.load()
    assert settings.service.name == "orders"
    assert settings.database.sqlalchemy_url() == "sqlite+aiosqlite:///orders.sqlite3"
    assert settings.nats.servers == ("nats://127.0.0.1:4222",)
    assert settings.telemetry.endpoint_for("traces") is None


def test_each_source_wins_over_the_one_before_it(root) -> None:
    """Defaults, shared file, service file, .env, environment, arguments."""
    steps = [root.load().database.pool_size]
    root.write(SHARED, "database: {pool_size: 11}")
    steps.append(root.load().database.pool_size)
    root.write(SERVICE, "database: {pool_size: 12}")
    steps.append(root.load().database.pool_size)
    root.write(".env", "ORDERS_DATABASE__POOL_SIZE=13")
    steps.append(root.load().database.pool_size)
    environ = {"ORDERS_DATABASE__POOL_SIZE": "14"}
    steps.append(root.load(environ).database.pool_size)
    steps.append(root.load(environ, {"database.pool_size": 15}).database.pool_size)
    assert steps == [5, 11, 12, 13, 14, 15]


def test_the_service_file_is_merged_into_the_shared_one(root) -> None:
    """Sections are merged key by key; an empty section takes nothing away."""
    root.write(SHARED, "database: {name: a, user: app}\nlog: {levels: {x: INFO, y: INFO}}\nnats:\n")
    root.write(SERVICE, "database: {name: b}\nlog: {levels: {y: ERROR}}\nnats:")
    settings = root.load()
    assert (settings.database.name, settings.database.user) == ("b", "app")
    assert settings.log.levels == {"x": "INFO", "y": "ERROR"}


def test_the_file_of_another_service_is_not_read(root) -> None:
    """Each service has a file of its own."""
    root.write("config/services/billing.yml", "log: {level: ERROR}")
    assert root.load().log.level == "INFO"


def test_the_strongest_name_of_a_setting_counts(root) -> None:
    """GLAM_, then names without a prefix, then the service's alias, then its full name."""
    names = ["GLAM_NATS__SERVERS", "NATS_SERVERS", "ORDERS_NATS_SERVERS", "ORDERS_NATS__SERVERS"]
    environ: dict[str, str] = {}
    for number, name in enumerate(names):
        environ[name] = f"nats://{number}"
        assert root.load(environ).nats.servers == (f"nats://{number}",)


def test_a_weak_name_in_the_environment_wins_over_a_strong_one_in_dotenv(root) -> None:
    """The source decides before the name does."""
    root.write(".env", "ORDERS_LOG__LEVEL=ERROR")
    assert root.load({"GLAM_LOG__LEVEL": "DEBUG"}).log.level == "DEBUG"


def test_an_empty_variable_counts_as_not_set(root) -> None:
    """`NAME=` in a compose file does not overwrite what a weaker source says."""
    root.write(".env", "ORDERS_DB_PORT=6000\nOTEL_TRACES_EXPORTER=\n")
    settings = root.load({"ORDERS_DB_PORT": "", "OTEL_SDK_DISABLED": " "})
    assert settings.database.port == 6000
    assert settings.telemetry.traces_exporter == ("otlp",)
    assert settings.telemetry.disabled is False


CONTRACT = {
    "ORDERS_DB_HOST": ("database.host", "db", "db"),
    "ORDERS_DB_PORT": ("database.port", "1", 1),
    "ORDERS_DB_PORT_EXTERNAL": ("database.port_external", "2", 2),
    "ORDERS_DB_NAME": ("database.name", "n", "n"),
    "ORDERS_DB_USER": ("database.user", "u", "u"),
    "ORDERS_DB_ENABLED": ("database.enabled", "false", False),
    "ORDERS_DB_POOL_SIZE": ("database.pool_size", "7", 7),
    "ORDERS_DB_MAX_OVERFLOW": ("database.max_overflow", "0", 0),
    "ORDERS_DB_POOL_PRE_PING": ("database.pool_pre_ping", "0", False),
    "ORDERS_DB_POOL_RECYCLE": ("database.pool_recycle", "60", 60),
    "ORDERS_DB_ASYNC_DRIVER": ("database.async_driver", "psycopg", "psycopg"),
    "ORDERS_DB_ECHO": ("database.echo", "True", True),
    "ORDERS_NATS_SERVERS": ("nats.servers", "nats://a,b:1", ("nats://a", "nats://b:1")),
    "NATS_SERVERS": ("nats.servers", "nats://a", ("nats://a",)),
    "NATS_USER": ("nats.user", "u", "u"),
    "LOG_LEVEL": ("log.level", "debug", "DEBUG"),
    "APP_ENV": ("service.environment", "prod", "prod"),
}


@pytest.mark.parametrize("name", CONTRACT)
def test_every_name_that_services_use_today_is_read(root, name: str) -> None:
    """The variables of the contract keep their names."""
    key, text, value = CONTRACT[name]
    environ = {name: text} if name == "ORDERS_DB_NAME" else {name: text, "ORDERS_DB_NAME": "d"}
    section, field = key.split(".")
    assert getattr(getattr(root.load(environ), section), field) == value


@pytest.mark.parametrize("name", ["ORDERS_DB_PASSWORD", "NATS_PASSWORD"])
def test_passwords_are_read_and_not_printed(root, name: str) -> None:
    """A password is only given out on request."""
    settings = root.load({name: "s3cret"})
    section = settings.nats if name.startswith("NATS") else settings.database
    assert section.password is not None
    assert section.password.get_secret_value() == "s3cret"
    assert "s3cret" not in repr(settings) + str(settings)


def test_every_setting_but_the_name_has_a_name_for_one_service_and_for_all() -> None:
    """`ORDERS_HTTP__METRICS_PATH` and `GLAM_HTTP__METRICS_PATH`, and so on."""
    for knob in knobs_of(Settings):
        if knob.path == ("service", "name"):
            continue
        names = {env.name for env in knob.variables("ORDERS_", shared=True)}
        own = "__".join(knob.path).upper()
        assert {f"ORDERS_{own}", f"{SHARED_PREFIX}{own}"} <= names


def test_arguments_may_be_nested_dotted_or_sections(root) -> None:
    """All three forms mean the same, and can be mixed."""
    from glam_sdk.config import DatabaseSettings

    settings = root.load(
        {"ORDERS_HTTP__METRICS_PATH": "/m"},
        {
            "log": {"level": "error"},
            "log.format": "json",
            "database": DatabaseSettings(pool_size=3, password="s3cret"),
            "service": {"name": "not this"},
        },
    )
    assert (settings.log.level, settings.log.format) == ("ERROR", "json")
    assert settings.database.pool_size == 3
    assert settings.database.password.get_secret_value() == "s3cret"
    assert settings.service.name == "orders"
    assert settings.http.metrics_path == "/m"


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("orders", "ORDERS_"),
        ("catalog-service", "CATALOG_"),
        ("profile-ai-selfie", "PROFILE_AI_SELFIE_"),
        ("a.b", "A_B_"),
    ],
)
def test_the_prefix_follows_from_the_name(name: str, prefix: str) -> None:
    """Upper case, underscores, and no -service."""
    assert default_prefix(name) == prefix


def test_another_prefix_can_be_given(tmp_path) -> None:
    """With or without the underscore at its end."""
    environ = {"SHOP_LOG__LEVEL": "ERROR"}
    for prefix in ("SHOP", "SHOP_"):
        settings = load_settings("orders", env_prefix=prefix, environ=environ, root=tmp_path)
        assert settings.log.level == "ERROR"


@pytest.mark.parametrize("name", ["", "../secrets", "a/b", "-a", "1a", "a b"])
def test_a_name_that_would_lead_out_of_the_directory_is_refused(name: str, tmp_path) -> None:
    """The name becomes part of a file's path."""
    with pytest.raises(ConfigurationError, match="cannot be a service's name"):
        load_settings(name, environ={}, root=tmp_path)


def test_a_prefix_that_is_no_variable_name_is_refused(tmp_path) -> None:
    """A prefix in lower case would never match anything."""
    with pytest.raises(ConfigurationError, match="cannot be a prefix"):
        load_settings("orders", env_prefix="orders-", environ={}, root=tmp_path)


def test_the_process_environment_is_read_when_none_is_given(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loading with nothing but a name reads the current directory and the real environment."""
    monkeypatch.setenv("ORDERS_LOG__LEVEL", "CRITICAL")
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("ORDERS_LOG__FORMAT=json")
    settings = load_settings("orders")
    assert (settings.log.level, settings.log.format) == ("CRITICAL", "json")
