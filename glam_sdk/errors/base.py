"""Define the error every other one derives from.

A class states ``code``, ``status``, a default ``message`` and typed keywords, and nothing else::

    class OrderClosedError(ConflictError):
        '''An order can no longer be changed.'''

        code = "ORDER_CLOSED"
        message = "Order {order_id} is closed."
        order_id: str
        closed_by: str | None = None


    raise OrderClosedError(order_id="o-1", closed_by="billing")

``details`` then holds ``{"order_id": "o-1", "closed_by": "billing"}``. ``{name}`` in a message
stands for a keyword's value. Whatever a base declares is inherited; a subclass gives an inherited
keyword another default by stating it: ``resource = "order"``.
"""

from __future__ import annotations

import copy
import pickle
import re
from collections.abc import Mapping
from typing import Any, ClassVar, Final, Self, TypeVar, dataclass_transform, overload

from glam_sdk.errors import codes
from glam_sdk.errors.declare import (
    ARGUMENTS,
    DetailField,
    argument,
    declare_fields,
    detail,
)

_CODE: Final = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_PLACEHOLDER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class _Details:
    """Take any mapping or None, hold a dict that belongs to one instance."""

    @overload
    def __get__(self, error: None, owner: type) -> Self: ...
    @overload
    def __get__(self, error: BaseException, owner: type) -> dict[str, object]: ...
    def __get__(self, error: BaseException | None, owner: type) -> Self | dict[str, object]:
        if error is None:
            return self
        held: dict[str, object] = vars(error).setdefault("details", {})
        return held

    def __set__(self, error: BaseException, value: Mapping[str, object] | None) -> None:
        vars(error)["details"] = dict(value or {})


class _Cause:
    """Give ``__cause__`` a name that can be passed as a keyword."""

    @overload
    def __get__(self, error: None, owner: type) -> Self: ...
    @overload
    def __get__(self, error: BaseException, owner: type) -> BaseException | None: ...
    def __get__(self, error: BaseException | None, owner: type) -> Self | BaseException | None:
        return self if error is None else error.__cause__

    def __set__(self, error: BaseException, value: BaseException | None) -> None:
        error.__cause__ = value


def _merged(
    declared: Mapping[str, DetailField], details: Mapping[str, object], given: Mapping[str, object]
) -> dict[str, object]:
    """Lay defaults, then explicit details, then keywords over each other."""
    merged: dict[str, object] = {}
    for field in declared.values():
        field.write(merged, field.default)
    merged.update(details)
    for name, field in declared.items():
        field.write(merged, given.get(name))
    return merged


def _refuse_wrong_keywords(cls: type[_DeclaredError], given: Mapping[str, object]) -> None:
    declared = cls.__glam_fields__
    for name in given:
        if name not in declared:
            accepted = ", ".join((*ARGUMENTS, *declared))
            raise TypeError(
                f"{cls.__name__} got an unexpected keyword {name!r}; it takes {accepted}."
            )
    for name, field in declared.items():
        if field.is_required and name not in given:
            raise TypeError(f"{cls.__name__} needs the keyword {name!r}.")


def _default_message(error: _DeclaredError) -> str:
    cls = type(error)
    if not cls.message:
        return error.code.replace("_", " ").capitalize()

    def value(found: re.Match[str]) -> str:
        given = getattr(error, found[1])
        return "unknown" if given is None else str(given)

    return _PLACEHOLDER.sub(value, cls.message)


def _check(cls: type[_DeclaredError]) -> None:
    if not _CODE.match(cls.code):
        raise TypeError(f"{cls.__name__}.code is {cls.code!r}; a code reads like NOT_FOUND.")
    if not 400 <= cls.status <= 599:
        raise TypeError(f"{cls.__name__}.status is {cls.status}; an error's is 400 to 599.")
    for name in _PLACEHOLDER.findall(cls.message):
        if name not in cls.__glam_fields__:
            raise TypeError(f"{cls.__name__}.message names {{{name}}}, which it doesn't declare.")


@dataclass_transform(kw_only_default=True, eq_default=False, field_specifiers=(argument, detail))
class _DeclaredError(Exception):
    """Build instances from what their class declares."""

    code: str
    status: int
    message: str
    details = _Details()
    cause = _Cause()
    __glam_fields__: ClassVar[Mapping[str, DetailField]] = {}

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.__glam_fields__ = declare_fields(cls)
        _check(cls)
        codes.register(cls)

    def __init__(
        self,
        message: str | None = None,
        *,
        code: str | None = None,
        status: int | None = None,
        details: Mapping[str, object] | None = None,
        cause: BaseException | None = None,
        **fields: object,
    ) -> None:
        _refuse_wrong_keywords(type(self), fields)
        self.details = _merged(type(self).__glam_fields__, details or {}, fields)
        if code is not None:
            self.code = code
        if status is not None:
            if not 400 <= status <= 599:
                raise ValueError(f"The status of an error is 400 to 599, not {status}.")
            self.status = status
        self.message = _default_message(self) if message is None else str(message)
        super().__init__(self.message)
        if cause is not None:
            self.__cause__ = cause


class GlamBaseError(_DeclaredError):
    """Carry a stable code, an HTTP status, a message and details; base of all our errors.

    Args:
        message: One sentence for the reader; the class's default message when left out, and the
            code in words where the class has none.
        code: Replaces the class's code on this instance.
        status: Replaces the class's HTTP status on this instance.
        details: More facts; a keyword given beside it wins over an entry of the same name.
        cause: Becomes ``__cause__``, as ``raise ... from cause`` does.
    """

    code: str = "INTERNAL_ERROR"
    status: int = 500
    message: str = argument(default="", kw_only=False)
    details: _Details = _Details()
    cause: _Cause = _Cause()

    def to_dict(self) -> dict[str, object]:
        """Return ``code``, ``message`` and, when there are any, ``details``."""
        shown: dict[str, object] = {"code": self.code, "message": self.message}
        if self.details:
            shown["details"] = dict(self.details)
        return shown

    def __str__(self) -> str:
        return self.message

    def __copy__(self) -> Self:
        return self._fill(_blank(type(self)), {**vars(self), "details": dict(self.details)})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # The cause is shared: it holds a traceback, and many foreign errors can't be copied.
        twin = memo[id(self)] = _blank(type(self))
        return self._fill(twin, copy.deepcopy(vars(self), memo))

    def _fill(self, twin: Self, attributes: Mapping[str, object]) -> Self:
        twin.args = self.args
        vars(twin).update(attributes)
        twin.__cause__ = self.__cause__
        twin.__context__ = self.__context__
        twin.__suppress_context__ = self.__suppress_context__
        return twin

    def __reduce__(self) -> tuple[object, ...]:
        state = {
            "args": self.args,
            "attributes": dict(vars(self)),
            "cause": _pickled(self.__cause__),
            "suppress_context": self.__suppress_context__,
        }
        return _blank, (type(self),), state

    def __setstate__(self, state: dict[str, Any] | None) -> None:
        if state is not None:
            self.args = state["args"]
            vars(self).update(state["attributes"])
            self.__cause__ = _unpickled(state["cause"])
            self.__suppress_context__ = state["suppress_context"]


def registered_errors() -> tuple[type[GlamBaseError], ...]:
    """Return every error class defined so far, in the order of definition."""
    return tuple(cls for cls in codes.registered() if issubclass(cls, GlamBaseError))


E = TypeVar("E", bound=BaseException)


def _blank(cls: type[E]) -> E:
    return cls.__new__(cls)


def _pickled(cause: BaseException | None) -> bytes | None:
    """Pickle a cause apart from its error, so that one that can't travel is only left behind."""
    if cause is None:
        return None
    try:
        return pickle.dumps(cause)
    except Exception:  # noqa: BLE001 - a foreign __reduce__ may raise anything
        return None


def _unpickled(cause: bytes | None) -> BaseException | None:
    if cause is None:
        return None
    try:
        loaded = pickle.loads(cause)  # noqa: S301 - part of a pickle that is being loaded already
    except Exception:  # noqa: BLE001 - many exceptions pickle, and then fail in their __init__
        return None
    return loaded if isinstance(loaded, BaseException) else None
