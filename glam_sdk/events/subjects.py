"""Read subjects: what is a valid one, and which stream it belongs to.

A subject is ``cmd.<domain>.<name>…`` or ``evt.<domain>.<name>…``, of any depth. The stream of a
domain is the domain in upper case. That rule also holds for domains that never had a stream of
their own (``order``, ``account``, ``subscription``, ``orders``, …): each gets the stream of its
own name, ``ORDER``, ``ACCOUNT`` and so on. A stream shared by several domains would tie their
limits, their retention and their consumers' positions together; a stream costs the server next
to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

STREAMS: Final = (
    "CATALOG",
    "MERCHANT",
    "BILLING",
    "CREDIT",
    "PROFILE",
    "NOTIFICATION",
    "ANALYTICS",
    "WEBHOOKS",
    "SCHEDULER",
    "AI_PROCESSING",
)
"""Streams that old services know."""

_STREAM_OF_SERVICE: Final[Mapping[str, str]] = {
    "analytics-service": "ANALYTICS",
    "billing-service": "BILLING",
    "catalog-ai-service": "AI_PROCESSING",
    "profile-ai-selfie": "AI_PROCESSING",
    "catalog-connector": "CATALOG",
    "catalog-service": "CATALOG",
    "credit-service": "CREDIT",
    "merchant-service": "MERCHANT",
    "notification-service": "NOTIFICATION",
    "profile-service": "PROFILE",
    "scheduler-service": "SCHEDULER",
    "webhook-service": "WEBHOOKS",
}
_SUBJECT: Final = re.compile(r"(?:cmd|evt)\.([a-z0-9_-]+)(?:\.[A-Za-z0-9_-]+)+\Z")
_WILDCARDS: Final = frozenset({"*", ">"})
_STREAM: Final = re.compile(r"[A-Z0-9_-]+\Z")


def check_subject(subject: str) -> str:
    """Return the subject unchanged when it is one.

    Raises:
        ValueError: It is not ``cmd.`` or ``evt.``, a lower-case domain and at least one more token.
    """
    domain_of(subject)
    return subject


def domain_of(subject: str) -> str:
    """Return the second token of a subject, such as ``catalog`` in ``evt.catalog.sync_started``.

    Raises:
        ValueError: The subject is malformed.
    """
    match = _SUBJECT.match(subject)
    if match is None:
        raise ValueError(
            f"{subject!r} is not a subject. Write it as cmd.<domain>.<name> or "
            "evt.<domain>.<name>: the domain in lower case, tokens of letters, digits, '_', '-'."
        )
    return match[1]


def get_stream_subjects(stream: str) -> tuple[str, str]:
    """Return the two patterns of a stream; they cover commands and events of any depth.

    Raises:
        ValueError: The stream's name is not upper case.
    """
    if not _STREAM.match(stream):
        raise ValueError(
            f"{stream!r} is not a stream name. Use upper-case letters, digits, '_' and '-'."
        )
    domain = stream.lower()
    return f"cmd.{domain}.>", f"evt.{domain}.>"


def get_stream_for_service(service_name: str) -> str:
    """Return the stream a service publishes its own events to.

    A service that is not in the contract's table owns the stream of its name: ``orders`` and
    ``orders-service`` own ``ORDERS``.
    """
    known = _STREAM_OF_SERVICE.get(service_name)
    if known is not None:
        return known
    return service_name.removesuffix("-service").replace("-", "_").replace(".", "_").upper()


def get_stream_from_subject(subject: str) -> str:
    """Return the name of the stream that holds a subject by the default rule.

    Args:
        subject: A subject, or a pattern whose domain is not a wildcard, as ``evt.catalog.>``.

    Raises:
        ValueError: The subject is malformed.
    """
    kind, *rest = subject.split(".")
    concrete = (
        "any" if place and token in _WILDCARDS else token for place, token in enumerate(rest)
    )
    return domain_of(".".join((kind, *concrete))).upper()


def is_pattern(subject: str) -> bool:
    """Tell whether a subject has a wildcard."""
    return any(token in _WILDCARDS for token in subject.split("."))


def subject_matches(pattern: str, subject: str) -> bool:
    """Tell whether a NATS pattern (``*`` one token, ``>`` one or more) covers a subject."""
    wanted = pattern.split(".")
    tokens = subject.split(".")
    for position, part in enumerate(wanted):
        if part == ">":
            return len(tokens) > position
        if position >= len(tokens) or part not in ("*", tokens[position]):
            return False
    return len(tokens) == len(wanted)
