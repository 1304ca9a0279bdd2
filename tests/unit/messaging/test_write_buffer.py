"""What is written to the client's buffer is what the client would have written."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.transport import TcpTransport
from nats.errors import Error
from nats.js.api import Header

from glam_sdk.messaging import inline
from glam_sdk.messaging.pull import JetStreamMessage
from glam_sdk.messaging.stepping import DONE
from glam_sdk.messaging.write_buffer import lines_of, post, put

TEXTS = st.text(st.one_of(st.characters(), st.sampled_from(" \t\r\n:-x")), max_size=8)
NAMES = st.one_of(st.sampled_from(["traceparent", "Nats-Msg-Id", "x-tenant"]), TEXTS)
USUAL = {"Nats-Msg-Id": "1", "traceparent": "00-1-2-03"}


class Flusher:
    def done(self):
        return False


class Written(list):
    """Be the writer of a connection, as uvloop has it."""

    is_closed = False

    def write(self, data):
        if self.is_closed:
            raise RuntimeError("unable to perform operation; the handler is closed")
        self.append(data)


def connected():
    """Return a client that believes to be connected, and keeps what it is to send."""
    client = Client()
    client._status = Client.CONNECTED
    client._max_payload = 16
    client._max_pending_size = 2_000_000
    client._flush_queue = asyncio.Queue()
    client._flusher_task = Flusher()
    return client


def state(client):
    asked = client._flush_queue.qsize()
    return client._pending, client._pending_data_size, dict(client.stats), asked


@given(
    st.dictionaries(NAMES, TEXTS, max_size=3),
    st.one_of(st.sampled_from(["evt.orders.placed", "", "a b"]), TEXTS),
    st.binary(max_size=20),
)
def test_any_message_is_written_as_the_client_writes_it_or_left_to_it(headers, subject, body):
    """The same bytes, counts and call to the flusher; what the client refuses is left to it."""

    async def compare():
        ours, theirs = connected(), connected()
        if post(ours, subject, body, reply="_INBOX.a", lines=lines_of(headers)):
            await theirs.publish(subject, body, "_INBOX.a", headers=headers)
            assert state(ours) == state(theirs)
        else:
            assert not ours._pending

    asyncio.run(compare())


async def test_the_usual_message_and_its_acknowledgement_need_no_client():
    """Both are written, and one call to the flusher does for both."""
    ours, theirs = connected(), connected()
    assert post(ours, "evt.orders.placed", b"{}", reply="_INBOX.a", lines=lines_of(USUAL))
    assert put(ours, b"PUB $JS.ACK.a  0\r\n\r\n")
    await theirs.publish("evt.orders.placed", b"{}", "_INBOX.a", headers=USUAL)
    await theirs.publish("$JS.ACK.a")
    assert state(ours) == state(theirs)


async def test_an_acknowledgement_that_is_written_is_done():
    """It needs no coroutine; one that is not written is the client's."""
    client = connected()
    reply = "$JS.ACK.ORDERS.billing.1.7.7.1700000000000000000.0"
    message = JetStreamMessage()
    message.client, message.reply = client, reply
    assert message.ack() is DONE
    assert client._pending == [f"PUB {reply} 0\r\n\r\n".encode()]
    client._status = Client.CLOSED
    with pytest.raises(Error):
        await message.ack()


async def test_what_is_sent_alone_is_written_at_once():
    """The bytes the client would have written, and counted; nobody has to be woken for them."""
    ours, theirs = connected(), connected()
    ours._transport = TcpTransport()
    ours._transport._io_writer = written = Written()
    assert post(
        ours, "evt.orders.placed", b"{}", reply="_INBOX.a", lines=lines_of(USUAL), at_once=True
    )
    await theirs.publish("evt.orders.placed", b"{}", "_INBOX.a", headers=USUAL)
    assert written == theirs._pending
    assert state(ours) == ([], 0, dict(theirs.stats), 0)


@pytest.mark.parametrize("reason", ["something waits", "another transport", "closed"])
async def test_what_cannot_be_written_at_once_is_put_into_the_buffer(reason):
    """It must not overtake what waits there, and other transports know other ways.

    Nor does a lost connection, which the client has yet to notice, fail whoever sends.
    """
    client, written = connected(), Written()
    client._transport = TcpTransport()
    client._transport._io_writer = written
    if reason == "something waits":
        put(client, b"PING\r\n")
    elif reason == "closed":
        written.is_closed = True
    else:
        client._transport = object()
    waiting = list(client._pending)
    assert put(client, b"PONG\r\n", at_once=True)
    assert (client._pending, written) == ([*waiting, b"PONG\r\n"], [])


async def test_names_and_values_that_are_enums_are_their_texts():
    """The client's own names of headers are such an enum."""
    ours, theirs, headers = connected(), connected(), {Header.MSG_ID: Header.ROLLUP}
    assert post(ours, "evt.orders.placed", b"{}", reply="_INBOX.a", lines=lines_of(headers))
    await theirs.publish("evt.orders.placed", b"{}", "_INBOX.a", headers=headers)
    assert state(ours) == state(theirs)


def test_a_client_of_another_version_is_not_looked_into(monkeypatch):
    """It may not have the fields at all."""
    monkeypatch.setattr(inline, "IS_INLINE", False)
    assert not put(object(), b"PING\r\n")


@pytest.mark.parametrize("reason", ["version", "lost", "draining", "crowded", "no flusher", "new"])
async def test_what_the_client_would_not_just_write_is_left_to_it(reason, monkeypatch):
    """It waits, buffers or refuses as it sees fit."""
    client = connected()
    if reason == "version":
        monkeypatch.setattr(inline, "IS_INLINE", False)
    elif reason == "lost":
        client._status = Client.RECONNECTING
    elif reason == "draining":
        client._status = Client.DRAINING_PUBS
    elif reason == "crowded":
        client._pending_data_size = 1_500_000
    elif reason == "no flusher":
        client._flusher_task = None
    else:
        client = Client()
    assert not post(client, "evt.orders.placed", b"{}", reply="_INBOX.a", lines=lines_of(USUAL))
    assert not client._pending


async def test_what_the_client_refuses_is_refused_as_ever():
    """A header that cannot be sent is the client's error, and nothing is written."""
    client, headers = connected(), {"a b": "1"}
    assert not post(client, "evt.orders.placed", b"{}", reply="_INBOX.a", lines=lines_of(headers))
    with pytest.raises(Error):
        await client.publish("evt.orders.placed", b"{}", "_INBOX.a", headers=headers)
