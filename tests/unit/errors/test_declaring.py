"""Prove how an error class is declared, and what is refused while it is defined."""

from __future__ import annotations

import importlib
import runpy
import subprocess
import sys
from typing import ClassVar

import pytest

from glam_sdk.errors import (
    ConflictError,
    GlamBaseError,
    InfrastructureError,
    InternalError,
    NotFoundError,
    detail,
    registered_errors,
)


class OrderClosedError(ConflictError):
    """An order can no longer be changed."""

    code = "TEST_ORDER_CLOSED"
    message = "Order {order_id} is closed by {closed_by}."
    conflicting_resource = "order"
    order_id: int
    closed_by: str | None = None
    labels: tuple[str, ...] = detail(default=(), into=("labels", "tags"))
    limit: ClassVar[int] = 3


def test_a_class_states_values_and_typed_keywords_and_nothing_else() -> None:
    """The declaration alone makes details, message, code and attributes."""
    error = OrderClosedError(order_id=7, closed_by="billing")
    assert error.to_dict() == {
        "code": "TEST_ORDER_CLOSED",
        "message": "Order 7 is closed by billing.",
        "details": {
            "conflicting_resource": "order",
            "order_id": 7,
            "closed_by": "billing",
            "labels": (),
            "tags": (),
        },
    }
    assert (error.status, error.order_id, error.current_state) == (409, 7, None)


def test_a_keyword_that_was_not_given_reads_unknown_in_the_message() -> None:
    """Making an error never fails because a value for its message is missing."""
    assert str(OrderClosedError(order_id=7)) == "Order 7 is closed by unknown."


def test_values_in_a_message_are_not_templates_themselves() -> None:
    """What a user sent can't pull other values into a message."""
    error = OrderClosedError(order_id=7, closed_by="{order_id} {0.__class__}")
    assert str(error) == "Order 7 is closed by {order_id} {0.__class__}."


def test_an_error_without_any_message_says_its_code_in_words() -> None:
    """A forgotten message is no second failure."""
    assert str(NotFoundError()) == "Not found"


def test_an_unknown_keyword_is_refused_with_the_accepted_ones() -> None:
    """A typing mistake does not vanish in the details."""
    accepted = "message, code, status, details, cause, resource, resource_id"
    with pytest.raises(TypeError, match=f"NotFoundError .*'resourse'.*{accepted}"):
        NotFoundError("Given.", resourse="order")


def test_a_keyword_without_default_must_be_given() -> None:
    """A field without a default is required, as in a dataclass."""
    with pytest.raises(TypeError, match="OrderClosedError needs the keyword 'order_id'"):
        OrderClosedError("Given.")


def test_keywords_are_not_taken_by_position() -> None:
    """Only the message has a position."""
    with pytest.raises(TypeError):
        NotFoundError("Given.", "order")  # type: ignore[call-arg]


def test_keywords_beat_details_and_details_beat_the_defaults_of_the_class() -> None:
    """The nearer statement wins."""
    assert InfrastructureError("x", details={"retryable": False}).retryable is False
    error = InfrastructureError("x", retryable=True, details={"retryable": False, "a": 1})
    assert error.details == {"retryable": True, "a": 1}


def test_the_more_specific_keyword_wins_where_two_name_one_detail() -> None:
    """A subclass's own name for a value is the later statement."""

    class BookNotFoundError(NotFoundError):
        code = "TEST_BOOK_NOT_FOUND"
        book_id: object = detail(default=None, into="resource_id", as_text=True)

    assert BookNotFoundError("x", resource_id=1, book_id=2).details == {"resource_id": "2"}


def test_an_attribute_set_later_is_seen_in_details() -> None:
    """Details are the only place a keyword's value is kept."""
    error = NotFoundError("x", resource="order")
    error.resource = "book"
    assert error.details == {"resource": "book"}
    error.resource = None
    assert error.details == {}


def test_details_belong_to_one_instance() -> None:
    """Neither two errors nor an error and its caller share a dict."""
    given: dict[str, object] = {"a": 1}
    first, second = GlamBaseError("x", details=given), GlamBaseError("x", details=given)
    first.details["b"] = 2
    assert second.details == given == {"a": 1}
    GlamBaseError("x").details["c"] = 3
    assert GlamBaseError("x").details == {}
    first.to_dict()["details"]["d"] = 4  # type: ignore[index]
    assert first.details == {"a": 1, "b": 2}


@pytest.mark.parametrize("default", [[], {}, set()])
def test_a_mutable_default_is_refused(default) -> None:
    """It would be shared by all instances."""
    with pytest.raises(TypeError, match="would be shared"):

        class SharedError(GlamBaseError):
            items: object = default


@pytest.mark.parametrize("name", ["args", "with_traceback", "to_dict"])
def test_a_keyword_can_not_hide_what_every_error_has(name) -> None:
    """A field called ``args`` would break the exception."""
    with pytest.raises(TypeError, match=f"can't declare '{name}'"):
        type("HidingError", (GlamBaseError,), {"__annotations__": {name: str}, name: "x"})


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ({"code": "not found"}, "a code reads like NOT_FOUND"),
        ({"code": ""}, "a code reads like NOT_FOUND"),
        ({"status": 200}, "400 to 599"),
        ({"message": "No {thing}."}, "names {thing}"),
    ],
)
def test_a_malformed_declaration_fails_while_the_class_is_defined(stated, said) -> None:
    """A mistake in a class shows at import, not at the first failure in production."""
    with pytest.raises(TypeError, match=said):
        type("MalformedError", (GlamBaseError,), stated)


def test_a_code_of_an_unrelated_class_is_refused() -> None:
    """One code means one thing; the message names both classes."""
    with pytest.raises(TypeError, match=r"'NOT_FOUND', which belongs to .*generic\.NotFoundError"):

        class MissingError(ConflictError):
            code = "NOT_FOUND"

    assert "MissingError" not in {cls.__name__ for cls in registered_errors()}


def test_a_subclass_may_inherit_or_repeat_the_code_of_its_base() -> None:
    """The code stays the base's; siblings under one owner do not collide."""

    class BlockedError(ConflictError):
        pass

    class FrozenError(ConflictError):
        code = "CONFLICT"

    assert BlockedError.code == FrozenError.code == "CONFLICT"
    assert InternalError.code == GlamBaseError.code
    with pytest.raises(TypeError, match="belongs to"):

        class ClashError(NotFoundError):
            code = "CONFLICT"


MODULE = """
from __future__ import annotations
from glam_sdk.errors import GlamBaseError

class ShopError(GlamBaseError):
    code = "TEST_SHOP"
    shop: str | None = None

class ClosedError(ShopError):
    message = "Closed."

if __name__ == "__main__":
    import shop_errors
"""


def test_a_module_can_be_reloaded_and_run_as_main(tmp_path, monkeypatch) -> None:
    """The same class defined again is no duplicate, also where ``__main__`` imports itself."""
    (tmp_path / "shop_errors.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    first = importlib.import_module("shop_errors")
    before = first.ShopError
    again = importlib.reload(first)
    assert again.ShopError is not before
    assert sum(cls.__qualname__ == "ShopError" for cls in registered_errors()) == 1
    runpy.run_path(str(tmp_path / "shop_errors.py"))
    done = subprocess.run(
        [sys.executable, "shop_errors.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_importing_the_errors_imports_no_framework() -> None:
    """A domain package costs nothing but itself."""
    code = (
        "import sys, glam_sdk.errors, glam_sdk.domains.catalog\n"
        "heavy = {'fastapi', 'starlette', 'sqlalchemy', 'nats', 'httpx', 'pydantic'}\n"
        "heavy |= {'opentelemetry', 'structlog'}\n"
        "print(sorted(heavy & {name.partition('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
