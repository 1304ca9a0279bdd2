"""Read the typed keywords an error class declares and give each a place in ``details``."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, ClassVar, Final, Protocol, TypeVar, get_origin, overload

ARGUMENTS: Final = ("message", "code", "status", "details", "cause")
"""What every error takes, before the keywords its class declares."""

T = TypeVar("T")


class _Required:
    """Mark a keyword that has no default."""

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = _Required()


class _HasDetails(Protocol):
    @property
    def details(self) -> MutableMapping[str, object]: ...


class DetailField:
    """Describe one declared keyword; on an instance, read and write its value in ``details``.

    Args:
        default: What lands in ``details`` when the keyword is not given; None means nothing.
        into: Keys of ``details`` the value lands in; the keyword's own name by default.
        as_text: Whether ``str(value)`` is stored.
    """

    __slots__ = ("as_text", "default", "into", "name")

    def __init__(
        self, *, default: object, into: tuple[str, ...] = (), as_text: bool = False
    ) -> None:
        if isinstance(default, list | dict | set | bytearray):
            raise TypeError(f"A mutable default {default!r} would be shared; use None or a tuple.")
        self.default = default
        self.into = into
        self.as_text = as_text
        self.name = ""

    def __set_name__(self, owner: type, name: str) -> None:
        if name in ARGUMENTS or name == "to_dict" or hasattr(BaseException, name):
            raise TypeError(f"{owner.__name__} can't declare {name!r}: every error has one.")
        self.name = name
        self.into = self.into or (name,)

    def __get__(self, error: _HasDetails | None, owner: type) -> object:
        if error is not None:
            return error.details.get(self.into[0])
        if self.is_required:
            raise AttributeError(f"{owner.__name__}.{self.name} has no default.")
        return self.default

    def __set__(self, error: _HasDetails, value: object) -> None:
        for key in self.into:
            error.details.pop(key, None)
        self.write(error.details, value)

    @property
    def is_required(self) -> bool:
        """Tell whether the keyword must be given."""
        return self.default is REQUIRED

    def write(self, details: MutableMapping[str, object], value: object) -> None:
        """Store a value under the field's keys; None counts as not given."""
        if value is None or value is REQUIRED:
            return
        stored = str(value) if self.as_text else value
        for key in self.into:
            details[key] = stored

    def with_default(self, default: object) -> DetailField:
        """Return the same field with another default, for a subclass that only states a value."""
        return DetailField(default=default, into=self.into, as_text=self.as_text)


@overload
def detail(*, default: T, into: str | tuple[str, ...] = (), as_text: bool = False) -> T: ...
@overload
def detail(*, into: str | tuple[str, ...] = (), as_text: bool = False) -> Any: ...
def detail(
    *, default: object = REQUIRED, into: str | tuple[str, ...] = (), as_text: bool = False
) -> object:
    """Declare a keyword that lands in ``details`` under other names, or as text.

    A plain annotation does for the rest: ``reason: str | None = None``.

    Args:
        default: Used when the keyword is not given; without one the keyword is required.
        into: One or several keys of ``details``; the keyword's own name by default.
        as_text: Store ``str(value)``.
    """
    keys = (into,) if isinstance(into, str) else into
    return DetailField(default=default, into=keys, as_text=as_text)


def argument(*, default: T, kw_only: bool = False) -> T:
    """Declare, for type checkers, an argument that may be given by position."""
    del kw_only
    return default


def declare_fields(cls: type) -> Mapping[str, DetailField]:
    """Turn the annotations and values of a class body into fields; return all, inherited first."""
    inherited = _collected(cls.__mro__[1:])
    annotated = [name for name, hint in _own_annotations(cls).items() if not _is_class_var(hint)]
    stated = [name for name in inherited if name in vars(cls)]
    for name in dict.fromkeys((*annotated, *stated)):
        value = vars(cls).get(name, REQUIRED)
        if name in ARGUMENTS or isinstance(value, DetailField):
            continue
        known = inherited.get(name)
        field = known.with_default(value) if known else DetailField(default=value)
        setattr(cls, name, field)
        field.__set_name__(cls, name)
    return _collected(cls.__mro__)


def _collected(mro: tuple[type, ...]) -> dict[str, DetailField]:
    return {
        name: value
        for base in reversed(mro)
        for name, value in vars(base).items()
        if isinstance(value, DetailField)
    }


def _own_annotations(cls: type) -> Mapping[str, object]:
    if sys.version_info >= (3, 14):
        # Names imported for type checkers only can't be evaluated; their text is enough here.
        import annotationlib

        return annotationlib.get_annotations(cls, format=annotationlib.Format.STRING)
    return inspect.get_annotations(cls)


def _is_class_var(hint: object) -> bool:
    if isinstance(hint, str):
        return hint.removeprefix("typing.").startswith("ClassVar")
    return hint is ClassVar or get_origin(hint) is ClassVar
