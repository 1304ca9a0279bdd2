"""Serve HTTP: the one middleware, envelopes, errors, health and metrics endpoints (FastAPI)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from glam_sdk._internal.lazy import lazy_exports

if TYPE_CHECKING:
    from glam_sdk.api.database import (
        DatabaseHealth,
        DBSessionDep,
        get_database_health,
        get_database_manager,
        get_db_session,
        set_database_manager,
    )
    from glam_sdk.api.dependencies import (
        ClientIpDep,
        CorrelationIdDep,
        PaginationDep,
        PaginationParams,
        RequestContext,
        RequestContextDep,
        RequestIdDep,
    )
    from glam_sdk.api.envelope import ApiResponse, ErrorDetail, Links, Meta, Pagination
    from glam_sdk.api.health import create_health_router
    from glam_sdk.api.middleware import TelemetryMiddleware
    from glam_sdk.api.responses import (
        create_response,
        error_response,
        paginated_response,
        success_response,
    )
    from glam_sdk.api.unit_of_work import UnitOfWorkDep

_MODULES = {
    "ApiResponse": "envelope",
    "ClientIpDep": "dependencies",
    "CorrelationIdDep": "dependencies",
    "DBSessionDep": "database",
    "DatabaseHealth": "database",
    "ErrorDetail": "envelope",
    "Links": "envelope",
    "Meta": "envelope",
    "Pagination": "envelope",
    "PaginationDep": "dependencies",
    "PaginationParams": "dependencies",
    "RequestContext": "dependencies",
    "RequestContextDep": "dependencies",
    "RequestIdDep": "dependencies",
    "TelemetryMiddleware": "middleware",
    "UnitOfWorkDep": "unit_of_work",
    "create_health_router": "health",
    "create_response": "responses",
    "error_response": "responses",
    "get_database_health": "database",
    "get_database_manager": "database",
    "get_db_session": "database",
    "paginated_response": "responses",
    "set_database_manager": "database",
    "success_response": "responses",
}

__all__ = [
    "ApiResponse",
    "ClientIpDep",
    "CorrelationIdDep",
    "DBSessionDep",
    "DatabaseHealth",
    "ErrorDetail",
    "Links",
    "Meta",
    "Pagination",
    "PaginationDep",
    "PaginationParams",
    "RequestContext",
    "RequestContextDep",
    "RequestIdDep",
    "TelemetryMiddleware",
    "UnitOfWorkDep",
    "create_health_router",
    "create_response",
    "error_response",
    "get_database_health",
    "get_database_manager",
    "get_db_session",
    "paginated_response",
    "set_database_manager",
    "success_response",
]

__getattr__, __dir__ = lazy_exports(
    __name__, {name: f"{__name__}.{module}" for name, module in _MODULES.items()}
)
