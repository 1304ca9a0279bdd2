"""Prove that every value knows where it came from, and that showing it shows no secret."""

from __future__ import annotations

import copy
import pickle

from glam_sdk.config import NatsSettings, Settings, describe, notes, provenance
from glam_sdk.config.knobs import knobs_of


def test_each_kind_of_source_is_named_in_its_own_way(root) -> None:
    """File and line, .env and line, variable, argument, default."""
    root.write("config/shared.yml", "log:\n  level: INFO\n  levels:\n    a: INFO\n    b: INFO\n")
    root.write("config/services/orders.yml", "log:\n  levels:\n    b: ERROR\n")
    root.write(".env", "# one\n\nORDERS_DB_USER=app\nORDERS_DB_NAME=x\n")
    settings = root.load({"ORDERS_DB_NAME": "y"}, {"http": {"metrics_path": "/m"}})
    found = {key: str(source) for key, source in provenance(settings).items()}
    assert found["log.level"] == "config/shared.yml:2"
    assert found["log.levels.a"] == "config/shared.yml:4"
    assert found["log.levels.b"] == "config/services/orders.yml:3"
    assert found["database.user"] == ".env:3 (ORDERS_DB_USER)"
    assert found["database.name"] == "environment variable ORDERS_DB_NAME"
    assert found["http.metrics_path"] == "argument to init()"
    assert found["service.name"] == "argument to init()"
    assert found["log.format"] == "default"


def test_every_setting_has_a_source(root) -> None:
    """Nothing is left out of the list."""
    keys = {knob.key for knob in knobs_of(Settings)}
    assert set(provenance(root.load())) == keys == {row.key for row in describe(root.load())}


def test_keys_that_come_by_merge_keys_and_anchors_have_their_line(root) -> None:
    """A value that YAML takes from elsewhere is where it was written."""
    root.write("config/shared.yml", "app:\n  x: &x\n    pool_size: 7\ndatabase:\n  <<: *x\n")
    settings = root.load()
    assert settings.database.pool_size == 7
    assert str(provenance(settings)["database.pool_size"]) == "config/shared.yml:3"


def test_describing_masks_secrets_and_credentials(root) -> None:
    """What `glam config` prints can be pasted into a ticket."""
    settings = root.load(
        {
            "ORDERS_DB_URL": "postgresql://app:s3cret@db/orders?sslpassword=s3cret",
            "ORDERS_DB_PASSWORD": "s3cret",
            "ORDERS_NATS_SERVERS": "nats://app:s3cret@a,nats://s3cret@b",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "https://app:s3cret@otel",
            "OTEL_RESOURCE_ATTRIBUTES": "api_key=s3cret,team=shop",
        }
    )
    shown = {row.key: row.value for row in describe(settings)}
    assert "s3cret" not in str(shown) + repr(settings)
    assert shown["database.url"] == "postgresql://REDACTED@db/orders?sslpassword=REDACTED"
    assert shown["database.password"] == "REDACTED"
    assert shown["nats.servers"] == "nats://REDACTED@a, nats://REDACTED@b"
    assert shown["telemetry.resource_attributes.team"] == "shop"
    assert shown["nats.password"] == "(not set)"
    assert shown["database.echo"] == "false"


def test_the_services_own_keys_are_kept_and_described(root) -> None:
    """What the SDK does not know is the service's, with the same care for secrets."""
    root.write(
        "config/shared.yml", "app:\n  on: 1\n  api_key: s3cret\nshop:\n  url: http://a:b@c\n"
    )
    root.write("config/services/orders.yml", "shop:\n  size: 2\n")
    settings = root.load()
    assert settings.extra == {
        "app": {"on": 1, "api_key": "s3cret"},
        "shop": {"url": "http://a:b@c", "size": 2},
    }
    assert [tuple(row) for row in describe(settings)[-4:]] == [
        ("app.on", "1", "config/shared.yml:2"),
        ("app.api_key", "REDACTED", "config/shared.yml:3"),
        ("shop.url", "http://REDACTED@c", "config/shared.yml:5"),
        ("shop.size", "2", "config/services/orders.yml:2"),
    ]


def test_settings_made_in_code_say_so() -> None:
    """Without loading there is no file or variable to name."""
    settings = Settings(service={"name": "orders"}, nats=NatsSettings(servers=("a",)))
    assert str(provenance(settings)["nats.servers"]) == "code"
    assert settings.extra == {}
    assert notes(settings) == ()


def test_settings_survive_copying_and_pickling_with_their_sources(root) -> None:
    """A worker process may be given the settings of its parent."""
    settings = root.load({"ORDERS_DB_PORT": "1"})
    for copied in (copy.deepcopy(settings), pickle.loads(pickle.dumps(settings))):
        assert copied == settings
        assert provenance(copied) == provenance(settings)


def test_a_variable_that_is_read_in_another_way_than_it_seems_is_noted(root) -> None:
    """Not an error, yet somebody should hear about it."""
    settings = root.load({"OTEL_SDK_DISABLED": "1", "ORDERS_LOG_LEVEL": "x"})
    assert settings.telemetry.disabled is False
    assert notes(settings) == (
        "environment variable OTEL_SDK_DISABLED: '1' counts as false, for only 'true' is true.",
        "ORDERS_LOG_LEVEL is not read; a section is set off by two underscores: ORDERS_LOG__LEVEL.",
    )
