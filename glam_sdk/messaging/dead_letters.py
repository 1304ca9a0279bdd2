"""Keep what cannot be handled: bytes, headers and the reason, in a stream of its own.

Flow: step 14, in place of an ack. The header names are public and stable; ``glam dlq`` and other
tools read them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from glam_sdk.events import MESSAGE_ID_HEADER, format_timestamp
from glam_sdk.messaging.attempts import GivenUp
from glam_sdk.messaging.delivery import Incoming
from glam_sdk.messaging.errors import MessageTooLargeError
from glam_sdk.messaging.publisher import Publisher
from glam_sdk.telemetry.logs import get_logger

REASON: Final = "x-dead-letter-reason"
ERROR_TYPE: Final = "x-dead-letter-error-type"
ERROR: Final = "x-dead-letter-error"
STREAM: Final = "x-dead-letter-stream"
CONSUMER: Final = "x-dead-letter-consumer"
SUBJECT: Final = "x-dead-letter-subject"
SEQUENCE: Final = "x-dead-letter-sequence"
STORED_AT: Final = "x-dead-letter-stored-at"
ATTEMPTS: Final = "x-dead-letter-attempts"
AT: Final = "x-dead-letter-at"
SERVICE: Final = "x-dead-letter-service"
ORIGINAL_PREFIX: Final = "x-original-"
"""Put before headers that the server would act on, such as ``Nats-Msg-Id``."""

HEADERS: Final = (
    REASON, ERROR_TYPE, ERROR, STREAM, CONSUMER, SUBJECT, SEQUENCE, STORED_AT, ATTEMPTS, AT,
    SERVICE,
)  # fmt: skip
"""The header contract, besides the original headers."""

_TIMEOUT: Final = timedelta(seconds=5)
_LONGEST_ERROR: Final = 500
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """Say who gives up a message, why, and after how many attempts."""

    given_up: GivenUp
    durable: str
    attempts: int


class DeadLetterSink(Protocol):
    """Keep dead letters."""

    async def keep(self, message: Incoming, letter: DeadLetter) -> None:
        """Return once the message is kept; raise a ``MessageBusError`` if it is not."""
        ...


class DeadLetters:
    """Publish dead letters to their stream and wait for its acknowledgement.

    Args:
        publisher: Of the service that gives up.
        service_name: Name of that service.
    """

    def __init__(self, publisher: Publisher, service_name: str) -> None:
        self._publisher = publisher
        self._service_name = service_name

    async def keep(self, message: Incoming, letter: DeadLetter) -> None:
        """Publish it once: a second try within an hour is dropped by the stream.

        A message that fills what the server takes is kept without the error's text, or else with no
        header but the id. Its bytes come first: where the id has no room either, it may be twice.

        Raises:
            MessageBusError: The stream did not take it.
        """
        headers = letter_headers(message, letter, self._service_name)
        subject = f"dlq.{message.stream}.{letter.durable}.{message.subject}"
        shorter = {name: value for name, value in headers.items() if name != ERROR}
        only_id = {MESSAGE_ID_HEADER: headers[MESSAGE_ID_HEADER]}
        for fewer in (shorter, only_id, {}):
            try:
                await self._publisher.publish_raw(subject, message.body, headers, timeout=_TIMEOUT)
            except MessageTooLargeError:
                headers = fewer
            else:
                return
        _log.warning(
            "dead_letter.without_headers",
            stream=message.stream,
            sequence=message.sequence,
            size_bytes=len(message.body),
        )
        await self._publisher.publish_raw(subject, message.body, headers, timeout=_TIMEOUT)


def letter_headers(message: Incoming, letter: DeadLetter, service_name: str) -> dict[str, str]:
    """Return the headers of a dead letter: the original ones and the contract's."""
    stored_at = format_timestamp(message.stored_at)
    key = f"dlq:{message.stream}:{letter.durable}:{message.sequence}:{stored_at}"
    return {
        **_kept(message.headers),
        MESSAGE_ID_HEADER: key,
        REASON: letter.given_up.reason,
        ERROR_TYPE: letter.given_up.error_type,
        ERROR: _one_line(letter.given_up.error),
        STREAM: message.stream,
        CONSUMER: letter.durable,
        SUBJECT: message.subject,
        SEQUENCE: str(message.sequence),
        STORED_AT: stored_at,
        ATTEMPTS: str(letter.attempts),
        AT: format_timestamp(datetime.now(UTC)),
        SERVICE: service_name,
    }


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    contract = frozenset(HEADERS)
    return {
        f"{ORIGINAL_PREFIX}{name}" if name.lower().startswith("nats-") else name: value
        for name, value in headers.items()
        if name.lower() not in contract
    }


def _one_line(text: str) -> str:
    """Return a text as a header can hold it: one line of ASCII, not too long."""
    return " ".join(text.split())[:_LONGEST_ERROR].encode("ascii", "backslashreplace").decode()
