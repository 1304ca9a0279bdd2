"""What a server sends is read as the client reads it, however it is cut."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import ProtocolError

from glam_sdk.messaging.inline import Messages
from glam_sdk.messaging.reading import QuickParser

OURS, LIMITED, THEIRS, OURS_TOO = 1, 2, 3, 5
HEADERS = b"NATS/1.0\r\ntraceparent: 00-1\r\nbaggage: a=b\r\n\r\n"
HEARTBEAT = b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n"


def message(sid, body, headers=b"", answer_to=b"$JS.ACK.a.b", subject=b"evt.orders.placed"):
    words = [b"HMSG" if headers else b"MSG", subject, b"%d" % sid]
    words += [answer_to] if answer_to else []
    words += [b"%d" % len(headers)] if headers else []
    words += [b"%d" % len(headers + body)]
    return b" ".join(words) + b"\r\n" + headers + body + b"\r\n"


FRAMES = st.one_of(
    st.builds(
        message,
        st.sampled_from([OURS] * 4 + [OURS_TOO] * 2 + [LIMITED, THEIRS, 4]),
        st.one_of(st.binary(max_size=30), st.sampled_from([b"", b"\r\n", b"MSG a 1 2\r\n"])),
        st.sampled_from(
            [b"", HEADERS, HEARTBEAT, b"NATS/1.0\r\n", b"NATS/1.0\r\nno header\r\n\r\n"]
        ),
        st.sampled_from([b"", b"$JS.ACK.a.b"]),
        st.sampled_from([b"evt.orders.placed", b"evt.orders.\xc3\xa4"]),
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
    for sid in (OURS, OURS_TOO, LIMITED):
        taken = Messages(lambda *given, sid=sid: got.append((sid, *given)))
        client._subs[sid] = Subscription(client, sid, future=taken, max_msgs=2 * (sid == LIMITED))
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


async def compare(data, cuts):
    """Read something as a client does and as ours does, and find no difference."""
    ends = sorted({min(cut, len(data)) for cut in cuts} | {len(data)})
    chunks = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    found = []
    for quickly in (True, False):
        client, got = receiving(quickly)
        try:
            await read(client, chunks)
        except Exception as exc:  # noqa: BLE001 - each is compared
            got.append(repr(exc))
        found.append((got, seen(client)))
    assert found[0] == found[1]


PLACES = st.one_of(st.integers(0, 400), st.integers(100_000, 300_000))


ONE = message(OURS, b"one", HEADERS)


@given(st.lists(FRAMES, max_size=8).map(b"".join), st.lists(PLACES, max_size=6))
@example(ONE + message(OURS, b"two"), [len(ONE) - 2])
@example(ONE + message(OURS, b"two"), [len(ONE) - 1])
@example(message(LIMITED, b"one", HEADERS) * 3, [])
def test_any_messages_are_received_as_the_client_receives_them(data, cuts):
    """In order, of whichever subscription, with the same counts, wherever the reads end."""
    asyncio.run(compare(data, cuts))


WORDS = st.sampled_from([b"a", b"a", b"a\r\nb", b"a\nb", b"a b", b"\xff", b"\xc3\xa4", b"7"])
NUMBERS = st.sampled_from([b"1", b"1", b"1", b"01", b"+1", b"4", b"1_0", b"x"])
SIZES = st.sampled_from([b"0", b"4", b"10", b"12", b"45", b"45", b"45", b"50", b"1_0", b"-4", b""])
CONTENT = st.sampled_from([b"", b"NATS", b"NATS/1.0\r\n", HEADERS, HEADERS + b"1234567"])
ODD = st.builds(
    lambda *words: b" ".join(words[:-1]) + b"\r\n" + words[-1] + b"\r\n",
    st.sampled_from([b"HMSG", b"HMSG", b"HMSG", b"MSG", b"hMSG"]),
    WORDS,
    NUMBERS,
    WORDS,
    SIZES,
    SIZES,
    CONTENT,
)


@settings(max_examples=200)
@given(ODD, st.lists(st.integers(0, 80), max_size=3), st.booleans())
@example(b"HMSG a\r\nb 1 a 45 45\r\n" + HEADERS + b"\r\n", [], False)
@example(b"HMSG a 1 a\r\nb 45 45\r\n" + HEADERS + b"\r\n", [], False)
@example(b"HMSG a 1 a 45 10\r\n" + HEADERS + b"\r\n", [], False)
@example(b"HMSG a 1 a 4 4\r\nNATS..", [], True)
def test_what_no_server_sends_is_what_it_is_to_the_client(odd, cuts, is_apart):
    """A message or an error: with blanks and line ends in wrong places, odd numbers and headers.

    Not so the blanks and line ends of other alphabets, which stay in a word.
    """
    data = message(OURS, b"one", HEADERS) + odd
    cuts = [*cuts, len(data)] if is_apart else cuts
    asyncio.run(compare(data + message(OURS, b"two"), cuts))


async def test_the_usual_message_does_without_the_client(monkeypatch):
    """Also when its end comes with a later read; else nothing would be gained."""
    client, got = receiving(quickly=True)

    async def refuse(*_):
        pytest.fail("The client was asked.")

    monkeypatch.setattr(Client, "_process_msg", refuse)
    data = message(OURS, b"one", HEADERS) + message(OURS, b"two")
    cuts = [0, 20, data.index(b"NATS"), data.index(b"/1.0"), 100, len(data)]
    await read(client, [data[start:end] for start, end in pairwise(cuts)])
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
        b"MSG a %b 2\r\nhi\r\n" % (b"1" * 5000),
    ],
)
async def test_what_is_no_message_is_an_error_as_ever(data):
    """The client connects anew then."""
    client, got = receiving(quickly=True)
    with pytest.raises(ProtocolError):
        await read(client, [message(OURS, b"one") + data])
    assert len(got) == 1


async def test_few_sizes_are_remembered():
    """However many there are."""
    client, got = receiving(quickly=True)
    await read(client, [message(OURS, b"x" * size) for size in range(1500)])
    assert len(got) == 1500
    assert 0 < len(client._ps._sizes) <= 1024


async def test_what_was_received_is_counted_when_reading_is_interrupted():
    """The counts are the client's, for anybody to look at."""
    client, _ = receiving(quickly=True)

    def take(*_):
        raise KeyboardInterrupt

    client._subs[OURS_TOO]._future.take = take
    with pytest.raises(KeyboardInterrupt):
        await read(client, [message(OURS, b"one") + message(OURS_TOO, b"three")])
    assert (client.stats["in_msgs"], client.stats["in_bytes"]) == (2, 8)


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
