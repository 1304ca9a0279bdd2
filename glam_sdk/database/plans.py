"""Work out once per SQL text what telemetry says of each of its executions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath
from typing import Any, Final, NamedTuple

from opentelemetry.util.types import AttributeValue
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import ExecuteStyle

from glam_sdk.database.statements import MAX_TEXT, describe
from glam_sdk.telemetry import conventions as conv
from glam_sdk.telemetry.telling import SpanForm
from glam_sdk.telemetry.tracing import SharedAttributes, SpanKind

_STATEMENTS_KEPT: Final = 1024
_TRANSACTION_WORDS: Final = ("BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")


class Plan(NamedTuple):
    """What is the same for every execution of one SQL text."""

    name: str
    form: SpanForm
    metric_attributes: dict[str, AttributeValue]
    series: tuple[str, str | None]
    """Stands for the metric's attributes within one database."""

    @property
    def span_attributes(self) -> SharedAttributes:
        """What each of its spans begins with."""
        return self.form.attributes


class _Plans(dict[str, Plan | None]):
    """Hold the plans by text; one that is there is found without a step of the interpreter."""

    def __init__(self, common: dict[str, AttributeValue], system: str) -> None:
        super().__init__()
        self._common = common
        self._system = system

    def __missing__(self, sql: str) -> Plan | None:
        if len(sql) > MAX_TEXT + 1:
            # What is looked at, and one more to tell that there is more; the rest may be megabytes.
            return self[sql[: MAX_TEXT + 1]]
        if len(self) >= _STATEMENTS_KEPT:
            self.clear()  # those that come again are soon back, at a price nobody notices
        made = self[sql] = self._make(sql)
        return made

    def _make(self, sql: str) -> Plan | None:
        if sql.lstrip().upper().startswith(_TRANSACTION_WORDS):
            return None
        statement = describe(sql)
        labels = dict(self._common)
        if statement.operation:
            labels[conv.DB_OPERATION_NAME] = statement.operation
        if statement.collection:
            labels[conv.DB_COLLECTION_NAME] = statement.collection
        attributes = SharedAttributes({**labels, conv.DB_QUERY_TEXT: statement.text})
        if statement.summary:
            attributes[conv.DB_QUERY_SUMMARY] = statement.summary
        series = (statement.operation, statement.collection)
        name = statement.summary or self._system
        return Plan(name, SpanForm(name, SpanKind.CLIENT, attributes), labels, series)


def planner(common: dict[str, AttributeValue], system: str) -> Callable[[str], Plan | None]:
    """Return a function from SQL text to plan; None for what begins and ends transactions.

    Args:
        common: Attributes of every statement of the database.
        system: Name of the database system, for statements without a summary.
    """
    return _Plans(common, system).__getitem__


def known_by(sql: str, parameters: Any, context: Any) -> tuple[str, int]:
    """Return the text that stands for a statement, and for how many rows it is sent.

    Args:
        sql: As it goes to the driver.
        parameters: That go with it.
        context: Of SQLAlchemy's execution.
    """
    made_from: str | None = getattr(context, "statement", None)
    if made_from is None:  # it asks for a default, before there is the statement that needs it
        return sql, 1
    if context.execute_style is ExecuteStyle.INSERTMANYVALUES:
        # One text for each number of rows; what it was made from is always the same.
        return made_from, _rows_of_insert(parameters, context)
    size = len(parameters) if context.execute_style is ExecuteStyle.EXECUTEMANY else 1
    # Somebody may have put a comment behind it, another one each time.
    return made_from if sql.startswith(made_from) else sql, size


def _rows_of_insert(parameters: Any, context: Any) -> int:
    """Count the INSERTs that SQLAlchemy sends as one statement."""
    made = context.compiled._insertmanyvalues  # noqa: SLF001 - no event tells of it
    of_one = sum(len(names) for *_, names in made.insert_crud_params)
    more = len(parameters) - len(context.parameters[0])
    return 1 + more // of_one if of_one else 1


def common_attributes(url: URL, dialect: str) -> dict[str, AttributeValue]:
    """Return the attributes every span and measurement of one database has."""
    name = str(url.database or "")  # of exactly this type, as SharedAttributes want it
    if dialect == "sqlite":
        return {conv.DB_SYSTEM_NAME: "sqlite", conv.DB_NAMESPACE: PurePath(name).name or ":memory:"}
    attributes: dict[str, AttributeValue] = {conv.DB_SYSTEM_NAME: dialect}
    if name:
        attributes[conv.DB_NAMESPACE] = name
    host = url.host or url.query.get("host")
    if isinstance(host, str):
        attributes[conv.SERVER_ADDRESS] = str(host)
        if not host.startswith("/"):
            attributes[conv.SERVER_PORT] = url.port or 5432
    return attributes
