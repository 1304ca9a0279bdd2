"""Make idempotency keys that say what they stand for."""

from __future__ import annotations

from typing import Final

_TO_UNDERSCORE: Final = str.maketrans("-.", "__")


def generate_idempotency_key(
    system: str, operation_type: str, identifier: object, extra: str | None = None
) -> str:
    """Return a key such as ``SHOPIFY_ORDER_123_TESTSTORE``, the same for the same work.

    System, operation and extra are written in upper case with ``-`` and ``.`` as ``_``; the
    identifier stays as it is, because its case may matter.

    Args:
        system: Where the work comes from, such as ``shopify``.
        operation_type: What is done, such as ``order``.
        identifier: The id of what it is done to.
        extra: Tells apart what the id alone does not, such as the shop.
    """
    parts = [_word(system), _word(operation_type), str(identifier)]
    if extra:
        parts.append(_word(extra))
    return "_".join(parts)


def _word(text: str) -> str:
    return text.upper().translate(_TO_UNDERSCORE)
