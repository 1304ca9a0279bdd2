"""Mark functions as event handlers, and work out what to call them with."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeVar

from glam_sdk.events import Envelope, Event
from glam_sdk.messaging.delivery import Delivery, HandlerSpec

_SPEC: Final = "__glam_handler__"
_DURABLE: Final = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")
F = TypeVar("F", bound=Callable[..., Awaitable[object]])


def handles(event: type[Event], *, durable: str) -> Callable[[F], F]:
    """Mark an async function as the handler of an event; it stays callable as it is.

    The event is passed to the parameter annotated with its class. Parameters annotated with
    :class:`~glam_sdk.messaging.Delivery` or :class:`~glam_sdk.events.Envelope` get those, others
    what the subscriber's scope provides for their annotation, such as ``UnitOfWork``.

    Args:
        event: Class whose subject is listened to.
        durable: Name under which the server keeps the position, and by which the processes of a
            service share the work. Unique within a stream: another service takes another name.

    Raises:
        TypeError: The function is not async.
        ValueError: The event has no subject, or the durable name is not one.
    """
    if not event.event_subject:
        raise ValueError(f"{event.__name__} has no subject, so nothing can be received for it.")
    if not _DURABLE.match(durable):
        raise ValueError(f"Durable name {durable!r} may have letters, digits, '_' and '-' only.")

    def mark(function: F) -> F:
        is_async: bool = inspect.iscoroutinefunction(function)
        if not is_async:
            raise TypeError(f"Handler {_name(function)} must be declared with async def.")
        setattr(function, _SPEC, HandlerSpec(event, durable, function))
        return function

    return mark


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
    parameters: tuple[tuple[str, object, bool], ...]
    """Name, annotation, and whether a value is required."""

    async def __call__(
        self, event: Event, delivery: Delivery, provided: Mapping[type, object]
    ) -> None:
        """Call the function with the event, the delivery and what the scope provides."""
        values: dict[object, object] = dict(provided.items())
        values |= {self.spec.event: event, Delivery: delivery, Envelope: delivery.envelope}
        arguments = {}
        for name, annotation, required in self.parameters:
            if annotation in values:
                arguments[name] = values[annotation]
            elif required:
                raise TypeError(
                    f"Handler {_name(self.spec.function)} asks for {name}: {annotation!r}, which "
                    "the subscriber's scope does not provide."
                )
        await self.spec.function(**arguments)


def bind(spec: HandlerSpec) -> BoundHandler:
    """Read a handler's annotations.

    Raises:
        TypeError: A parameter has no annotation, one that cannot be resolved, or is positional.
    """
    names = {c.__name__: c for c in (spec.event, Delivery, Envelope)}
    parameters = []
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
        parameters.append((parameter.name, annotation, required))
    return BoundHandler(spec, tuple(parameters))


def _resolve(function: Callable[..., object], annotation: object, names: dict[str, type]) -> object:
    if not isinstance(annotation, str):
        return annotation
    enclosing = inspect.getclosurevars(inspect.unwrap(function))
    try:
        # Annotations are code of the handler's own module.
        scope = {**names, **getattr(function, "__globals__", {}), **enclosing.nonlocals}
        return eval(annotation, scope)  # noqa: S307
    except NameError:
        return annotation


def _name(function: Callable[..., object]) -> str:
    return f"{function.__module__}.{getattr(function, '__qualname__', repr(function))}"
