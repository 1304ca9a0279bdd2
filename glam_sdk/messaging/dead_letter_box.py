"""Look into the dead letters, send one again, or throw one away."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from email.header import Header, decode_header
from typing import Final

from nats.js import api
from nats.js import errors as js_errors

from glam_sdk.errors import MessageBusError, NotFoundError
from glam_sdk.events import DEAD_LETTER_STREAM, MESSAGE_ID_HEADER
from glam_sdk.messaging import dead_letters as names
from glam_sdk.messaging.connection import Nats
from glam_sdk.messaging.errors import translated
from glam_sdk.messaging.origin import REPLAY_FOR, REPLAY_OF, header
from glam_sdk.messaging.publisher import Publisher

_STREAM: Final = DEAD_LETTER_STREAM.name


@dataclass(frozen=True, slots=True)
class StoredLetter:
    """Show one dead letter."""

    sequence: int
    """Its number in the stream of dead letters."""
    body: bytes
    """The message's own bytes."""
    headers: Mapping[str, str]
    """The message's own headers and those of the contract."""

    def __getitem__(self, name: str) -> str:
        """Return a header of the contract; empty where there is none."""
        return self.headers.get(name, "")

    @property
    def original_headers(self) -> dict[str, str]:
        """The headers it was first sent with."""
        kept = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in names.HEADERS and not name.lower().startswith("nats-")
        }
        return {name.removeprefix(names.ORIGINAL_PREFIX): value for name, value in kept.items()}


class DeadLetterBox:
    """Work with the stream of dead letters.

    Args:
        nats: A started connection.
    """

    def __init__(self, nats: Nats) -> None:
        self._nats = nats
        self._publisher = Publisher(nats, nats.service_name)

    async def letters(self, *, consumer: str | None = None) -> AsyncIterator[StoredLetter]:
        """Go through the letters, oldest first.

        Args:
            consumer: Only those of this durable consumer.

        Raises:
            MessageBusError: The server could not be asked.
        """
        subject = f"dlq.*.{consumer}.>" if consumer else "dlq.>"
        sequence = 1
        while True:
            try:
                with translated("read", stream=_STREAM):
                    found = await self._nats.jetstream.get_msg(
                        _STREAM, seq=sequence, subject=subject, next=True
                    )
            except MessageBusError as exc:
                if isinstance(exc.__cause__, js_errors.NotFoundError):
                    return
                raise
            letter = _letter(found)
            yield letter
            sequence = letter.sequence + 1

    async def get(self, sequence: int) -> StoredLetter:
        """Return one letter.

        Raises:
            NotFoundError: There is none of this number.
            MessageBusError: The server could not be asked.
        """
        try:
            with translated("read", stream=_STREAM):
                return _letter(await self._nats.jetstream.get_msg(_STREAM, seq=sequence))
        except MessageBusError as exc:
            if isinstance(exc.__cause__, js_errors.NotFoundError):
                raise NotFoundError(
                    f"There is no dead letter {sequence}.",
                    resource="dead_letter",
                    resource_id=sequence,
                ) from exc
            raise

    async def replay(self, sequence: int) -> StoredLetter:
        """Send a message again, for the consumer that gave it up, and take it out of the box.

        Event id, bytes and trace headers are the original ones; its handling links to the first
        trace. Replaying twice after a crash stores one copy, within the stream's duplicate window.

        Raises:
            NotFoundError: There is none of this number.
            MessageBusError: It could not be sent; it stays where it is.
        """
        letter = await self.get(sequence)
        original = letter.original_headers
        first = header(original, MESSAGE_ID_HEADER.lower()) or f"{_STREAM}:{sequence}"
        headers = {
            name: value
            for name, value in original.items()
            # Expectations and schedules of the first time hold no more.
            if not name.lower().startswith("nats-")
        }
        headers |= {
            MESSAGE_ID_HEADER: f"{first}:replay:{sequence}",
            REPLAY_OF: str(sequence),
            REPLAY_FOR: letter[names.CONSUMER],
        }
        await self._publisher.publish_raw(letter[names.SUBJECT], letter.body, headers)
        await self._delete(sequence)
        return letter

    async def drop(self, sequence: int) -> StoredLetter:
        """Delete a letter for ever and return what it was.

        Raises:
            NotFoundError: There is none of this number.
            MessageBusError: The server could not be asked.
        """
        letter = await self.get(sequence)
        await self._delete(sequence)
        return letter

    async def _delete(self, sequence: int) -> None:
        with translated("delete from", stream=_STREAM):
            await self._nats.jetstream.delete_msg(_STREAM, sequence)


def _letter(message: api.RawStreamMsg) -> StoredLetter:
    # The subject tells as well, where the message left no room for headers.
    told = (message.subject or "").split(".", 3)[1:]
    headers = dict(zip((names.STREAM, names.CONSUMER, names.SUBJECT), told, strict=False))
    found: Mapping[str, object] = message.headers or {}
    headers |= {name: _text(value) for name, value in found.items()}
    return StoredLetter(message.seq or 0, message.data or b"", headers)


def _text(value: object) -> str:
    """Return a header as text; one that is not ASCII the client reads as mail would have it."""
    if not isinstance(value, Header):
        return str(value)
    parts = (part if isinstance(part, bytes) else part.encode() for part, _ in decode_header(value))
    return b"".join(parts).decode(errors="replace")
