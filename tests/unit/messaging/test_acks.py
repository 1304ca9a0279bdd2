"""How messages are put on their way, on a client that keeps what it is to send."""

from __future__ import annotations

import asyncio

from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from glam_sdk.messaging.acks import Acks


class Connection:
    """Be a client that believes to be connected, and the writer of its connection."""

    def __init__(self):
        self.written = []
        self.client = client = Client()
        client._status = Client.CONNECTED
        client._max_payload = 16
        client._flush_queue = asyncio.Queue()
        client._flusher_task = self
        client._transport = TcpTransport()
        client._transport._io_writer = self

    def on_reconnect(self, listener):
        return lambda: None

    def done(self):
        return False

    def write(self, data):
        self.written.append(data)


async def test_a_message_is_sent_at_once_while_no_other_is_under_way():
    """Those that are sent together share a write, which costs more than the rest of it."""
    connection = Connection()
    acks, headers = Acks(connection), {"Nats-Msg-Id": "1"}
    await acks.send("evt.orders.placed", b"first", headers)
    connection.client._pending.clear()  # the subscription, and what came behind it
    acks._waiting.clear()

    alone = await acks.send("evt.orders.placed", b"alone", headers)
    assert [b"alone" in data for data in connection.written] == [True]
    await acks.send("evt.orders.placed", b"beside", headers)
    assert len(connection.written) == 1
    assert [b"beside" in data for data in connection.client._pending] == [True]
    alone.cancel()
    acks._sweep.cancel()
