"""Mark rows of ``SoftDeleteMixin`` models wherever a session was about to delete them.

That is: entities given to ``session.delete`` and what their ``delete`` cascade reaches, children
taken out of a ``delete-orphan`` collection, and ``delete(Model)`` statements. What can't be marked,
because its parent's row really goes, is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Final

from sqlalchemy import CursorResult, Result, event, inspect, update
from sqlalchemy.engine import Connection
from sqlalchemy.orm import (
    InstanceState,
    Mapper,
    ORMExecuteState,
    RelationshipProperty,
    Session,
    object_session,
    with_loader_criteria,
)
from sqlalchemy.orm.attributes import get_history, set_committed_value
from sqlalchemy.orm.base import INCLUDE_PENDING_MUTATIONS, PASSIVE_NO_INITIALIZE

from glam_sdk.database.changes import deletion
from glam_sdk.database.mixins import SoftDeleteMixin
from glam_sdk.database.types import utcnow

INCLUDE_DELETED: Final = "glam_include_deleted"
"""Execution option of a statement that is to see rows marked as deleted, or to delete for good."""
ONLY_LIVE: Final = with_loader_criteria(
    SoftDeleteMixin,
    lambda cls: cls.is_deleted.is_(False),
    include_aliases=True,
)

KEEPS_DELETED: Final = "glam_keeps_deleted"
"""Key in ``session.info`` of the sessions that mark."""
_FOR_GOOD: Final = "glam_for_good"
_AS_IT_IS: Final = PASSIVE_NO_INITIALIZE | INCLUDE_PENDING_MUTATIONS  # loads nothing


@contextmanager
def deleting_for_good(session: Session) -> Iterator[None]:
    """Let a session really delete what is given to it in the block; it has to flush there too."""
    session.info[_FOR_GOOD] = True
    try:
        yield
    finally:
        del session.info[_FOR_GOOD]


def mark(session: Session, entity: object) -> bool:
    """Mark an entity, and what its ``delete`` cascade reaches; tell whether it can be marked.

    A child whose model is no ``SoftDeleteMixin`` stays: its parent's row stays too.
    """
    if not isinstance(entity, SoftDeleteMixin) or session.info.get(_FOR_GOOD):
        return False
    state: InstanceState[Any] = inspect(entity)
    if state.key is None:
        return False  # never written: SQLAlchemy says so
    session.add(entity)
    reached = [child for child, *_ in state.mapper.cascade_iterator("delete", state)]
    now = utcnow()
    for marked in (entity, *reached):
        if isinstance(marked, SoftDeleteMixin):
            marked.mark_deleted(now)
    return True


def keep_orphans(session: Session) -> None:
    """Mark the children that a flush would delete because their parent let go of them."""
    for parent in session.dirty:
        state: InstanceState[Any] = inspect(parent)
        for relation in _owning(state.mapper):
            for child in get_history(parent, relation.key, _AS_IT_IS).deleted or ():
                if child is not None and child not in session.deleted:
                    _keep(child, state, relation)


def mark_matching(state: ORMExecuteState) -> Result[Any] | None:
    """Execute an UPDATE that marks in place of a DELETE; None where it shall delete."""
    mapper = state.bind_mapper
    marks = None if mapper is None else deletion(mapper.class_)
    if mapper is None or marks is None:
        return None
    statement: Any = state.statement
    marking: Any = update(mapper.class_).values(marks)
    if statement.whereclause is not None:
        marking = marking.where(statement.whereclause)
    # SQLAlchemy has no public way to read a RETURNING.
    returned = getattr(statement, "_returning", ())
    marking = (marking.returning(*returned) if returned else marking).options(
        *state.user_defined_options
    )
    parameters: Mapping[str, Any] | None = None
    if isinstance(state.parameters, Mapping):
        parameters = state.parameters
    found: Result[Any] | CursorResult[Any] = state.session.execute(
        marking, parameters, execution_options=state.local_execution_options
    )
    return found


@lru_cache(maxsize=512)
def _owning(mapper: Mapper[Any]) -> tuple[RelationshipProperty[Any], ...]:
    """Return the relationships whose orphans are deleted, and can be marked."""
    return tuple(
        relation
        for relation in mapper.relationships
        if relation.cascade.delete_orphan and issubclass(relation.mapper.class_, SoftDeleteMixin)
    )


def _keep(child: Any, parent: InstanceState[Any], relation: RelationshipProperty[Any]) -> None:
    """Mark an orphan and give it back its parent, so that the flush keeps row and foreign key."""
    state: InstanceState[Any] = inspect(child)
    # SQLAlchemy has no public way to say that a child is no orphan.
    tracker: Any = getattr(parent.class_, relation.key).impl
    if not state.persistent or tracker.hasparent(state) is not False:
        return  # new, or moved to another parent
    child.mark_deleted()
    tracker.sethasparent(state, parent, True)
    for back in relation._reverse_property:  # noqa: SLF001 - as above
        if back.key in state.dict and state.dict[back.key] is None:
            set_committed_value(child, back.key, parent.obj())


@event.listens_for(SoftDeleteMixin, "before_delete", propagate=True)
def _refuse(_: Mapper[Any], __: Connection, target: object) -> None:
    """Refuse what is deleted together with a parent that is no ``SoftDeleteMixin`` itself."""
    session = object_session(target)
    if session is None or not session.info.get(KEEPS_DELETED) or session.info.get(_FOR_GOOD):
        return
    name = type(target).__name__
    raise RuntimeError(
        f"A {name} would be deleted for good, together with the entity it belongs to. "
        f"Make that one's model a SoftDeleteMixin as well, or delete it with "
        "repository.with_options(include_deleted=True)."
    )
