"""Show and change log levels of a running service, for whoever knows its admin token."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, SecretStr

from glam_sdk.errors import UnauthorizedError, ValidationError
from glam_sdk.telemetry import log_levels
from glam_sdk.telemetry.logs import get_logger

PATH = "/admin/loggers"
_log = get_logger("glam_sdk.admin")


class LevelChange(BaseModel):
    """Name the level a logger shall have; null lets it follow the logger above it."""

    level: str | None


def create_loggers_router(token: SecretStr) -> APIRouter:
    """Return ``GET /admin/loggers`` and ``PUT /admin/loggers/{name}``, not in the OpenAPI schema.

    Args:
        token: What a caller must send as ``Authorization: Bearer <token>``.
    """

    def authorised(authorization: Annotated[str, Header()] = "") -> None:
        scheme, _, given = authorization.partition(" ")
        expected = token.get_secret_value()
        matches = secrets.compare_digest(given.strip().encode(), expected.encode())
        if scheme.lower() != "bearer" or not matches:
            raise UnauthorizedError(auth_type="Bearer")

    router = APIRouter(prefix=PATH, dependencies=[Depends(authorised)], include_in_schema=False)

    @router.get("")
    async def levels() -> dict[str, str]:
        return log_levels.levels()

    @router.put("/{name}")
    async def change(name: str, body: LevelChange) -> dict[str, str]:
        try:
            log_levels.set_level(name, body.level)
        except ValueError as exc:
            raise ValidationError(str(exc), field="level", value=body.level) from exc
        _log.warning("log.level_changed", changed=name, level=body.level)
        return log_levels.levels()

    return router
