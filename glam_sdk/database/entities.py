"""Answer small questions about one entity: its marks, and what to say when it is missing."""

from __future__ import annotations

from typing import Any

from glam_sdk.database.mixins import SoftDeleteMixin, TimestampedMixin
from glam_sdk.database.types import utcnow
from glam_sdk.errors import NotFoundError


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


def mark_deleted(entity: object) -> bool:
    """Mark an entity whose model keeps deleted rows; tell whether it does."""
    if isinstance(entity, SoftDeleteMixin):
        entity.mark_deleted()
        return True
    return False


def is_marked_deleted(entity: object) -> bool:
    """Tell whether an entity is marked as deleted."""
    return isinstance(entity, SoftDeleteMixin) and entity.is_deleted
