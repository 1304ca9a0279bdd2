"""The AsyncAPI document of event classes, kept as a snapshot."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from uuid import UUID

from pydantic import BaseModel

from glam_sdk.events import Event, asyncapi

SNAPSHOT = Path(__file__).with_name("asyncapi.json")


class Line(BaseModel):
    sku: str
    amount: int = 1


class Placed(Event, subject="evt.orders.placed", version="1.2.0", key="order_id"):
    """A customer has ordered."""

    order_id: UUID
    total: Decimal
    lines: tuple[Line, ...] = ()


class Mailed(Event, subject="evt.mail.sent"):
    address: str | None = None


def test_the_document_is_what_it_was():
    """Names, addresses, keys and schemas are public; a change is a line of the changelog.

    After one that is meant: ``python -m tests.unit.events.test_description``.
    """
    assert document() == json.loads(SNAPSHOT.read_text())


def test_a_class_without_a_docstring_has_no_summary():
    """The text about events in general says nothing about this one."""
    assert document()["channels"]["Mailed"]["messages"]["Mailed"]["summary"] == ""


def test_classes_that_share_a_name_are_both_described():
    """Their subjects tell them apart, and each message has its own schema."""

    def declare(subject, kind):
        return type("Closed", (Event,), {"__annotations__": {"id": kind}}, subject=subject)

    shop, mail = declare("evt.shop.closed", int), declare("evt.mail.closed", str)
    found = asyncapi([shop, mail, Placed], title="T")
    assert set(found["channels"]) == {"evt_shop_closed", "evt_mail_closed", "Placed"}
    schemas = found["components"]["schemas"]
    kinds = [schemas[name]["properties"]["id"]["type"] for name in list(found["channels"])[:2]]
    assert kinds == ["integer", "string"]


def document():
    """Return the document without the version of this package."""
    found = asyncapi([Placed, Mailed], title="Shop")
    del found["info"]["x-generator"]
    return found


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(document(), indent=2) + "\n")
