"""Prove that levels are set per logger, by configuration and at run time."""

from __future__ import annotations

import logging

import pytest

from glam_sdk.telemetry.logs import get_logger, levels, set_level
from glam_sdk.testing import capture_telemetry


def written(telemetry) -> list[str]:
    return [entry["logger"] for entry in telemetry.logs()]


def test_levels_come_from_the_configuration():
    """The root has one, each logger may have its own, and noisy libraries are quiet."""
    log = {"level": "WARNING", "levels": {"orders": "DEBUG", "httpx": "INFO"}}
    with capture_telemetry(overrides={"log": log}) as telemetry:
        for name in ("orders", "orders.db", "billing", "httpx", "httpcore"):
            get_logger(name).debug("structlog")
            logging.getLogger(name).info("stdlib")
        assert written(telemetry) == ["orders", "orders", "orders.db", "orders.db", "httpx"]


def test_levels_are_changed_while_the_service_runs(telemetry):
    """Structlog's and the standard library's loggers of a name follow the same level."""
    log, std = get_logger("orders.db"), logging.getLogger("orders.db")
    log.debug("no")
    set_level("orders", "debug")
    log.debug("yes")
    std.debug("yes")
    set_level("orders", "warn")
    log.info("no")
    set_level("orders", None)
    log.info("yes")
    set_level("root", "ERROR")
    std.warning("no")
    assert [entry["message"] for entry in telemetry.logs()] == ["yes"] * 3
    assert (levels()["root"], "orders" in levels()) == ("ERROR", False)


async def test_a_changed_level_outlives_the_start_of_the_service(telemetry):
    """Taking over the server's handlers again does not reset what somebody set."""
    set_level("orders", "DEBUG")
    async with telemetry.service:
        get_logger("orders").debug("still")
    assert len(telemetry.logs("still")) == 1


@pytest.mark.parametrize(("name", "level"), [("x", "LOUD"), ("x", ""), ("root", None), ("", None)])
def test_a_level_that_does_not_exist_is_refused(telemetry, name, level):
    """The message names the levels there are; nothing has changed."""
    before = levels()
    with pytest.raises(ValueError, match="level"):
        set_level(name, level)
    assert levels() == before


def test_levels_are_put_back_after_a_test():
    """What one captured service sets does not reach the next."""
    before = levels()
    with capture_telemetry(overrides={"log": {"levels": {"orders": "DEBUG"}}}):
        set_level("billing", "CRITICAL")
        assert levels()["orders"] == "DEBUG"
    assert levels() == before
