"""Read the usual headers of a message at a third of the client's price.

The client looks at each character of each name. Names that senders of ours write need no look; a
message that has any other header, or a value beyond plain ASCII, is left to the client.
"""

from __future__ import annotations

from typing import Any, Final

from nats.aio.client import Client

from glam_sdk.events import MESSAGE_ID_HEADER
from glam_sdk.messaging import inline

USUAL: Final = frozenset({MESSAGE_ID_HEADER, "traceparent", "tracestate", "baggage"})
"""Names of headers as our senders write them."""


def quicken(client: Any) -> None:
    """Have a client read headers this way, where it is known to work."""
    if inline.IS_INLINE:
        client._parse_header_lines = parsed_lines  # noqa: SLF001 - it has no public door


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
