"""Remember how far each consumer has come, for when somebody deletes it while nobody runs.

The server forgets the position with the consumer. Without a note of it a service would begin at
the start of its stream again, or skip what came meanwhile.
"""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Final

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
# No time to live: a service may be away for longer than any.
_CONFIG: Final = api.KeyValueConfig(
    bucket=BUCKET,
    description="Last message of its stream up to which a consumer has settled all.",
    history=1,
    storage=api.StorageType.FILE,
)
_log = get_logger(__name__)


class Positions:
    """Keep the position of one consumer in JetStream's key-value store.

    Without the store (no permission, no server) nothing is kept, and that is logged once.

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

    async def read(self, stream: str, created: datetime | None) -> int:
        """Return the last sequence known to be settled with all before, or 0.

        Args:
            stream: Name of the stream.
            created: When it was made; another of the same name has other messages.
        """
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                entry = await (await self._bucket.open()).get(f"{stream}.{self._durable}")
        except js_errors.KeyNotFoundError:
            return 0
        except (nats.errors.Error, MessageBusError, TimeoutError, OSError) as exc:
            self._complain(exc)
            return 0
        return _parsed(entry.value or b"", created)

    async def write(self, stream: str, created: datetime | None, floor: int) -> None:
        """Keep a position, unless it is the one kept last."""
        body = orjson.dumps({"created": _text(created), "floor": floor})
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


def _parsed(value: bytes, created: datetime | None) -> int:
    try:
        kept = orjson.loads(value)
        return max(0, int(kept["floor"])) if kept["created"] == _text(created) else 0
    except (ValueError, KeyError, TypeError):
        return 0  # Written by somebody else.


def _text(created: datetime | None) -> str:
    return created.isoformat() if created is not None else ""
