"""What a server sends is read as the client reads it, however it is cut."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import ProtocolError

from glam_sdk.messaging import reading
from glam_sdk.messaging.inline import Messages
from glam_sdk.messaging.reading import QuickParser

OURS, LIMITED, THEIRS = 1, 2, 3
HEADERS = b"NATS/1.0\r\ntraceparent: 00-1\r\nbaggage: a=b\r\n\r\n"
HEARTBEAT = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n"


def message(sid, body, headers=b"", answer_to=b"$JS.ACK.a.b"):
    words = [b"HMSG" if headers else b"MSG", b"evt.orders.placed", b"%d" % sid]
    words += [answer_to] if answer_to else []
    words += [b"%d" % len(headers)] if headers else []
    words += [b"%d" % len(headers + body)]
    return b" ".join(words) + b"\r\n" + headers + body + b"\r\n"


FRAMES = st.one_of(
    st.builds(
        message,
        st.sampled_from([OURS] * 4 + [LIMITED, THEIRS, 4]),
        st.one_of(st.binary(max_size=30), st.sampled_from([b"", b"\r\n", b"MSG a 1 2\r\n"])),
        st.sampled_from(
            [b"", HEADERS, HEARTBEAT, b"NATS/1.0\r\n", b"NATS/1.0\r\nno header\r\n\r\n"]
        ),
        st.sampled_from([b"", b"$JS.ACK.a.b"]),
    ),
    st.sampled_from(
        [
            b"+OK\r\n",
            b"PING\r\n",
            b"PONG\r\n",
            b"-ERR 'Permissions Violation for Subscription to \"a\"'\r\n",
            b"MSG  evt.orders.placed\t1  2\r\nhi\r\n",
            message(OURS, b"x" * 140_000, HEADERS),
        ]
    ),
)


def receiving(quickly):
    """Return a client without a connection, and what its three subscriptions receive."""
    client, got = Client(), []
    client._pongs = []
    client._status, client._flush_queue = Client.CONNECTED, asyncio.Queue()
    client._flusher_task = asyncio.Future()  # is there; what it would send stays where it is seen

    async def note(exc):
        got.append(str(exc))

    client._error_cb = note
    if quickly:
        client._ps = QuickParser(client)
    for sid in (OURS, LIMITED):
        taken = Messages(lambda *given, sid=sid: got.append((sid, *given)))
        client._subs[sid] = Subscription(client, sid, future=taken, max_msgs=sid - 1 and 2)
    client._subs[THEIRS] = Subscription(client, THEIRS)
    return client, got


def seen(client):
    """Return what a client has counted and keeps."""
    theirs = client._subs[THEIRS]._pending_queue
    waiting = [(each.subject, each.reply, each.headers, each.data) for each in theirs._queue]
    received = {sid: sub._received for sid, sub in client._subs.items()}
    return client.stats, received, waiting, client._pending


async def read(client, chunks):
    for chunk in chunks:
        await client._ps.parse(chunk)


PLACES = st.one_of(st.integers(0, 400), st.integers(100_000, 300_000))


@given(st.lists(FRAMES, max_size=8).map(b"".join), st.lists(PLACES, max_size=6))
def test_any_messages_are_received_as_the_client_receives_them(data, cuts):
    """In order, of whichever subscription, with the same counts, wherever the reads end."""

    async def compare():
        ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
        chunks = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        ours, got = receiving(quickly=True)
        theirs, expected = receiving(quickly=False)
        await read(ours, chunks)
        await read(theirs, chunks)
        assert got == expected
        assert seen(ours) == seen(theirs)

    asyncio.run(compare())


async def test_the_usual_message_does_without_the_client(monkeypatch):
    """Also when its end comes with a later read; else nothing would be gained."""
    client, got = receiving(quickly=True)

    async def refuse(*_):
        pytest.fail("The client was asked.")

    monkeypatch.setattr(Client, "_process_msg", refuse)
    data = message(OURS, b"one", HEADERS) + message(OURS, b"two")
    await read(client, [data[:20], data[20:100], data[100:]])
    assert [body for *_, body in got] == [b"one", b"two"]


async def test_the_client_collects_what_is_long():
    """To put the pieces of a large message together again with each read would cost too much."""
    client, got = receiving(quickly=True)
    body = b"x" * 200_000
    data = message(OURS, body, HEADERS)
    await read(client, [data[:150_000]])
    assert client._ps.needed
    await read(client, [data[150_000:], message(OURS, b"next")])
    assert [body for *_, body in got] == [body, b"next"]


@pytest.mark.parametrize(
    "data",
    [
        b"MSG a x 2\r\nhi\r\n",
        b"HMSG a 1 b x 2\r\nhi\r\n",
        b"no\r\n",
        "MSG a 1 \u0662\r\nhi\r\n".encode(),
        "MSG a 1 2\u00a0\r\nhi\r\n".encode(),
        b"MSG a 1 +2\r\nhi\r\n",
        b"MSG a 1 -15\r\nabc\r\n",
    ],
)
async def test_what_is_no_message_is_an_error_as_ever(data):
    """The client connects anew then."""
    client, got = receiving(quickly=True)
    with pytest.raises(ProtocolError):
        await read(client, [message(OURS, b"one") + data])
    assert len(got) == 1


def test_few_numbers_are_remembered():
    """However many sizes there are."""
    assert reading._number.cache_info().maxsize == 1024


async def test_what_cannot_be_taken_does_not_end_the_reading(monkeypatch):
    """It is reported, and the next message is received; under pytest it would be raised."""
    for name in ("PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    client, _ = receiving(quickly=True)
    taken = []

    def take(*given):
        taken.append(given)
        raise RuntimeError("no")

    client._subs[OURS]._future.take = take
    await read(client, [message(OURS, b"a", HEADERS) + message(OURS, b"b", HEADERS)])
    assert [body for *_, body in taken] == [b"a", b"b"]
