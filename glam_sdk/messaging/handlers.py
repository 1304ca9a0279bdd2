"""Mark functions as event handlers, and work out what to call them with."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from types import FunctionType
from typing import Final, TypeVar

from glam_sdk.events import Envelope, Event, is_pattern, subject_matches
from glam_sdk.events.registry import reader_of
from glam_sdk.messaging.delivery import Delivery, HandlerSpec
from glam_sdk.messaging.retry import Backoff, Permanent, Retry

_SPEC: Final = "__glam_handler__"
_DURABLE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
OTHER_SUBJECT: Final = "_OTHER"
"""Stands for subjects nobody declared, so that labels stay few."""
_ASKED: Final = (Retry, Permanent)
F = TypeVar("F", bound=Callable[..., Awaitable[object]])


def handles(
    event: type[Event],
    *,
    durable: str,
    concurrency: int | None = None,
    timeout: timedelta | None = None,
    retry: Backoff | None = None,
    inbox: bool = True,
) -> Callable[[F], F]:
    """Mark an async function as the handler of an event; it stays callable as it is.

    The event is passed to the parameter annotated with its class. Parameters annotated with
    :class:`~glam_sdk.messaging.Delivery` or :class:`~glam_sdk.events.Envelope` get those, others
    what the subscriber's scope provides for their annotation, such as ``UnitOfWork``.

    Returning acks the message. Raising :class:`~glam_sdk.messaging.Retry` hands it back with the
    delay of your choice, :class:`~glam_sdk.messaging.Permanent` or a ``ValidationError`` makes it a
    dead letter, and anything else is tried again by ``retry`` and then becomes a dead letter.

    Args:
        event: Class whose subject is listened to.
        durable: Name under which the server keeps the position, and by which the processes of a
            service share the work. Unique within a stream: another service takes another name.
        concurrency: How many calls run at once in one process; the same for all handlers of a
            durable name.
        timeout: How long one attempt may take before it is cancelled and counts as failed.
        retry: Waits between attempts, and how many there are.
        inbox: Whether the inbox notes the event with the handler's writes, so that its effect
            happens once. Switch it off where a second run does no harm.

    Raises:
        TypeError: The function is not async.
        ValueError: The event has no subject, the durable name is not one, or a limit is not above
            zero.
    """
    if not event.event_subject:
        raise ValueError(f"{event.__name__} has no subject, so nothing can be received for it.")
    if not _DURABLE.match(durable):
        raise ValueError(f"Durable name {durable!r} may have letters, digits, '_' and '-' only.")

    if (concurrency is not None and concurrency < 1) or (
        timeout is not None and timeout <= timedelta(0)
    ):
        raise ValueError(f"Handler of {durable!r}: concurrency and timeout must be above zero.")

    def decorate(function: F) -> F:
        is_async: bool = inspect.iscoroutinefunction(function)
        if not is_async:
            raise TypeError(f"Handler {_name(function)} must be declared with async def.")
        spec = HandlerSpec(event, durable, function, concurrency, timeout, retry, inbox)
        setattr(function, _SPEC, spec)
        return function

    return decorate


def mark(spec: HandlerSpec) -> Callable[..., Awaitable[object]]:
    """Return a marked stand-in for a spec's function, such as a method, that cannot be marked.

    Raises:
        ValueError: The subject or the durable name is missing or wrong.
    """
    if not spec.subject or not _DURABLE.match(spec.durable):
        raise ValueError(
            f"{_name(spec.function)} needs a subject and a durable name of letters, digits, '_' "
            f"and '-'; it has {spec.subject!r} and {spec.durable!r}."
        )

    async def stand_in(*args: object, **kwargs: object) -> object:
        return await spec.function(*args, **kwargs)

    setattr(stand_in, _SPEC, spec)
    return stand_in


def spec_of(function: Callable[..., object]) -> HandlerSpec:
    """Return what :func:`handles` noted on a function.

    Raises:
        TypeError: The function was not marked.
    """
    spec = getattr(function, _SPEC, None)
    if not isinstance(spec, HandlerSpec):
        raise TypeError(f"{_name(function)} is not a handler. Mark it with @handles(Event, ...).")
    return spec


@dataclass(frozen=True, slots=True)
class BoundHandler:
    """Know a handler's parameters, so that a call costs a few dict look-ups."""

    spec: HandlerSpec
    read: Callable[[Envelope], Event]
    """Reads the event's class from an envelope."""
    parameters: tuple[tuple[str, object, bool], ...]
    """Name, annotation, and whether a value is required."""
    known: tuple[tuple[str, int], ...] = ()
    """Parameters for the event, the delivery and the envelope: name, and which of the three."""

    only: str = ""
    """The parameter for the event, where there is no other."""
    is_positional: bool = False
    """Whether that parameter needs no name: a call with one costs twice as much."""

    async def __call__(
        self, event: Event, delivery: Delivery, provided: Mapping[type, object]
    ) -> None:
        """Call the function with the event, the delivery and what the scope provides."""
        given = (event, delivery, delivery.envelope)
        arguments: dict[str, object] = {name: given[which] for name, which in self.known}
        for name, annotation, required in self.parameters:
            if annotation in provided:
                arguments[name] = provided[annotation]  # type: ignore[index]  # it is in there
            elif required:
                raise TypeError(
                    f"Handler {_name(self.spec.function)} asks for {name}: {annotation!r}, which "
                    "the subscriber's scope does not provide."
                )
        heed(await self.spec.function(**arguments))


def require_complete(handlers: Iterable[BoundHandler]) -> None:
    """Check that handlers can be called with nothing but the event and how it came.

    Raises:
        TypeError: One asks for more.
    """
    for bound in handlers:
        for name, annotation, required in bound.parameters:
            if required:
                raise TypeError(
                    f"Handler {_name(bound.spec.function)} asks for {name}: {annotation!r}, which "
                    "nothing provides. Use a database (service.use_database), or give the "
                    "subscriber a scope that provides it."
                )


class HandlerTable:
    """Find the handler of a subject: the one declared for it, else one whose pattern covers it.

    Args:
        handlers: By subject or pattern.
    """

    def __init__(self, handlers: Mapping[str, BoundHandler]) -> None:
        self._exact = dict(handlers)
        self._patterns = [(key, bound) for key, bound in handlers.items() if is_pattern(key)]

    def get(self, subject: str) -> BoundHandler | None:
        """Return the handler of a subject, if there is one."""
        found = self._exact.get(subject)
        if found is None and self._patterns:
            covering = (bound for key, bound in self._patterns if subject_matches(key, subject))
            return next(covering, None)
        return found

    def template(self, subject: str) -> str:
        """Return what stands for a subject in names and labels: its declaration."""
        found = self.get(subject)
        return OTHER_SUBJECT if found is None else found.spec.subject


def bind(spec: HandlerSpec) -> BoundHandler:
    """Read a handler's annotations.

    Raises:
        TypeError: A parameter has no annotation, one that cannot be resolved, or is positional.
    """
    known = (spec.event, Delivery, Envelope)
    names = {c.__name__: c for c in known}
    parameters, of_ours = [], []
    for parameter in inspect.signature(spec.function).parameters.values():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        required = parameter.default is parameter.empty
        annotation = _resolve(spec.function, parameter.annotation, names)
        if required and (annotation is parameter.empty or isinstance(annotation, str)):
            raise TypeError(
                f"Parameter {parameter.name!r} of handler {_name(spec.function)} needs an "
                "annotation that can be resolved when the service starts: import the class "
                "outside of TYPE_CHECKING."
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            raise TypeError(
                f"Handler {_name(spec.function)} cannot have positional-only parameters."
            )
        if annotation in known:
            of_ours.append((parameter.name, known.index(annotation)))
        else:
            parameters.append((parameter.name, annotation, required))
    is_only = not parameters and [which for _, which in of_ours] == [0]
    only = of_ours[0][0] if is_only else ""
    is_positional = is_only and _first_parameter(spec.function) == only
    read = reader_of(spec.event)
    return BoundHandler(spec, read, tuple(parameters), tuple(of_ours), only, is_positional)


def _first_parameter(function: Callable[..., object]) -> str:
    """Return the parameter that a first argument without a name is for, if that is certain.

    That of the function itself: a decorator's may have none, and show those of what is inside.
    """
    if not isinstance(function, FunctionType):
        return ""
    code = function.__code__
    if not code.co_argcount or code.co_posonlyargcount:  # these may have a namesake among the rest
        return ""
    return code.co_varnames[0]


def heed(asked: object) -> None:
    """Raise what a handler returned to say that it wants a retry, or none; both mean the same."""
    if asked is not None and isinstance(asked, _ASKED):
        try:
            raise asked
        finally:
            del asked  # it has this frame now, and would keep what it has been with


def _resolve(function: Callable[..., object], annotation: object, names: dict[str, type]) -> object:
    if not isinstance(annotation, str):
        return annotation
    try:
        # Annotations are code of the handler's own module.
        scope = {**names, **getattr(function, "__globals__", {}), **_enclosing(function)}
        return eval(annotation, scope)  # noqa: S307
    except NameError:
        return annotation


def _enclosing(function: Callable[..., object]) -> dict[str, object]:
    """Return what the functions around a function have assigned so far."""
    inner = inspect.unwrap(function)
    cells = getattr(inner, "__closure__", None) or ()
    found = {}
    for name, cell in zip(inner.__code__.co_freevars if cells else (), cells, strict=True):
        with suppress(ValueError):  # Nothing is assigned yet.
            found[name] = cell.cell_contents
    return found


def _name(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"
