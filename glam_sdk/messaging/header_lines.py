"""Read the usual headers of a message at a third of the client's price.

The client looks at each character of each name. Names that senders of ours write need no look; a
message that has any other header, or a value beyond plain ASCII, is left to the client.
"""

from __future__ import annotations

from typing import Final

from nats.aio.client import Client

from glam_sdk.events import MESSAGE_ID_HEADER

USUAL: Final = frozenset({MESSAGE_ID_HEADER, "traceparent", "tracestate", "baggage"})
"""Names of headers as our senders write them."""


def parsed_lines(raw: bytes) -> dict[str, str]:
    """Return the headers of a block of lines as the client reads them."""
    found = {}
    if raw.isascii():
        for line in raw.decode().split("\r\n"):
            name, colon, value = line.partition(":")
            if colon and name in USUAL and value.isprintable():
                found[name] = value.strip()
            elif line:
                break
        else:
            return found
    theirs: dict[str, str] = Client._parse_header_lines(raw)  # noqa: SLF001 - for what is left
    return theirs
