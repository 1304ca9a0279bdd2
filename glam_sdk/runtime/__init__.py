"""Run a service: init, components, start, drain, stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glam_sdk._internal.lazy import lazy_exports

if TYPE_CHECKING:
    from glam_sdk.runtime.bootstrap import init, shutdown
    from glam_sdk.runtime.old_startup import setup_middleware
    from glam_sdk.runtime.service import Service

__all__ = ["Service", "init", "setup_middleware", "shutdown"]

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "Service": "glam_sdk.runtime.service",
        "init": "glam_sdk.runtime.bootstrap",
        "setup_middleware": "glam_sdk.runtime.old_startup",
        "shutdown": "glam_sdk.runtime.bootstrap",
    },
)
