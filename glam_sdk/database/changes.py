"""Know what a change of rows changes besides: moment, version, and deletion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import false, null

from glam_sdk.database.mixins import SoftDeleteMixin, TimestampedMixin, VersionedMixin
from glam_sdk.database.types import utcnow


def bumped(model: type[Any], values: Mapping[str, object]) -> dict[str, object]:
    """Return the values of a bulk UPDATE, with the version counted on."""
    changed = always_changed(model)
    changed.pop("updated_at", None)  # SQLAlchemy sets it on every UPDATE of its own
    changed.pop("is_deleted", None)
    changed.pop("deleted_at", None)
    return {**changed, **values}


def deletion(model: type[Any]) -> dict[str, object] | None:
    """Return the values that mark rows of a model as deleted, if it keeps them."""
    if not issubclass(model, SoftDeleteMixin):
        return None
    return bumped(model, {"is_deleted": True, "deleted_at": utcnow()})


def always_changed(model: type[Any]) -> dict[str, object]:
    """Return what a change of a row changes besides: moment, version, and its deletion."""
    changed: dict[str, object] = {}
    if issubclass(model, TimestampedMixin):
        changed["updated_at"] = utcnow()
    if issubclass(model, VersionedMixin):
        changed["version"] = model.version + 1
    if issubclass(model, SoftDeleteMixin):
        # What is written again is there again. SQL's own words: values would cost the batching.
        changed |= {"is_deleted": false(), "deleted_at": null()}
    return changed
