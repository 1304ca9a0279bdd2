"""Build the lazy front door of a package: names are imported when first asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
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
        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError as exc:
            extra = _EXTRA_OF.get((exc.name or "").partition(".")[0])
            if extra is None:
                raise
            raise ModuleNotFoundError(
                f"{package}.{name} needs {exc.name}, which is not installed. "
                f"Install it with: pip install 'glam_sdk[{extra}]'",
                name=exc.name,
            ) from exc
        return getattr(loaded, name)

    return get, lambda: sorted(exports)


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
