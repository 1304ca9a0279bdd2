"""What is read off the subject a JetStream message is answered on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from nats.aio.client import Client

from glam_sdk.messaging.pull import PullSource


@pytest.mark.parametrize("deliveries", [1, 2, 10])
@pytest.mark.parametrize(
    "form",
    ["$JS.ACK.ORDERS.billing.{}", "$JS.ACK._.ACCOUNT.ORDERS.billing.{}.random"],
    ids=["old", "new"],
)
def test_where_a_message_stands_is_read_off_its_answer(form, deliveries):
    """In the form of old servers and of those with a domain and an account."""
    got = []
    source = PullSource(
        Client(),
        stream="ORDERS",
        durable="billing",
        idle_heartbeat=timedelta(seconds=5),
        deliver=got.append,
    )
    reply = form.format(f"{deliveries}.7.9.1768480200000000000.3")
    source._on_message("evt.orders.placed", reply, {}, b"{}")
    (message,) = got
    assert (message.stream, message.sequence, message.deliveries) == ("ORDERS", 7, deliveries)
    assert message.stored_at == datetime(2026, 1, 15, 12, 30, tzinfo=UTC)
