"""Look after the entities a session holds: their marks, their freshness, what to say of none."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

from sqlalchemy import inspect, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapper

from glam_sdk.database.deletion import INCLUDE_DELETED
from glam_sdk.database.mixins import SoftDeleteMixin, TimestampedMixin
from glam_sdk.database.types import utcnow
from glam_sdk.errors import NotFoundError

_RELOADED_AT_ONCE: Final = 1000


async def reload_expired(session: AsyncSession, mapper: Mapper[Any]) -> None:
    """Load what a statement for many rows left unknown on the entities that are held.

    Otherwise reading such an attribute would need the database, where nobody awaits it.
    """
    held = [inspect(e) for e in session.identity_map.values() if isinstance(e, mapper.class_)]
    keys = [state.identity for state in held if state.expired_attributes]
    options = {"populate_existing": True, INCLUDE_DELETED: True}
    for start in range(0, len(keys), _RELOADED_AT_ONCE):
        wanted = tuple_(*mapper.primary_key).in_(keys[start : start + _RELOADED_AT_ONCE])
        statement = select(mapper.class_).where(wanted)
        (await session.scalars(statement, execution_options=options)).all()


@lru_cache(maxsize=512)
def joins_collections(mapper: Mapper[Any]) -> bool:
    """Tell whether a model's collections come with it by a join, unless told otherwise."""
    return any(one.lazy in ("joined", False) and one.uselist for one in mapper.relationships)


def not_found(model: type[Any], entity_id: Any) -> NotFoundError:
    """Return the error for a row that is not there.

    Args:
        model: Whose row.
        entity_id: Its key; one of several columns is a list or tuple.
    """
    if isinstance(entity_id, (list, tuple)):
        entity_id = entity_id[0] if len(entity_id) == 1 else tuple(map(str, entity_id))
    name = model.__name__
    return NotFoundError(
        f"{name} {entity_id} does not exist.", resource=name, resource_id=entity_id
    )


def touch(entity: object) -> None:
    """Move ``updated_at``: what was merged brought its own, older moment along."""
    if isinstance(entity, TimestampedMixin):
        entity.updated_at = utcnow()


def is_marked_deleted(entity: object) -> bool:
    """Tell whether an entity is marked as deleted."""
    return isinstance(entity, SoftDeleteMixin) and entity.is_deleted
