"""Say in words what Alembic and SQLAlchemy have to say, and what to do about it."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from alembic.util.exc import CommandError
from sqlalchemy import exc

from glam_sdk.database.errors import translate
from glam_sdk.errors import ConfigurationError

_SAYINGS: Final = (
    (
        r"Target database is not up to date",
        (
            "There are migrations that were not applied yet. Apply them first: "
            "glam db upgrade {service}."
        ),
    ),
    (
        r"(?:Can't locate revision identified by|No such revision or branch) '([^']*)'",
        (
            "There is no migration '{0}' in {directory}. If you did not name it, it is where the "
            "database is, and its file is missing here."
        ),
    ),
    (
        r"Relative revision [+-]?(\d+) didn't produce \d+ migrations",
        "There are fewer than {0} migrations that way from where the database is.",
    ),
    (
        r"downgrade with --sql requires",
        (
            "Without a connection nobody knows where the database is: say from:to, "
            "such as 1a2b3c:base."
        ),
    ),
    (
        r"Multiple head",
        (
            "Several migrations in {directory} are the last one: they were made after the same. "
            "Let one follow the other by its down_revision."
        ),
    ),
)


class readable_errors:  # noqa: N801 - reads as a statement: `with readable_errors(...):`
    """Raise our errors for those of Alembic, SQLAlchemy, and of modules that can't be imported.

    Args:
        directory: Of the migrations.
        service: Whose they are.
    """

    def __init__(self, directory: Path, service: str) -> None:
        self._directory = directory
        self._service = service

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if isinstance(error, CommandError):
            raise ConfigurationError(self._words_for(str(error))) from error
        if isinstance(error, ImportError):
            raise ConfigurationError(
                f"What {self._directory / 'env.py'} or a migration imports is not there: {error}. "
                "Correct it, or run the command where the module can be found."
            ) from error
        if isinstance(error, exc.SQLAlchemyError):
            raise translate(error) from None  # the cause's text may hold the values of a row

    def _words_for(self, said: str) -> str:
        for pattern, words in _SAYINGS:
            found = re.search(pattern, said)
            if found:
                return words.format(
                    *found.groups(), directory=self._directory / "versions", service=self._service
                )
        return f"{said.rstrip('.')}."


def readable(difference: Any) -> str:
    """Say in words what Alembic would do about a difference."""
    if isinstance(difference, list):  # several changes of one column
        return "; ".join(map(readable, difference))
    verb, *rest = difference
    names = [
        str(getattr(one, "name", one))
        for one in rest
        if isinstance(one, str) or hasattr(one, "name")
    ]
    return f"{verb.replace('_', ' ')} {'.'.join(names)}"
