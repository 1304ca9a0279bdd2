"""Prove how foreign exceptions become our own."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import AsyncIterator, Iterator

import pytest

from glam_sdk.errors import (
    ConflictError,
    DatabaseError,
    GlamBaseError,
    InfrastructureError,
    NotFoundError,
    ValidationError,
    with_error_mapping,
    wrap_external_error,
)


async def outcome(mapping, exc: BaseException, *, is_async: bool, **options) -> BaseException:
    """Return what leaves a decorated function that raises ``exc``."""

    @with_error_mapping(mapping, **options)
    def fail() -> None:
        raise exc

    @with_error_mapping(mapping, **options)
    async def fail_async() -> None:
        raise exc

    try:
        await fail_async() if is_async else fail()
    except BaseException as raised:  # noqa: BLE001 - whatever leaves it is the result
        return raised
    raise AssertionError("nothing was raised")


both = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


def test_wrapping_keeps_the_cause_and_takes_the_keywords_of_the_class() -> None:
    """The caller writes the message; the foreign exception stays reachable."""
    cause = OSError("disk")
    error = wrap_external_error(DatabaseError, "Write failed.", cause=cause, table="orders")
    assert type(error) is DatabaseError
    assert (str(error), error.table, error.__cause__) == ("Write failed.", "orders", cause)
    assert wrap_external_error(NotFoundError, "x", cause=cause, status=410).status == 410


@both
async def test_a_mapped_exception_becomes_our_error_with_its_text(is_async) -> None:
    """The foreign exception is the cause, its text the message."""
    exc = ValueError("Price must be positive.")
    error = await outcome({ValueError: ValidationError}, exc, is_async=is_async)
    assert type(error) is ValidationError
    assert (str(error), error.__cause__) == ("Price must be positive.", exc)


@both
async def test_the_entry_of_the_most_specific_class_wins(is_async) -> None:
    """The order of the mapping does not matter."""
    mapping = {Exception: InfrastructureError, LookupError: ConflictError, KeyError: NotFoundError}
    assert type(await outcome(mapping, KeyError("k"), is_async=is_async)) is NotFoundError
    assert type(await outcome(mapping, IndexError("i"), is_async=is_async)) is ConflictError
    assert type(await outcome(mapping, RuntimeError("r"), is_async=is_async)) is InfrastructureError


@both
async def test_an_exception_nobody_named_becomes_the_default_without_its_text(is_async) -> None:
    """Text of an exception nobody expected may hold anything, so it is not shown."""
    exc = RuntimeError("postgres://user:secret@db")
    error = await outcome({KeyError: NotFoundError}, exc, is_async=is_async)
    assert type(error) is InfrastructureError
    assert (str(error), error.__cause__) == ("An external operation failed", exc)
    options = {"default_error": DatabaseError, "default_message": "The database failed."}
    error = await outcome({}, exc, is_async=is_async, **options)
    assert (type(error), str(error)) == (DatabaseError, "The database failed.")


@both
async def test_a_function_in_the_mapping_makes_the_error(is_async) -> None:
    """It can leave the foreign text out and add details."""
    exc = KeyError("42")
    mapping = {KeyError: lambda exc: NotFoundError("No such order.", resource_id=exc.args[0])}
    error = await outcome(mapping, exc, is_async=is_async)
    assert isinstance(error, NotFoundError)
    assert (str(error), error.resource_id, error.__cause__) == ("No such order.", "42", exc)


@both
async def test_our_own_errors_pass_unchanged(is_async) -> None:
    """They are the result of a decision already taken."""
    exc = ConflictError("Taken.")
    mapping = {Exception: NotFoundError, GlamBaseError: NotFoundError}
    assert await outcome(mapping, exc, is_async=is_async) is exc
    assert exc.__cause__ is None


@both
@pytest.mark.parametrize("kind", [asyncio.CancelledError, KeyboardInterrupt, SystemExit])
async def test_what_is_no_exception_passes_unchanged(kind, is_async) -> None:
    """A cancelled task must end as cancelled."""
    exc = kind()
    assert await outcome({Exception: NotFoundError}, exc, is_async=is_async) is exc


async def test_cancelling_a_decorated_coroutine_cancels_its_task() -> None:
    """The cancellation arrives at whoever awaits the task."""
    started = asyncio.Event()

    @with_error_mapping({})
    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_decorated_function_keeps_its_name_its_kind_and_its_result() -> None:
    """Frameworks look at the signature, and at whether it is async."""

    @with_error_mapping({})
    def double(number: int) -> int:
        """Return twice the number."""
        return 2 * number

    @with_error_mapping({})
    async def double_async(number: int) -> int:
        return 2 * number

    assert (double.__name__, double.__doc__) == ("double", "Return twice the number.")
    assert list(inspect.signature(double).parameters) == ["number"]
    assert not inspect.iscoroutinefunction(double)
    assert inspect.iscoroutinefunction(double_async)
    assert (double(2), await double_async(number=3)) == (4, 6)


def test_a_message_without_text_falls_back_to_the_default_one() -> None:
    """An error is never empty."""

    @with_error_mapping({TimeoutError: DatabaseError}, default_message="Too slow.")
    def fail() -> None:
        raise TimeoutError

    with pytest.raises(DatabaseError, match=r"Too slow\."):
        fail()


def test_one_decorator_serves_several_functions_at_once() -> None:
    """It holds no state between calls."""
    decorate = with_error_mapping({KeyError: NotFoundError})

    @decorate
    def inner() -> None:
        raise KeyError("k")

    @decorate
    def outer() -> None:
        inner()

    with pytest.raises(NotFoundError) as caught:
        outer()
    assert isinstance(caught.value.__cause__, KeyError)


def test_a_generator_is_refused() -> None:
    """Its errors come after the call, where the decorator can't see them."""

    def numbers() -> Iterator[int]:
        yield 1

    async def numbers_async() -> AsyncIterator[int]:
        yield 1

    for function in (numbers, numbers_async):
        with pytest.raises(TypeError, match="generator"):
            with_error_mapping({})(function)


def test_a_partial_can_be_decorated() -> None:
    """Callables without a name of their own work as well."""

    def fail(kind: type[Exception]) -> None:
        raise kind

    with pytest.raises(ValidationError):
        with_error_mapping({ValueError: ValidationError})(functools.partial(fail, ValueError))()
