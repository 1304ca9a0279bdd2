"""What is read off the subject a JetStream message is answered on."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client

from glam_sdk.messaging.pull import PullSource

OLD = "$JS.ACK.ORDERS.billing.{}"
PLAIN = "$JS.ACK._.ACCOUNT.ORDERS.billing.{}"
NEW = PLAIN + ".random"
FORMS = [OLD, NEW, PLAIN]


def receiving():
    """Return a source without a connection, and what it delivers."""
    got = []
    source = PullSource(
        Client(),
        stream="ORDERS",
        durable="billing",
        idle_heartbeat=timedelta(seconds=5),
        deliver=got.append,
    )
    return source, got


@pytest.mark.parametrize("deliveries", [1, 2, 10])
@pytest.mark.parametrize("form", FORMS, ids=["old", "new", "without a random token"])
def test_where_a_message_stands_is_read_off_its_answer(form, deliveries):
    """In the form of old servers and of those with a domain and an account."""
    source, got = receiving()
    reply = form.format(f"{deliveries}.7.9.1768480200000000000.3")
    source._on_message("evt.orders.placed", reply, {"a": "b"}, b"{}")
    (message,) = got
    assert (message.stream, message.sequence, message.deliveries) == ("ORDERS", 7, deliveries)
    assert message.stored_at == datetime(2026, 1, 15, 12, 30, tzinfo=UTC)
    assert (message.subject, message.reply) == ("evt.orders.placed", reply)
    assert (message.headers, message.body, message.repeats) == ({"a": "b"}, b"{}", 0)


NUMBERS = st.integers(1, 12) | st.integers(1, 2**62)


@given(st.lists(st.tuples(st.sampled_from(FORMS), *[NUMBERS] * 5), max_size=6))
def test_each_answer_is_read_for_itself(answers):
    """Whatever came before it, as when a newer server takes over."""
    source, got = receiving()
    for form, *numbers in answers:
        source._on_message("evt.orders.placed", form.format(".".join(map(str, numbers))), {}, b"")
    shown = [(message.deliveries, message.sequence, message.key) for message in got]
    assert shown == [
        (deliveries, sequence, f"{sequence}.{stored_at}")
        for _, deliveries, sequence, _, stored_at, _ in answers
    ]


@pytest.mark.parametrize("form", FORMS, ids=["old", "new", "without a random token"])
@pytest.mark.parametrize("odd", ["$JS.ACK.x", "$JS.ACK.a.b.c.d.e.f", "$JS.ACK.a.b.c.d.e.f.g.h.i"])
def test_what_no_server_answers_on_is_refused_alone(form, odd):
    """Those after it are read as ever."""
    source, got = receiving()
    for reply in (odd, form.format("1.7.9.1768480200000000000.3")) * 2:
        with suppress(ValueError, IndexError):
            source._on_message("evt.orders.placed", reply, {}, b"")
    assert [message.sequence for message in got if message.reply != odd] == [7, 7]


@pytest.mark.parametrize("before", [[], [OLD], [NEW]], ids=["first", "old", "new"])
@pytest.mark.parametrize("answer_to", ["", "$JS.FC.ORDERS.billing.1.2", "a.b"])
def test_a_status_is_no_message(answer_to, before):
    """Whatever came before it; after this one no more messages come."""
    source, got = receiving()
    for form in before:
        source._on_message("evt.orders.placed", form.format("1.7.9.1768480200000000000.3"), {}, b"")
    source._left = 5
    source._on_message("_INBOX.a", answer_to, {"Status": "404"}, b"")
    assert (len(got), source._left) == (len(before), 0)
