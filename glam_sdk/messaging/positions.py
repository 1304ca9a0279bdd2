"""Remember how far each consumer has come, for when somebody deletes it while nobody runs.

The server forgets the position with the consumer. Without a note of it a service would begin at
the start of its stream again, or skip what came meanwhile.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import nats.errors
import orjson
from nats.js import api
from nats.js import errors as js_errors

from glam_sdk.errors import MessageBusError
from glam_sdk.messaging.bucket import Bucket
from glam_sdk.messaging.errors import describe
from glam_sdk.telemetry.logs import get_logger

if TYPE_CHECKING:
    from glam_sdk.messaging.connection import Nats

BUCKET: Final = "GLAM_POSITIONS"
"""Key-value bucket shared by all services; a key is ``<stream>.<durable>``."""

_TIMEOUT_S: Final = 2.0
_TRIES: Final = 3
# No time to live: a service may be away for longer than any.
_CONFIG: Final = api.KeyValueConfig(
    bucket=BUCKET,
    description="Last message of its stream up to which a consumer has settled all.",
    history=1,
    storage=api.StorageType.FILE,
)
_log = get_logger(__name__)


class Position(NamedTuple):
    """Say up to where a consumer has settled all messages of a stream."""

    floor: int = 0
    """Sequence of the last of them; 0 where nothing is known."""
    stored_at: datetime | None = None
    """When that one was stored, as far as it is known; another has another time."""


class Positions:
    """Keep the position of one consumer in JetStream's key-value store.

    Without the store (no permission) nothing is kept, and that is logged once.

    Args:
        nats: Connection.
        durable: Name of the consumer.
        replicas: Copies of the store; see :class:`~glam_sdk.messaging.bucket.Bucket`.
    """

    def __init__(self, nats: Nats, durable: str, replicas: int | None = None) -> None:
        self._durable = durable
        self._bucket = Bucket(nats, _CONFIG, replicas)
        self._written: bytes | None = None
        self._complained = False
        self._failed = 0

    async def read(self, stream: str, created: datetime | None) -> Position:
        """Return the position kept last.

        Args:
            stream: Name of the stream.
            created: When it was made; another of the same name has other messages.

        Raises:
            MessageBusError: It could not be read, which may pass. The third time it is taken for
                one that nobody kept: a service without permission has to begin somewhere.
        """
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                entry = await (await self._bucket.open()).get(f"{stream}.{self._durable}")
        except js_errors.KeyNotFoundError:
            return Position()
        except (nats.errors.Error, MessageBusError, TimeoutError, OSError) as exc:
            self._bucket.forget()
            self._failed += 1
            if self._failed < _TRIES:
                raise MessageBusError(
                    f"How far {self._durable} has come in {stream} could not be read: "
                    f"{describe(exc)}.",
                    operation="read position",
                    stream=stream,
                ) from exc
            self._complain(exc)
            return Position()
        return _parsed(entry.value or b"", created)

    async def write(self, stream: str, created: datetime | None, position: Position) -> None:
        """Keep a position, unless it is the one kept last."""
        floor, stored_at = position
        body = orjson.dumps(
            {"created": _text(created), "floor": floor, "stored_at": _text(stored_at)}
        )
        if body == self._written:
            return
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await (await self._bucket.open()).put(f"{stream}.{self._durable}", body)
        except (nats.errors.Error, MessageBusError, TimeoutError, OSError) as exc:
            self._complain(exc)
        else:
            self._written = body

    def _complain(self, exc: Exception) -> None:
        self._bucket.forget()
        if not self._complained:
            self._complained = True
            _log.warning("position.not_kept", durable=self._durable, reason=describe(exc))


def _parsed(value: bytes, created: datetime | None) -> Position:
    try:
        kept = orjson.loads(value)
        if kept["created"] != _text(created):
            return Position()
        stored_at = kept.get("stored_at")
        return Position(
            max(0, int(kept["floor"])), datetime.fromisoformat(stored_at) if stored_at else None
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return Position()  # Written by somebody else.


def _text(moment: datetime | None) -> str:
    return moment.isoformat() if moment is not None else ""
