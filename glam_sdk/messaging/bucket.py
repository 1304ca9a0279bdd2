"""Keep a few facts about messages on the server, in as many copies as it can."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from nats.js import api
from nats.js import errors as js_errors

from glam_sdk.telemetry.logs import get_logger

if TYPE_CHECKING:
    from nats.js import JetStreamContext
    from nats.js.kv import KeyValue

    from glam_sdk.messaging.connection import Nats

_BEST: Final = 3
# No cluster, no suitable peers, not enough resources.
_TOO_MANY: Final = frozenset({10005, 10023, 10074})
_log = get_logger(__name__)


class Bucket:
    """Open a key-value bucket, and make it where there is none.

    Args:
        nats: Connection.
        config: Of the bucket, but for the replicas.
        replicas: How many copies; 3 by default. Fewer where the servers cannot keep as many. A
            bucket that exists is changed only when a number is given.
    """

    def __init__(self, nats: Nats, config: api.KeyValueConfig, replicas: int | None = None) -> None:
        self._nats = nats
        self._config = config
        self._replicas = replicas
        self._opened: tuple[JetStreamContext, KeyValue] | None = None

    async def open(self) -> KeyValue:
        """Return the bucket.

        Raises:
            nats.errors.Error: The server refused or did not answer.
        """
        js = self._nats.jetstream
        if self._opened is not None and self._opened[0] is js:
            return self._opened[1]
        try:
            bucket = await js.key_value(self._config.bucket)
        except js_errors.BucketNotFoundError:
            bucket = await self._create(js)
        else:
            await self._adjust(js)
        self._opened = (js, bucket)
        return bucket

    def forget(self) -> None:
        """Open the bucket anew next time."""
        self._opened = None

    async def _create(self, js: JetStreamContext) -> KeyValue:
        wanted = self._replicas or _BEST
        for replicas in range(wanted, 1, -1):
            try:
                return await js.create_key_value(self._config, replicas=replicas)
            except js_errors.APIError as exc:
                if exc.err_code not in _TOO_MANY:
                    raise
                self._note_fewer(replicas)
        return await js.create_key_value(self._config, replicas=1)

    async def _adjust(self, js: JetStreamContext) -> None:
        if self._replicas is None:
            return
        config = (await js.stream_info(f"KV_{self._config.bucket}")).config
        if config.num_replicas == self._replicas:
            return
        try:
            await js.update_stream(config, num_replicas=self._replicas)
        except js_errors.APIError as exc:
            if exc.err_code not in _TOO_MANY:
                raise
            self._note_fewer(self._replicas)

    def _note_fewer(self, wanted: int) -> None:
        if wanted == self._replicas:  # Nobody is told that a default could not be had.
            _log.warning("bucket.fewer_replicas", bucket=self._config.bucket, wanted=wanted)
