"""Prove that a service can read settings of its own from the same sources."""

from __future__ import annotations

from typing import Annotated

import pytest
from pydantic import Field, SecretStr, field_validator

from glam_sdk.config import Env, Section, ServiceConfig, Settings, describe, load
from glam_sdk.errors import ConfigurationError


class Api(Section):
    url: str
    key: SecretStr | None = None
    retries: Annotated[int, Field(ge=0)] = 3


class Shop(Section):
    api: Api
    tags: list[str] = Field(default_factory=list)
    weights: dict[str, float] = Field(default_factory=dict)
    owners: list[SecretStr] = Field(default_factory=list)


class CatalogSettings(ServiceConfig):
    shop: Shop
    page_size: Annotated[int, Env("CATALOG_PAGE")] = 50

    @field_validator("page_size")
    @classmethod
    def _even(cls, value: int) -> int:
        if value % 2:
            raise ValueError("page_size must be even.")
        return value


class WholeSettings(Settings):
    page_size: int = 50


def test_own_sections_nest_as_deep_as_they_are_declared(root) -> None:
    """Files, variables and lists work as they do for the SDK's settings."""
    root.write("config/services/catalog.yml", "shop: {api: {url: http://a}, tags: [x]}\nlog: {}\n")
    settings = load(
        CatalogSettings,
        "catalog",
        environ={
            "CATALOG_SHOP__API__RETRIES": "5",
            "CATALOG_SHOP__TAGS": "a, b",
            "CATALOG_SHOP__WEIGHTS": "a=1.5",
            "CATALOG_PAGE_SIZE": "20",
            "CATALOG_LOG__LEVEL": "ERROR",
            "GLAM_LOG__LEVEL": "ERROR",
        },
        root=root.path,
    )
    assert settings.shop.api == Api(url="http://a", retries=5)
    assert settings.shop.tags == ["a", "b"]
    assert settings.shop.weights == {"a": 1.5}
    assert settings.page_size == 20
    assert settings.extra == {}
    rows = {row.key: row for row in describe(settings)}
    assert rows["shop.api.url"].source == "config/services/catalog.yml:1"
    assert rows["page_size"].source == "environment variable CATALOG_PAGE_SIZE"


def test_own_mistakes_are_reported_like_the_sdks(root) -> None:
    """What is missing is named by its variable; validators speak for themselves."""
    with pytest.raises(ConfigurationError) as caught:
        load(
            CatalogSettings,
            "catalog",
            environ={
                "CATALOG_SHOP__API__RETRIES": "-1",
                "CATALOG_SHOP__API__RETRYS": "1",
                "CATALOG_SHOP__OWNERS": '["s3cret", 5]',
                "CATALOG_PAGE": "3",
                "CATALOG_SHOP__WEIGHTS": "a=b",
            },
            overrides={"shop.tag": "x"},
            root=root.path,
        )
    assert caught.value.message.splitlines()[1:] == [
        "- shop.tag: unknown key from argument to load(); did you mean shop.tags?",
        (
            "- CATALOG_SHOP__API__RETRYS: unknown environment variable; "
            "did you mean CATALOG_SHOP__API__RETRIES?"
        ),
        "- shop.api.url is not set; set CATALOG_SHOP__API__URL, or shop.api.url in a YAML file.",
        (
            "- shop.api.retries: '-1' from environment variable CATALOG_SHOP__API__RETRIES; "
            "expected 0 or more."
        ),
        "- shop.weights.a: 'b' from environment variable CATALOG_SHOP__WEIGHTS; expected a number.",
        (
            "- shop.owners: REDACTED from environment variable CATALOG_SHOP__OWNERS; "
            "expected text (in YAML, written in quotes)."
        ),
        "- page_size: '3' from environment variable CATALOG_PAGE; page_size must be even.",
    ]


def test_the_shared_prefix_is_for_the_sdks_settings_only(root) -> None:
    """A service's own setting has no GLAM_ name, for every other service would refuse it."""
    with pytest.raises(ConfigurationError, match="GLAM_PAGE_SIZE: unknown environment variable"):
        load(WholeSettings, "catalog", environ={"GLAM_PAGE_SIZE": "1"}, root=root.path)


def test_own_settings_may_be_added_to_the_sdks(root) -> None:
    """One object then holds all settings of the service."""
    settings = load(
        WholeSettings,
        "catalog",
        environ={"CATALOG_PAGE_SIZE": "1", "CATALOG_LOG__LEVEL": "ERROR"},
        root=root.path,
    )
    assert (settings.page_size, settings.log.level, settings.service.name) == (
        1,
        "ERROR",
        "catalog",
    )


def test_settings_cannot_be_changed(root) -> None:
    """What was loaded is what everybody sees."""
    settings = root.load()
    with pytest.raises(ValueError, match="frozen"):
        settings.log = None
    with pytest.raises(ValueError, match="frozen"):
        settings.log.level = "DEBUG"
