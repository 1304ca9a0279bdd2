"""Let each transaction of PostgreSQL end as it says, or its connection go.

PostgreSQL gives a transaction up at the first statement that fails. It answers the COMMIT of one
with a rollback and no error, so who caught the statement's error would believe in a commit.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import event, exc
from sqlalchemy.engine import Connection, Engine, ExceptionContext

from glam_sdk.database.errors import nothing_kept
from glam_sdk.database.redaction import status_code
from glam_sdk.database.telemetry import UNTRACED

_FAILED: Final = "glam_statement_failed"
"""Key in a connection's ``info``: a statement failed since the last COMMIT."""
_ABORTED: Final = "25P02"


def watch_endings(engine: Engine) -> None:
    """Refuse COMMITs that keep nothing, and drop connections that can't end their transaction.

    Args:
        engine: Of PostgreSQL.
    """
    event.listen(engine, "handle_error", _failed)


def _failed(failure: ExceptionContext) -> None:
    if failure.connection is None or failure.is_disconnect:
        return
    # The rows of a stream are fetched without one.
    if failure.statement or status_code(failure.original_exception) is not None:
        failure.connection.info[_FAILED] = True
        # Of this connection alone: an engine with listeners makes each execution dearer.
        event.listen(failure.connection, "commit", _look)
    else:
        # The driver could not even ask, for one because another task is using the connection.
        failure.is_disconnect, failure.invalidate_pool_on_disconnect = True, False


def _look(connection: Connection) -> None:
    if not connection.info.pop(_FAILED, False):
        return
    try:
        # A savepoint may have saved the rest, or the statement was never sent: the server knows.
        connection.exec_driver_sql("SELECT 1", execution_options={UNTRACED: True})
    except exc.DBAPIError as error:
        if status_code(error.orig) != _ABORTED:
            raise
        # Of the driver itself: SQLAlchemy takes what fails in here for a COMMIT that was sent.
        connection.connection.rollback()
        raise nothing_kept(_ABORTED) from None  # the cause says the same in other words
