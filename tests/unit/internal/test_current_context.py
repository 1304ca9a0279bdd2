"""The current context is OpenTelemetry's own, read and set without its detours."""

from __future__ import annotations

import asyncio
import functools
import logging
from contextvars import Context as Variables
from typing import Any

import pytest
from opentelemetry import context as otel
from opentelemetry.context import Context
from opentelemetry.context.contextvars_context import ContextVarsRuntimeContext

from glam_sdk._internal.current_context import attach, detach, get_current, variable_of


def test_it_is_the_context_that_opentelemetry_has() -> None:
    """What one of both attaches the other sees, and takes off again."""
    ours, theirs = Context({"by": "us"}), Context({"by": "them"})
    before = otel.get_current()
    one = attach(ours)
    assert otel.get_current() is ours
    other = otel.attach(theirs)
    assert get_current() is theirs
    detach(other)
    assert get_current() is ours
    otel.detach(one)
    assert get_current() is before is otel.get_current()


def test_nothing_is_asked_on_the_way_to_it() -> None:
    """With OpenTelemetry's own runtime, these are methods of the variable itself."""
    variable: Any = variable_of(otel)
    assert (get_current, attach) == (variable.get, variable.set)


def test_there_is_a_context_where_none_was_ever_attached() -> None:
    """A new thread, or a context of variables that is empty, begins with an empty one."""
    assert Variables().run(get_current) == {}


async def test_a_token_of_another_task_is_logged_and_not_raised(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It says so in OpenTelemetry's words, and the current context stays."""

    async def elsewhere() -> Any:
        return attach(Context({"by": "another"}))

    token = await asyncio.create_task(elsewhere())
    here = get_current()
    with caplog.at_level(logging.ERROR):
        detach(token)
    assert "Failed to detach context" in caplog.text
    assert caplog.text.count("Traceback") == 1
    assert get_current() is here


class Mirrored(ContextVarsRuntimeContext):
    """Tell somebody else of each change, as a profiler wants it."""


@functools.wraps(otel.attach)
def wrapped(context: Context) -> Any:
    return otel.attach(context)


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("_RUNTIME_CONTEXT", Mirrored()),
        ("_RUNTIME_CONTEXT", None),
        ("attach", wrapped),
        ("detach", functools.partial(otel.detach)),
        ("get_current", Context),
    ],
    ids=["another runtime", "no runtime", "a wrapper", "an object", "a class"],
)
def test_what_somebody_put_in_place_is_asked(
    monkeypatch: pytest.MonkeyPatch, name: str, other: Any
) -> None:
    """Where the variable is not all there is to it, it is not touched."""
    assert variable_of(otel) is not None
    monkeypatch.setattr(otel, name, other)
    assert variable_of(otel) is None
