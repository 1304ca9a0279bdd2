"""Turn foreign exceptions into our own where a call leaves our code."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from types import TracebackType
from typing import Any, Final, ParamSpec, TypeVar, cast

from glam_sdk.errors.base import GlamBaseError
from glam_sdk.errors.infrastructure import InfrastructureError

P = ParamSpec("P")
R = TypeVar("R")
E = TypeVar("E", bound=GlamBaseError)

ErrorFactory = type[GlamBaseError] | Callable[[Exception], GlamBaseError]
"""An error class, or a function that makes the error from the foreign exception."""

_DEFAULT_MESSAGE: Final = "An external operation failed"


def wrap_external_error(
    error_class: type[E],
    message: str,
    *,
    cause: BaseException,
    **fields: Any,  # what they may be is the error class's to say
) -> E:
    """Return one of our errors with a foreign exception as its cause, to be raised.

    Args:
        error_class: What to make.
        message: One sentence; the cause's own text stays in the log.
        cause: The foreign exception.
        **fields: Keywords of the error class.
    """
    return error_class(message, cause=cause, **fields)


def with_error_mapping(
    mapping: Mapping[type[Exception], ErrorFactory],
    *,
    default_error: ErrorFactory = InfrastructureError,
    default_message: str = _DEFAULT_MESSAGE,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function, sync or async, so that only our own errors leave it.

    Our errors pass unchanged, and so does what is no ``Exception``, such as a cancellation. The
    entry for the most specific class of a foreign exception wins.

    Args:
        mapping: Foreign class → our class. The exception's text becomes the message, so map only
            what may be shown; where it may not, give a function that makes the error.
        default_error: For exceptions the mapping does not name.
        default_message: Used with ``default_error`` and where an exception has no text. The text
            of an exception nobody expected is not shown.

    Raises:
        TypeError: The function is a generator; its errors come after the call.
    """
    translated = _Translation(mapping, default_error, default_message)

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"with_error_mapping can't wrap the generator {function.__qualname__}.")
        if inspect.iscoroutinefunction(function):

            @wraps(function)
            async def run_async(*args: P.args, **kwargs: P.kwargs) -> object:
                with translated:
                    return await function(*args, **kwargs)

            return cast("Callable[P, R]", run_async)

        @wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            with translated:
                return function(*args, **kwargs)

        return run

    return decorate


class _Translation:
    """Raise our error in place of a foreign one; holds no state, so one serves all calls."""

    __slots__ = ("_default", "_default_message", "_mapping")

    def __init__(
        self,
        mapping: Mapping[type[Exception], ErrorFactory],
        default: ErrorFactory,
        default_message: str,
    ) -> None:
        self._mapping = dict(mapping)
        self._default = default
        self._default_message = default_message

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(exc, Exception) and not isinstance(exc, GlamBaseError):
            raise self._translate(exc) from exc

    def _translate(self, exc: Exception) -> GlamBaseError:
        for cls in type(exc).__mro__:
            found = self._mapping.get(cls)
            if found is not None:
                return _make(found, exc, str(exc) or self._default_message)
        return _make(self._default, exc, self._default_message)


def _make(factory: ErrorFactory, exc: Exception, message: str) -> GlamBaseError:
    return factory(message) if isinstance(factory, type) else factory(exc)
