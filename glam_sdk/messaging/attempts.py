"""Count started attempts, whatever the server's delivery count says.

The server counts deliveries: a message handed back at a restart, or lost with a connection, costs
one as well. So what is known about a message that was delivered more than once is kept in a small
key-value bucket beside the streams: how many attempts failed, and how many deliveries ended in a
way we know of. The others are attempts whose worker ended without a word.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import nats.errors
import orjson
from nats.js import api
from nats.js import errors as js_errors
from pydantic import TypeAdapter

from glam_sdk.errors import MessageBusError
from glam_sdk.messaging.bucket import Bucket
from glam_sdk.messaging.errors import describe
from glam_sdk.messaging.retry import Reason
from glam_sdk.telemetry.logs import get_logger

if TYPE_CHECKING:
    from glam_sdk.messaging.connection import Nats
    from glam_sdk.messaging.delivery import Incoming, MessageKey

BUCKET: Final = "GLAM_ATTEMPTS"
"""Key-value bucket shared by all services; a key is ``<stream>.<durable>.<sequence>``."""

_TTL_S: Final = 7 * 24 * 3600.0
_TIMEOUT_S: Final = 2.0
_REMEMBERED: Final = 10_000
_CONFIG: Final = api.KeyValueConfig(
    bucket=BUCKET,
    description="Attempts at messages that were delivered more than once.",
    ttl=_TTL_S,
    history=1,
    storage=api.StorageType.FILE,
)
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Say why a message is given up, in the words of its dead letter."""

    reason: Reason
    error_type: str
    error: str


@dataclass(frozen=True, slots=True)
class History:
    """Tell what is known about earlier deliveries of a message."""

    failed: int = 0
    """Attempts that ended with an error."""
    known: int = 0
    """Deliveries whose end is known: failed, or handed back without being begun or finished."""
    given_up: GivenUp | None = None
    """Set when the message is to be a dead letter and could not be stored as one so far."""

    def lost(self, deliveries: int) -> int:
        """Return how many earlier deliveries nobody reported the end of."""
        return max(0, deliveries - 1 - self.known)

    def attempt(self, deliveries: int) -> int:
        """Return the number of the attempt that this delivery starts, from 1."""
        return self.failed + self.lost(deliveries) + 1

    def after_failure(self, given_up: GivenUp | None = None, *, repeats: int = 0) -> History:
        """Return the history once this attempt has failed.

        Args:
            given_up: Why no other follows.
            repeats: Deliveries that came while the message was held, and began nothing.
        """
        return History(self.failed + 1, self.known + 1 + repeats, given_up or self.given_up)

    def after_return(self, *, repeats: int = 0) -> History:
        """Return the history once this delivery was handed back, which costs no attempt."""
        return History(self.failed, self.known + 1 + repeats, self.given_up)


NOTHING: Final = History()
"""The history of a message that was not delivered before."""


class Histories(Protocol):
    """Remember histories for all processes that share a consumer."""

    @property
    def known(self) -> Mapping[MessageKey, History]:
        """What this process knows about messages; the same mapping each time."""
        ...

    async def read(self, message: Incoming) -> History:
        """Return what is known about a message; nothing is an empty history."""
        ...

    async def write(self, message: Incoming, history: History) -> None:
        """Remember it."""
        ...

    def forget(self, message: Incoming) -> Coroutine[Any, Any, None]:
        """Drop what is remembered about a settled message."""
        ...


class LocalHistories:
    """Remember histories in this process, the latest ten thousand."""

    def __init__(self) -> None:
        self.known: OrderedDict[MessageKey, History] = OrderedDict()

    async def read(self, message: Incoming) -> History:
        """Return what is known about a message."""
        return self.known.get(message.key, NOTHING)

    async def write(self, message: Incoming, history: History) -> None:
        """Remember it, and forget the oldest when there are too many."""
        self.known[message.key] = history
        if len(self.known) > _REMEMBERED:
            self.known.popitem(last=False)

    async def forget(self, message: Incoming) -> None:
        """Drop what is remembered about a message."""
        self.known.pop(message.key, None)


class SharedHistories:
    """Remember histories in JetStream's key-value store, and in this process besides.

    Without the store (no permission, no server) the counting goes on with what this process knows.

    Args:
        nats: Connection.
        durable: Consumer whose messages these are.
        replicas: Copies of the store; see :class:`~glam_sdk.messaging.bucket.Bucket`.
    """

    def __init__(self, nats: Nats, durable: str, replicas: int | None = None) -> None:
        self._durable = durable
        self._local = LocalHistories()
        self.known: Mapping[MessageKey, History] = self._local.known
        """What this process knows about messages."""
        self._bucket = Bucket(nats, _CONFIG, replicas)
        self._complained = False

    async def read(self, message: Incoming) -> History:
        """Return what is known; a first delivery is not looked up outside of this process."""
        known = self.known.get(message.key, NOTHING)
        if message.deliveries == 1:
            return known
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                entry = await (await self._bucket.open()).get(self._key(message))
        except js_errors.KeyNotFoundError:
            return known
        except (nats.errors.Error, MessageBusError, TimeoutError, OSError) as exc:
            self._complain(exc)
            return known
        found = _parsed(entry.value or b"", message)
        return found if found.known >= known.known else known

    async def write(self, message: Incoming, history: History) -> None:
        """Remember it here and in the store."""
        await self._local.write(message, history)
        body = orjson.dumps({"stored_at": message.stored_at.isoformat(), "history": history})
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                await (await self._bucket.open()).put(self._key(message), body)
        except (nats.errors.Error, MessageBusError, TimeoutError, OSError) as exc:
            self._complain(exc)

    async def forget(self, message: Incoming) -> None:
        """Drop it here; the store's copy expires, and its message does not come again."""
        await self._local.forget(message)

    def _key(self, message: Incoming) -> str:
        return f"{message.stream}.{self._durable}.{message.sequence}"

    def _complain(self, exc: Exception) -> None:
        self._bucket.forget()
        if not self._complained:
            self._complained = True
            _log.warning("attempts.not_shared", durable=self._durable, reason=describe(exc))


_HISTORY: Final = TypeAdapter(History)


def _parsed(value: bytes, message: Incoming) -> History:
    try:
        data = orjson.loads(value)
        if data["stored_at"] == message.stored_at.isoformat():
            return _HISTORY.validate_python(data["history"])
    except (ValueError, KeyError, TypeError):
        pass
    return History()  # Of a stream that was there before, or written by somebody else.
