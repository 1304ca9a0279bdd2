"""Keep one owner for each error code.

A code belongs to the highest class in a hierarchy that has it. Subclasses may inherit or repeat
it; an unrelated class that states it again fails while it is being defined.
"""

from __future__ import annotations

import sys
from typing import Final

# Every error class by where its source is, so that a reload replaces its entry.
_registry: Final[dict[tuple[str, str], type[BaseException]]] = {}


def register(cls: type[BaseException]) -> None:
    """Keep an error class; refuse a code that belongs to an unrelated class."""
    code, origin, owner = _code(cls), _origin(cls), _origin(_owner(cls))
    for known_origin, known in _registry.items():
        holder = _owner(known)
        if _code(known) == code and known_origin != origin and _origin(holder) != owner:
            raise TypeError(
                f"{cls.__module__}.{cls.__qualname__} has the code {code!r}, which belongs to "
                f"{holder.__module__}.{holder.__qualname__}. Choose another, or derive from it."
            )
    _registry[origin] = cls


def registered() -> tuple[type[BaseException], ...]:
    """Return every error class defined so far, in the order of definition."""
    return tuple(_registry.values())


def _code(cls: type) -> str | None:
    return getattr(cls, "code", None)


def _owner(cls: type[BaseException]) -> type:
    return next(base for base in reversed(cls.__mro__) if _code(base) == _code(cls))


def _origin(cls: type) -> tuple[str, str]:
    """Name a class by its file, so that ``__main__`` and its import are the same."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    return file or cls.__module__, cls.__qualname__
