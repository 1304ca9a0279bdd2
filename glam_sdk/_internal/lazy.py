"""Build the lazy front door of a package: names are imported when first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any


def lazy_exports(
    package: str, exports: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` for a package (PEP 562).

    Args:
        package: The ``__name__`` of the package.
        exports: Public name → module that defines it.
    """

    def get(name: str) -> Any:
        module = exports.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        with explaining(f"{package}.{name}"):
            return getattr(importlib.import_module(module), name)

    return get, lambda: sorted(exports)


@contextmanager
def explaining(needing: str) -> Iterator[None]:
    """Say which extra to install where an import in the block fails for want of one.

    Args:
        needing: What was asked for, in the reader's words.
    """
    try:
        yield
    except ModuleNotFoundError as exc:
        extra = _EXTRA_OF.get((exc.name or "").partition(".")[0])
        if extra is None:
            raise
        raise ModuleNotFoundError(
            f"{needing} needs {exc.name}, which is not installed. "
            f"Install it with: pip install 'glam_sdk[{extra}]'",
            name=exc.name,
        ) from exc


_EXTRA_OF = {
    "fastapi": "http",
    "starlette": "http",
    "uvicorn": "http",
    "sqlalchemy": "db",
    "aiosqlite": "db",
    "asyncpg": "db",
    "alembic": "db",
    "nats": "nats",
    "httpx": "client",
    "stamina": "client",
}
