"""Pin what type checkers know about declared errors: ``mypy --strict`` must find nothing here.

Each ignore is a mistake that must be found; an unneeded one is an error under ``--strict``.
"""

from __future__ import annotations

from typing import assert_type

from glam_sdk.errors import (
    ConflictError,
    DatabaseError,
    GlamBaseError,
    NotFoundError,
    ValidationError,
    detail,
    with_error_mapping,
    wrap_external_error,
)


class OrderClosedError(ConflictError):
    """An order can no longer be changed."""

    code = "TYPING_ORDER_CLOSED"
    message = "Order {order_id} is closed."
    conflicting_resource = "order"
    order_id: str
    reason: str | None = None
    closed_by: object = detail(default=None, into="actor", as_text=True)


error = OrderClosedError("Given.", order_id="1", reason="late", closed_by=7, status=410)
assert_type(error.order_id, str)
assert_type(error.code, str)
assert_type(error.status, int)
assert_type(error.message, str)
assert_type(error.details, dict[str, object])
assert_type(error.cause, BaseException | None)
assert_type(OrderClosedError.code, str)
OrderClosedError(order_id="1", details={"a": 1}, cause=KeyError("k"), code="OTHER")
NotFoundError(resource="order", resource_id=7)

OrderClosedError("Given.")  # type: ignore[call-arg]
OrderClosedError(order_id=1)  # type: ignore[arg-type]
NotFoundError("Given.", "order")  # type: ignore[call-arg]
NotFoundError("Given.", resourse="order")  # type: ignore[call-arg]
GlamBaseError("Given.", resource="order")  # type: ignore[call-arg]

assert_type(wrap_external_error(DatabaseError, "x", cause=OSError(), table="t"), DatabaseError)


@with_error_mapping({ValueError: ValidationError, KeyError: lambda exc: NotFoundError(str(exc))})
def total(count: int, *, price: float) -> float:
    """Keep this signature."""
    return count * price


@with_error_mapping({})
async def fetch(key: str) -> bytes:
    """Keep this signature."""
    return key.encode()


async def use() -> None:
    """Call the decorated functions as their signatures say."""
    assert_type(total(2, price=1.5), float)
    assert_type(await fetch("k"), bytes)
    total("2", price=1.5)  # type: ignore[arg-type]
    await fetch()  # type: ignore[call-arg]
