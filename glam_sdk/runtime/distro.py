"""Let ``opentelemetry-instrument`` build our pipeline (entry points of the package).

``opentelemetry-instrument uvicorn app:app`` then needs no call in the application; one that calls
``glam_sdk.init`` all the same gets a service on the pipeline that is already there.
Needs ``opentelemetry-instrumentation`` (extra ``contrib``), which brings the launcher.
"""

from __future__ import annotations

from typing import Any, Final

from opentelemetry.instrumentation.distro import BaseDistro  # type: ignore[attr-defined]

from glam_sdk.runtime.bootstrap import prepare

# We, or FastAPI itself, do these; a second instrumentation would write everything twice.
_OURS: Final = frozenset({"asgi", "fastapi", "starlette", "sqlalchemy", "asyncpg", "logging"})


class GlamDistro(BaseDistro):  # type: ignore[misc]  # untyped upstream
    """Load every installed instrumentation but those whose work is done already."""

    def _configure(self, **_: Any) -> None:
        """Set no defaults: the environment says all."""

    def load_instrumentor(self, entry_point: Any, **kwargs: Any) -> None:
        """Load one instrumentation."""
        if entry_point.name not in _OURS:
            super().load_instrumentor(entry_point, **kwargs)


class GlamConfigurator:
    """Build the pipeline from the environment alone."""

    def configure(self, **_: Any) -> None:
        """Configure traces, metrics and logs; the name is ``OTEL_SERVICE_NAME``."""
        prepare()
