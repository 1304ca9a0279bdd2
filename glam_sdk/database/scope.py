"""Keep every query of a session within what it may see: no deleted rows, one merchant's rows.

It works on the session, not in the repository, so relationships, joins and statements written by
hand are covered as well.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    ColumnClause,
    CompoundSelect,
    Join,
    Label,
    Result,
    Table,
    TextClause,
    TextualSelect,
    event,
    inspect,
)
from sqlalchemy.engine import Connection
from sqlalchemy.orm import (
    FromStatement,
    InstrumentedAttribute,
    LoaderCriteriaOption,
    ORMExecuteState,
    Session,
    with_loader_criteria,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import SelectStatementGrouping

from glam_sdk.database.beside import limit_beside
from glam_sdk.database.deletion import (
    INCLUDE_DELETED,
    KEEPS_DELETED,
    ONLY_LIVE,
    keep_orphans,
    mark,
    mark_matching,
)
from glam_sdk.database.entities import is_marked_deleted
from glam_sdk.database.mixins import MERCHANT_TABLE, MerchantMixin, SoftDeleteMixin
from glam_sdk.errors import ForbiddenError

ALL_MERCHANTS: Final = "glam_all_merchants"
"""Execution option of a statement that may see every merchant's rows though its session may not."""

_MERCHANT: Final = "glam_merchant"
_TEXTS: Final = (TextClause, TextualSelect, FromStatement)


class ScopedSession(Session):
    """Add the criteria to every statement, and check what is written."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.info[KEEPS_DELETED] = True

    def get(self, entity: Any, ident: Any, **kwargs: Any) -> Any:
        """Return an entity by key, one in hand that is marked as deleted no more than any other."""
        found = super().get(entity, ident, **kwargs)
        options: Mapping[str, object] = kwargs.get("execution_options") or {}
        is_hidden = is_marked_deleted(found) and not options.get(INCLUDE_DELETED)
        return None if is_hidden else found

    def delete(self, instance: object) -> None:
        """Delete an entity, or mark it when its model is a ``SoftDeleteMixin``."""
        if not mark(self, instance):
            super().delete(instance)

    def delete_all(self, instances: Iterable[object]) -> None:
        """Do for many what :meth:`delete` does for one."""
        for instance in instances:
            self.delete(instance)

    def connection(
        self,
        bind_arguments: Any = None,
        execution_options: Mapping[str, Any] | None = None,
    ) -> Connection:
        """Return the connection, unless rows are limited: nothing limits what goes through it.

        Raises:
            ForbiddenError: When the session is limited to a merchant, and the execution option
                ``ALL_MERCHANTS`` does not say that this is meant.
        """
        options = dict(execution_options or {})
        if merchant_of(self) is not None and not options.pop(ALL_MERCHANTS, False):
            raise ForbiddenError(
                "Session.connection() cannot be limited to a merchant. Execute ORM statements, or "
                f"ask for it with the execution option {ALL_MERCHANTS}=True."
            )
        return super().connection(bind_arguments, options or None)

    def bulk_save_objects(self, *args: Any, **kwargs: Any) -> None:
        """Refuse the old bulk call where rows are limited: no event sees what it writes."""
        self._refuse_unseen("bulk_save_objects")
        super().bulk_save_objects(*args, **kwargs)

    def bulk_insert_mappings(self, *args: Any, **kwargs: Any) -> None:
        """Refuse the old bulk call where rows are limited."""
        self._refuse_unseen("bulk_insert_mappings")
        super().bulk_insert_mappings(*args, **kwargs)

    def bulk_update_mappings(self, *args: Any, **kwargs: Any) -> None:
        """Refuse the old bulk call where rows are limited."""
        self._refuse_unseen("bulk_update_mappings")
        super().bulk_update_mappings(*args, **kwargs)

    def _refuse_unseen(self, call: str) -> None:
        if merchant_of(self) is not None:
            raise ForbiddenError(
                f"Session.{call}() cannot be limited to a merchant. Use the repository's "
                "insert_many, upsert or update_all."
            )


def limit_to_merchant(session: Session, merchant_id: UUID) -> None:
    """Confine a session to one merchant for good.

    Raises:
        RuntimeError: When it is confined to another, or has met another's rows already.
    """
    before = merchant_of(session)
    if before is not None and before != merchant_id:
        raise RuntimeError("This unit of work is limited to another merchant. Open a new one.")
    if any(isinstance(e, MerchantMixin) and e.merchant_id != merchant_id for e in session):
        raise RuntimeError(
            "This unit of work has loaded rows of another merchant. "
            "Limit it before anything is loaded."
        )
    only = with_loader_criteria(
        MerchantMixin,
        lambda cls: cls.merchant_id == merchant_id,
        include_aliases=True,
    )
    session.info[_MERCHANT] = (merchant_id, only)


def merchant_of(session: Session) -> UUID | None:
    """Return the merchant a session is limited to, if any."""
    scope: tuple[UUID, LoaderCriteriaOption] | None = session.info.get(_MERCHANT)
    return scope[0] if scope else None


@event.listens_for(ScopedSession, "do_orm_execute", propagate=True)
def _limit(state: ORMExecuteState) -> Result[Any] | None:
    options = state.execution_options
    if state.is_delete and state.is_orm_statement and not options.get(INCLUDE_DELETED):
        marked = mark_matching(state)
        if marked is not None:
            return marked
    _add_criteria(state, options)
    return None


def _add_criteria(state: ORMExecuteState, options: Mapping[str, Any]) -> None:
    is_query = state.is_orm_statement and not state.is_insert
    only_live = is_query and not options.get(INCLUDE_DELETED) and _hides_deleted(state)
    if only_live:
        _add(state, ONLY_LIVE)
    scope: tuple[UUID, LoaderCriteriaOption] | None = state.session.info.get(_MERCHANT)
    scope = None if options.get(ALL_MERCHANTS) else scope
    if is_query and (state.is_update or state.is_delete):
        limit_beside(state, only_live=only_live, merchant_id=scope[0] if scope else None)
    if scope is None:
        return
    if state.is_update:
        _refuse_giving_away(state, scope[0])
    is_limitable = is_query and not isinstance(state.statement, _TEXTS)
    if is_limitable and not isinstance(state.parameters, list) and not _names_bare(state.statement):
        _add(state, scope[1])
    elif _touches_merchants(state):
        raise RuntimeError(
            "This unit of work is limited to one merchant, and this statement can't be: "
            "use the repository or an ORM statement, or set the execution option "
            f"{ALL_MERCHANTS}=True."
        )


def _refuse_giving_away(state: ORMExecuteState, merchant_id: UUID) -> None:
    """Refuse an UPDATE that would hand rows to another merchant."""
    # SQLAlchemy has no public way to read an UPDATE's SET.
    given: Mapping[Any, Any] = getattr(state.statement, "_values", None) or {}
    also = state.parameters if isinstance(state.parameters, Mapping) else {}
    for column, value in (*given.items(), *also.items()):
        new = getattr(value, "value", value)
        if getattr(column, "key", column) == "merchant_id" and new != merchant_id:
            raise ForbiddenError("A row cannot be given to another merchant from here.")


def _add(state: ORMExecuteState, criteria: LoaderCriteriaOption) -> None:
    """Add criteria to a statement, unless what loads a relationship has them from its parent."""
    present: Sequence[object] = state.user_defined_options
    if not any(option is criteria for option in present):
        statement: Any = state.statement
        state.statement = statement.options(criteria)


def _hides_deleted(state: ORMExecuteState) -> bool:
    if not SoftDeleteMixin.__subclasses__():
        return False
    # An entity in hand may be refreshed though it is deleted; what it refers to is hidden.
    mapper = state.bind_mapper if state.is_column_load else None
    return mapper is None or not issubclass(mapper.class_, SoftDeleteMixin)


def _names_bare(statement: Any) -> bool:
    """Tell whether a merchant's table stands beside the entities of a statement, unlimited.

    This looks where tables are named; one inside a subquery is not found, for what entities are
    made of is full of such tables.
    """
    # SQLAlchemy has no public way to read a SELECT as it was written.
    if isinstance(statement, SelectStatementGrouping):
        return _names_bare(statement.element)
    if isinstance(statement, CompoundSelect):
        return any(map(_names_bare, statement.selects))
    joined = (join[0] for join in getattr(statement, "_setup_joins", ()))
    named: list[Any] = [*getattr(statement, "_raw_columns", ()), *joined]
    named += getattr(statement, "_from_obj", ())
    bare = [table for element in named for table in _bare_tables(element)]
    # A column of a table that is there as an entity is limited with it.
    return bool(bare) and not {_entity_table(element) for element in named}.issuperset(bare)


def _entity_table(element: Any) -> Any:
    """Return the table of an entity, or of one that is joined by a relationship."""
    if isinstance(element, InstrumentedAttribute):
        related = getattr(element.property, "mapper", None)
        return None if related is None else related.local_table
    found = getattr(element, "_annotations", {}).get("parententity")
    return found.local_table if found is not None and found.is_mapper else None


def _bare_tables(element: Any) -> Iterator[Table]:
    while isinstance(element, Label):
        element = element.element
    if isinstance(element, Join):
        yield from _bare_tables(element.left)
        yield from _bare_tables(element.right)
    table = element.table if isinstance(element, ColumnClause) else element
    if isinstance(table, Table) and MERCHANT_TABLE in table.info and _entity_table(element) is None:
        yield table


def _touches_merchants(state: ORMExecuteState) -> bool:
    statement: Any = state.statement
    if isinstance(statement, _TEXTS):  # nobody knows what a text reads
        return True
    mapper = state.bind_mapper
    if mapper is not None and issubclass(mapper.class_, MerchantMixin):
        return True
    return any(
        isinstance(element, Table) and MERCHANT_TABLE in element.info
        for element in visitors.iterate(statement)
    )


@event.listens_for(ScopedSession, "before_flush", propagate=True)
def _keep_orphans(session: Session, *_: object) -> None:
    keep_orphans(session)


@event.listens_for(ScopedSession, "before_flush", propagate=True)
def _check_merchants(session: Session, *_: object) -> None:
    merchant_id = merchant_of(session)
    if merchant_id is None:
        return
    for entity in (*session.new, *session.dirty, *session.deleted):
        if isinstance(entity, MerchantMixin):
            check_merchant(entity, merchant_id)


def check_merchant(entity: MerchantMixin, merchant_id: UUID) -> None:
    """Fill in the merchant of a new entity; refuse another's.

    Raises:
        ForbiddenError: When the entity belongs to another merchant, or is to be given to one.
    """
    history = inspect(entity).attrs["merchant_id"].history
    if inspect(entity).transient or inspect(entity).pending:
        given: UUID | None = entity.merchant_id
        if given is None:
            entity.merchant_id = merchant_id
    elif history.deleted and any(old != merchant_id for old in history.deleted):
        raise _foreign(entity)
    if entity.merchant_id != merchant_id:
        raise _foreign(entity)


def _foreign(entity: object) -> ForbiddenError:
    name = type(entity).__name__
    return ForbiddenError(f"This {name} belongs to another merchant.", resource=name)
