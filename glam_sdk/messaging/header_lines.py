"""Read the usual headers of a message at a fifth of the client's price.

The client looks at each character of each name. What senders of ours write, in their order, is read
by one pattern, and names of theirs in another order need no look; a message that has any other
header, or a value beyond plain ASCII, is left to the client. Most messages need no more of them
than the trace they belong to, which is found without reading the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from nats.aio.client import Client

from glam_sdk.events import MESSAGE_ID_HEADER

USUAL: Final = frozenset({MESSAGE_ID_HEADER, "traceparent", "tracestate", "baggage"})
"""Names of headers as our senders write them."""

_OURS: Final = re.compile(
    r"traceparent: ([^\r]+)\r\n(?:baggage: ([^\r]+)\r\n)?Nats-Msg-Id: ([^\r]+)\r\n\r\n"
)
TRACED: Final = re.compile(
    rb"traceparent: 00-([0-9a-f]{32}+)-([0-9a-f]{16}+)-0([0-3])\r\n"
    rb"(?:baggage: correlation_id=([A-Za-z0-9][A-Za-z0-9_.:/@\-]{0,127}+)\r\n)?"
    rb"Nats-Msg-Id: [^\r]++\r\n\r\n"
).fullmatch
"""Matches a block in our order that says no more than trace id, span id, flags and, where the
sender has one, a valid correlation id, each of them plain."""
_BLANKS: Final = " \t\n\r\x0b\x0c"  # what bytes.strip() takes off; str.strip() takes more


class HeaderBlock(Mapping[str, str]):
    """Be the headers of a message, read when somebody asks for them.

    Whoever makes one sets ``raw``; a constructor would cost as much as the rest of it.
    """

    __slots__ = ("_headers", "raw")

    raw: bytes
    """A block of lines."""
    _headers: dict[str, str]

    def read(self) -> dict[str, str]:
        """Return all of them."""
        try:
            return self._headers
        except AttributeError:  # for the first time
            self._headers = parsed_lines(self.raw)
            return self._headers

    def __getitem__(self, name: str) -> str:
        return self.read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.read())

    def __len__(self) -> int:
        return len(self.read())


def parsed_lines(raw: bytes) -> dict[str, str]:
    """Return the headers of a block of lines as the client reads them."""
    if not raw.isascii():
        return _parsed_by_client(raw)
    block = raw.decode()
    if (ours := _OURS.fullmatch(block)) is not None:
        parent, baggage, message_id = ours.groups()
        found = {"traceparent": parent.strip(_BLANKS)}
        if baggage is not None:
            found["baggage"] = baggage.strip(_BLANKS)
        found[MESSAGE_ID_HEADER] = message_id.strip(_BLANKS)
        return found
    found = {}
    for line in block.split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and name in USUAL:
            found[name] = value.strip(_BLANKS)
        elif line:
            return _parsed_by_client(raw)
    return found


def _parsed_by_client(raw: bytes) -> dict[str, str]:
    found: dict[str, str] = Client._parse_header_lines(raw)  # noqa: SLF001 - for what is left
    return found
